// See printable.h.
#include "base/printable.h"

#include <cstdio>

#include "base/utf8.h"

namespace syncnorm {
namespace {

bool is_control(char32_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

bool moves_letters(char32_t code) {
  return code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

std::string escaped(const char* form, char32_t code) {
  char text[16];
  std::snprintf(text, sizeof text, form, static_cast<unsigned>(code));
  return text;
}

std::string printable(std::string_view text, bool one_line) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character c = first_character(text);
    const bool valid = c.bytes > 0;
    if (valid && (c.code == '\n' || c.code == '\t'))
      out += !one_line ? std::string(1, text[0]) : c.code == '\n' ? "\\n" : "\\t";
    else if (!valid || is_control(c.code))
      out += escaped("\\x%02x", c.code);
    else if (moves_letters(c.code))
      out += escaped("\\u%04x", c.code);
    else
      out += text.substr(0, c.bytes);
    text.remove_prefix(valid ? c.bytes : 1);
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) { return printable(text, false); }

std::string printable_name(std::string_view name) { return printable(name, true); }

}  // namespace syncnorm
