// UTF-8, character by character.
#pragma once

#include <cstddef>
#include <string_view>

namespace syncnorm {

struct Utf8Character {
  char32_t code = 0;
  std::size_t bytes = 0;  // 0: what stands there is no UTF-8
};

/// The first character of `text`, which must not be empty. Longer forms than needed, surrogates and
/// what lies beyond U+10FFFF are no UTF-8 (RFC 3629); `code` is the first byte then.
Utf8Character first_character(std::string_view text);

/// Where the first byte is that belongs to no character; npos when all do.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace syncnorm
