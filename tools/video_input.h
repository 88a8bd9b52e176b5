// A file that FFmpeg's libraries read, and the owners of what they allocate.
#pragma once

#include <filesystem>
#include <memory>
#include <new>

struct AVCodecContext;
struct AVFormatContext;
struct AVFrame;
struct AVIOContext;
struct AVPacket;
struct SwsContext;

namespace tome::cli {

struct AvDeleter {
  void operator()(AVCodecContext* codec) const;
  void operator()(AVFormatContext* format) const;
  void operator()(AVFrame* frame) const;
  void operator()(AVIOContext* input) const;
  void operator()(AVPacket* packet) const;
  void operator()(SwsContext* converter) const;
};
template <typename T>
using AvPointer = std::unique_ptr<T, AvDeleter>;

template <typename T>
T* allocated(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

/// Opens the file without looking at its streams; null if FFmpeg does not know what it is.
AvPointer<AVFormatContext> open_input(const std::filesystem::path& file);

}  // namespace tome::cli
