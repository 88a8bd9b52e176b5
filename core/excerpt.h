// Text from outside, as of untrusted files: checked as UTF-8, cut, and made fit for a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tome {

/// Bytes of the character that starts at `place`, or 0 where that is no UTF-8.
size_t utf8_length(std::string_view text, size_t place);

/// UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F), tabs excepted: text that
/// is one line wherever it is printed, and whole in C's strings.
bool is_one_line(std::string_view text);

/// The first `most` characters of `text` and an ellipsis where there are more. Control characters
/// and bytes that are no UTF-8 appear as escapes (\n, \x1b), so that the result is one line.
std::string excerpt(std::string_view text, size_t most = 64);

/// The first bytes of `text`, at most `most`, and of UTF-8 no part of a character.
std::string_view whole_characters(std::string_view text, size_t most) noexcept;

}  // namespace tome
