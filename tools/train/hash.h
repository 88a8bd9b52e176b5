// Fingerprints: the same on every machine, not safe against anybody who wants two to be equal.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tome_error.h"

namespace tome::train {

/// FNV-1a, 64 bits.
class Hash {
 public:
  Hash& add(std::string_view bytes) {
    for (const char c : bytes) {
      state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    return *this;
  }
  /// A text or number by itself: "ab", "c" is another than "a", "bc".
  Hash& add_item(std::string_view text) { return add(text).add({"\0", 1}); }
  Hash& add_item(int64_t number) { return add_item(std::to_string(number)); }

  uint64_t value() const { return state_; }
  /// 16 hexadecimal digits.
  std::string text() const {
    std::string out(16, '0');
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = "0123456789abcdef"[state_ >> (60 - 4 * i) & 15];
    return out;
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325ULL;
};

/// Of a file's content.
/// @throws Error kRead naming it
inline std::string file_hash(const std::filesystem::path& file) {
  Hash hash;
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(ErrorKind::kRead, file.string() + ": cannot be read");
  std::array<char, 1 << 16> part{};
  while (in.read(part.data(), part.size()) || in.gcount() > 0) {
    hash.add({part.data(), static_cast<size_t>(in.gcount())});
  }
  return hash.text();
}

}  // namespace tome::train
