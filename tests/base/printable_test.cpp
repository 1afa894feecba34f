// What is shown on a terminal of text that somebody else chose.
#include "base/printable.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace syncnorm {
namespace {

using namespace std::string_literals;

TEST(Printable, LeavesTextAlone) {
  for (const std::string text :
       {"", "1.jpg", "two\nlines\tand a tab", "C:\\x1b", "Läufe/×/猫/🐈", "a\xc2\xa0no-break space"})
    EXPECT_EQ(printable(text), text);
}

TEST(Printable, ShowsControlCharactersAsEscapes) {
  EXPECT_EQ(printable("\x1b[2J\x1b]0;owned\x07"), "\\x1b[2J\\x1b]0;owned\\x07");
  EXPECT_EQ(printable("over\rwritten\b\x7f"), "over\\x0dwritten\\x08\\x7f");
  EXPECT_EQ(printable("a\0b"s), "a\\x00b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m");  // CSI in one character
  EXPECT_EQ(printable_name("a\nsyncnorm: b\t"), "a\\nsyncnorm: b\\t");
}

TEST(Printable, ShowsWhatReordersLetters) {
  EXPECT_EQ(printable("cat\xe2\x80\xaegpj.exe"), "cat\\u202egpj.exe");
  EXPECT_EQ(printable("\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\xa8\xd8\x9c"),
            "\\u2066\\u2069\\u2028\\u061c");
}

TEST(Printable, ShowsBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("\x9b"
                      "31m"),
            "\\x9b31m");                           // C1 as a single byte
  EXPECT_EQ(printable("\xe4.jpg"), "\\xe4.jpg");   // Latin-1
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b");  // longer than needed
  EXPECT_EQ(printable("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(printable("cut \xe7\x8c"), "cut \\xe7\\x8c");
}

TEST(Printable, LeavesItsOwnTextAlone) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(printable(printable(all)), printable(all));
  EXPECT_EQ(printable_name(printable(all)), printable_name(all));
}

TEST(Printable, IsWhatErrorsSay) {
  EXPECT_STREQ(InputError("a\x1b[31m\n\xff").what(), "a\\x1b[31m\n\\xff");
  EXPECT_STREQ(Error(ExitCode::diverged, "\x1b").what(), "\\x1b");
}

}  // namespace
}  // namespace syncnorm
