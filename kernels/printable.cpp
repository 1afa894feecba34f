// See printable.h.
#include "kernels/printable.h"

#include <cstdint>
#include <cstdio>

namespace syncnorm {
namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;  // 0: no UTF-8
};

/// The first character of `text`, which is not empty. Longer forms than needed, surrogates and
/// what lies beyond U+10FFFF are no UTF-8.
Character first_of(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const std::size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return {};
  std::uint32_t code = byte(0) & (0xffu >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  constexpr std::uint32_t kSmallest[] = {0x80, 0x800, 0x10000};
  if (code < kSmallest[bytes - 2] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
    return {};
  return {code, bytes};
}

bool is_control(std::uint32_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

bool moves_letters(std::uint32_t code) {
  return code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

std::string escaped(const char* form, std::uint32_t code) {
  char text[16];
  std::snprintf(text, sizeof text, form, code);
  return text;
}

std::string printable(std::string_view text, bool one_line) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = first_of(text);
    if (c.bytes == 0)
      out += escaped("\\x%02x", static_cast<unsigned char>(text[0]));
    else if (c.code == '\n' || c.code == '\t')
      out += !one_line ? std::string(1, text[0]) : c.code == '\n' ? "\\n" : "\\t";
    else if (is_control(c.code))
      out += escaped("\\x%02x", c.code);
    else if (moves_letters(c.code))
      out += escaped("\\u%04x", c.code);
    else
      out += text.substr(0, c.bytes);
    text.remove_prefix(c.bytes == 0 ? 1 : c.bytes);
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) { return printable(text, false); }

std::string printable_name(std::string_view name) { return printable(name, true); }

}  // namespace syncnorm
