// Which bytes are characters: the borders of RFC 3629.
#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace syncnorm {
namespace {

TEST(Utf8, TheFirstAndTheLastCharacterOfEveryLength) {
  struct Case {
    std::string bytes;
    char32_t code;
  };
  for (const Case& one :
       {Case{std::string(1, '\0'), 0}, Case{"\x7f", 0x7f}, Case{"\xc2\x80", 0x80},
        Case{"\xdf\xbf", 0x7ff}, Case{"\xe0\xa0\x80", 0x800}, Case{"\xed\x9f\xbf", 0xd7ff},
        Case{"\xee\x80\x80", 0xe000}, Case{"\xef\xbf\xbf", 0xffff},
        Case{"\xf0\x90\x80\x80", 0x10000}, Case{"\xf4\x8f\xbf\xbf", 0x10ffff}}) {
    const Utf8Character found = first_character(one.bytes + "x");
    EXPECT_EQ(found.code, one.code);
    EXPECT_EQ(found.bytes, one.bytes.size());
    EXPECT_EQ(find_invalid_utf8(one.bytes + "\xff"), one.bytes.size());
  }
}

TEST(Utf8, WhatIsNone) {
  for (const char* bytes : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2x", "\xe0\x9f\xbf",
                            "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82", "\xf0\x8f\xbf\xbf",
                            "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(first_character(bytes).bytes, 0u);
    EXPECT_EQ(first_character(bytes).code, static_cast<unsigned char>(bytes[0]));
    EXPECT_EQ(find_invalid_utf8(std::string("ab") + bytes), 2u);
  }
  EXPECT_EQ(find_invalid_utf8("Läufe ≥ 3"), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8(""), std::string_view::npos);
}

}  // namespace
}  // namespace syncnorm
