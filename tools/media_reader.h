// Pictures and videos as Frames, decoded by OpenCV and FFmpeg, without a pipeline.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "media/frame.h"

namespace tome::cli {

/// True if the file's first bytes are those of a picture that OpenCV reads, and its name is not
/// that of motion JPEG (.mjpg, .mjpeg); or if it is a video of a single frame, as GIF and AVIF of
/// pictures are.
/// @throws Error kNotFound if there is no such file
bool is_picture(const std::filesystem::path& file);

/// Decodes a picture: BGR of 8 bits (or what VideoDecoder gives), alpha dropped, upright as its
/// orientation tag (EXIF) says, which OpenCV reads in JPEG, PNG and TIFF.
/// @throws Error kNotFound, kRead
Frame read_picture(const std::filesystem::path& file);

/// Calls `visit(frame, index, pts)` for each frame of a video, pts in seconds, until it returns
/// false or the video ends. What is damaged is left out. The frame owns its pixels and is upright,
/// as the container's display matrix says; its colours are what the element would take them for;
/// see VideoDecoder for its layouts, times and width.
/// @return frames visited
/// @throws Error kNotFound, kRead if there is not a single frame
int64_t for_each_frame(const std::filesystem::path& file,
                       const std::function<bool(const Frame&, int64_t index, double pts)>& visit);

/// Frames that can be decoded: counted, since containers lie.
/// @throws Error kNotFound, kRead if there is not a single frame
int64_t count_frames(const std::filesystem::path& file);

/// The frames of `windows` windows of `length` frames, `stride` apart, spread evenly over a video
/// of `total` frames; stride 0 spreads each window over its whole share of the video. Windows that
/// reach past the end repeat the last frame.
std::vector<std::vector<int64_t>> window_indices(int64_t total, int64_t windows, int64_t length,
                                                 int64_t stride);

}  // namespace tome::cli
