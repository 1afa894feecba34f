// Decodes UTF-8, one character at a time.
#pragma once

#include <cstddef>
#include <string_view>

namespace syncnorm {

struct Utf8Character {
  char32_t code = 0;
  std::size_t bytes = 0;  // 0: not valid UTF-8
};

/// Decodes the first character of `text`, which must not be empty. Overlong forms, surrogates and
/// codes beyond U+10FFFF are invalid (RFC 3629); then `bytes` is 0 and `code` is the first byte.
Utf8Character first_character(std::string_view text);

/// Returns the offset of the first byte that belongs to no valid character; npos if there is none.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace syncnorm
