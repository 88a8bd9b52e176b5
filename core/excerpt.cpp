#include "excerpt.h"

#include <algorithm>
#include <cstdint>

namespace tome {
namespace {

uint8_t byte_at(std::string_view text, size_t place) { return static_cast<uint8_t>(text[place]); }

// Whether a character of UTF-8 has begun before it.
bool continues(std::string_view text, size_t place) {
  return (byte_at(text, place) & 0xC0U) == 0x80;
}

// Of one character of UTF-8.
bool is_control(std::string_view character) {
  const uint8_t first = byte_at(character, 0);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  return character.size() == 2 && first == 0xC2 && byte_at(character, 1) < 0xA0;
}

std::string escaped(std::string_view bytes) {
  if (bytes == "\n") return "\\n";
  if (bytes == "\r") return "\\r";
  if (bytes == "\t") return "\\t";
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    out += {'\\', 'x', kDigits[byte_at(bytes, i) >> 4U], kDigits[byte_at(bytes, i) & 15U]};
  }
  return out;
}

}  // namespace

size_t utf8_length(std::string_view text, size_t place) {
  const uint8_t first = byte_at(text, place);
  if (first < 0x80) return 1;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (first < 0xC2 || first > 0xF4 || text.size() - place < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!continues(text, place + i)) return 0;
  }
  // No longer form than needed, no surrogates, nothing beyond U+10FFFF.
  const uint8_t second = byte_at(text, place + 1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return length;
}

bool is_one_line(std::string_view text) {
  for (size_t place = 0; place < text.size();) {
    const size_t length = utf8_length(text, place);
    if (length == 0) return false;
    if (text[place] != '\t' && is_control(text.substr(place, length))) return false;
    place += length;
  }
  return true;
}

std::string excerpt(std::string_view text, size_t most) {
  std::string out;
  size_t place = 0;
  for (size_t count = 0; place < text.size(); ++count) {
    if (count == most) return out + "…";
    const size_t length = utf8_length(text, place);
    const std::string_view character = text.substr(place, std::max<size_t>(length, 1));
    out += length == 0 || is_control(character) ? escaped(character) : std::string(character);
    place += character.size();
  }
  return out;
}

std::string_view whole_characters(std::string_view text, size_t most) noexcept {
  static constexpr size_t kLongest = 4;  // bytes of a character
  if (text.size() <= most) return text;
  size_t end = most;
  while (end > 0 && most - end < kLongest && continues(text, end)) --end;
  return {text.data(), end};
}

}  // namespace tome
