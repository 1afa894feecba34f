// Texts that are too large, too deep, too many or no text at all; each must be refused quickly.
#include <gtest/gtest.h>

#include <string>

#include "engine/config/source_text.h"
#include "tests/engine/config/config_test_files.h"

namespace syncnorm {
namespace {

std::string repeated(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

TEST(TextLimits, DeepNestingIsRefusedBeforeTheStackEnds) {
  const std::string problem = "nested deeper than 64 levels; flatten it";
  EXPECT_EQ(text_error(repeated("[", 100'000) + repeated("]", 100'000)), "a.yaml:1:65: " + problem);
  EXPECT_EQ(text_error(repeated("{a: ", 100'000) + "1" + repeated("}", 100'000)),
            "a.yaml:1:257: " + problem);
  EXPECT_EQ(text_error(repeated("- ", 100'000)), "a.yaml:1:129: " + problem);
  EXPECT_EQ(text_error(repeated("? ", 100'000)),
            "a.yaml:1:3: a map is used as a key; write a name, or close the bracket");
  // Brackets that are never closed read as the beginning of a key.
  const std::string key = "a list is used as a key; write a name, or close the bracket";
  EXPECT_EQ(text_error(repeated("[", 100'000)), "a.yaml:1:1: " + key);
  EXPECT_EQ(text_error("{}", {"model.hidden=" + repeated("[", 100'000) + repeated("]", 100'000)}),
            "command line: model.hidden: " + problem);
}

TEST(TextLimits, SixtyFourLevelsAreNotTooDeep) {
  const std::string text = "model: {hidden: " + repeated("[", 62) + repeated("]", 62) + "}";
  EXPECT_EQ(text_error(text),
            "a.yaml:1:18: model.hidden[0]: expected an integer from 1 to 1048576, got a list; give "
            "one value");
}

TEST(TextLimits, AliasesCannotExplode) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string alias = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias;
    text += repeated(", " + alias, 9) + "]\n";
  }
  EXPECT_EQ(text_error(text),
            "a.yaml:5:40: a4[6]: the text has more than 100000 values, with its aliases written "
            "out; use fewer aliases");
}

TEST(TextLimits, AliasesCannotNestDeeperThanText) {
  std::string text = "a0: &a0 [x]\n";
  for (int i = 1; i < 80; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) +
            "]\n";
  }
  EXPECT_EQ(text_error(text), "a.yaml:64:12: a63[0]: nested deeper than 64 levels; flatten it");
}

TEST(TextLimits, ManyAnchorsAroundALargeListCountAsCopies) {
  std::string text = "a: ";
  for (int i = 0; i < 40; ++i) text += "&a" + std::to_string(i) + " [";
  text += repeated("1,", 50'000) + repeated("]", 40);
  EXPECT_EQ(text_error(text).find("the text has more than 100000 values") != std::string::npos,
            true);
}

TEST(TextLimits, OneMebibyteIsTheLongestText) {
  const std::string line = "seed: 3\n";
  const std::string longest = line + "#" + std::string(config::kLongestText - line.size() - 1, 'x');
  EXPECT_EQ(parse_experiment_text(longest, "a.yaml").experiment.seed, 3u);
  const std::string message = "is longer than 1 MiB; a configuration is a short text";
  EXPECT_EQ(text_error(longest + "x"), "a.yaml: " + message);

  const TemporaryFolder folder;
  const auto file = folder.write("long.yaml", longest + "xyz");
  EXPECT_EQ(folder.without_folder(error_of([&] { load_experiment(file); })),
            "long.yaml: " + message);
}

TEST(TextLimits, MessagesStayShortAndPrintable) {
  EXPECT_EQ(text_error("\"a\\eb" + std::string(1000, 'x') + "\": 1").substr(0, 220),
            "a.yaml:1:1: a b" + std::string(197, 'x') + "...: unk");
  std::string layers = "model: {layers: [";
  for (int i = 0; i < 10'001; ++i) layers += "relu,";
  EXPECT_EQ(text_error(layers + "]}"),
            "a.yaml:1:17: model.layers: more than 10000 layers; write a smaller network");
}

TEST(TextLimits, OnlyUtf8IsText) {
  EXPECT_EQ(text_error("seed: 1\nname: a\xff\n"),
            "a.yaml:2:8: byte 0xff at offset 15 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(text_error("name: \xc0\xaf\n"),
            "a.yaml:1:7: byte 0xc0 at offset 6 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(text_error("# \xed\xa0\x80\n"),
            "a.yaml:1:3: byte 0xed at offset 2 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(text_error("# \xf4\x90\x80\x80\n"),
            "a.yaml:1:3: byte 0xf4 at offset 2 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(text_error("# cut \xe2\x82"),
            "a.yaml:1:7: byte 0xe2 at offset 6 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(text_error(std::string("seed: 1\0\n", 9)),
            "a.yaml:1:8: control byte 0x00 at offset 7; remove it");
  EXPECT_EQ(text_error("seed: 1\nname: \x1b[0m\n"),
            "a.yaml:2:7: control byte 0x1b at offset 14; remove it");
  EXPECT_EQ(parse_experiment_text("data: {path: \"γ/€/😀\"}", "a.yaml").experiment.data.path,
            "γ/€/😀");
}

TEST(TextLimits, AByteOrderMarkAndWindowsLinesAreAccepted) {
  EXPECT_EQ(parse_experiment_text("\xEF\xBB\xBFseed: 5\r\nepochs: 2\r\n", "a").experiment.epochs,
            2);
  EXPECT_EQ(text_error("\xEF\xBB\xBFseed: x\r\n"),
            "a.yaml:1:7: seed: 'x' is not an integer; give an integer from 0 to "
            "18446744073709551615");
}

}  // namespace
}  // namespace syncnorm
