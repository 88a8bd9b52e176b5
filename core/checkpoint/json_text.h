// JSON from untrusted files, with limits.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tome {

/// Parses `text`, in time linear in its length. No key may occur twice in one object; nesting is
/// limited to 64 levels, and values to a million.
/// @param what  what the text is, for the message: "config.json", "header of model.safetensors"
/// @throws Error kFormat
nlohmann::json parse_json(std::string_view text, const std::string& what);

/// A whole text file of at most `limit` bytes.
/// @throws Error kNotFound, kRead, kFormat (too large)
std::string read_text_file(const std::filesystem::path& path, size_t limit = size_t{64} << 20U);

/// parse_json of read_text_file; the value must be an object.
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace tome
