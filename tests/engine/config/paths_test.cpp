// What is expanded in a path, and what characters a message shows.
#include "engine/config/paths.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "engine/config/load.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {
namespace {

class Paths : public ::testing::Test {
 protected:
  Paths() {
    setenv("HOME", "/home/ann", 1);
    setenv("SYNCNORM_TEST_A", "a b", 1);
    unsetenv("SYNCNORM_TEST_NONE");
  }
  ~Paths() override {
    if (home_.empty())
      unsetenv("HOME");
    else
      setenv("HOME", home_.c_str(), 1);
    unsetenv("SYNCNORM_TEST_A");
  }
  static std::string refusal(const std::string& path) {
    try {
      return "accepted: " + expand_path(path);
    } catch (const InputError& error) {
      return error.what();
    }
  }

 private:
  const std::string home_ = std::getenv("HOME") == nullptr ? "" : std::getenv("HOME");
};

TEST_F(Paths, HomeAndVariables) {
  for (const auto& [path, expanded] : std::initializer_list<std::pair<const char*, const char*>>{
           {"~", "/home/ann"},
           {"~/runs", "/home/ann/runs"},
           {"$HOME/runs", "/home/ann/runs"},
           {"${HOME}runs", "/home/annruns"},
           {"x/$SYNCNORM_TEST_A/${SYNCNORM_TEST_A}", "x/a b/a b"},
           {"x/~/y", "x/~/y"},
           {"x~", "x~"},
           {"a$", "a$"},
           {"a$/b", "a$/b"},
           {"$5", "$5"},
           {"auto", "auto"},
           {"", ""}})
    EXPECT_EQ(expand_path(path), expanded) << path;
}

TEST_F(Paths, Mistakes) {
  EXPECT_EQ(
      refusal("$SYNCNORM_TEST_NONE/x"),
      "'$SYNCNORM_TEST_NONE/x': the environment variable SYNCNORM_TEST_NONE is not set; set it, "
      "or write the folder itself");
  EXPECT_EQ(
      refusal("~bob/x"),
      "'~bob/x': only one's own home folder is known, as ~/; write others out, and a name that "
      "begins with ~ as ./~bob/x");
  EXPECT_EQ(refusal("${HOME"), "'${HOME': after ${ a name and } are expected, such as ${HOME}");
  EXPECT_EQ(refusal("${HOME-x}"),
            "'${HOME-x}': after ${ a name and } are expected, such as ${HOME}");
}

/// Every key that is a path follows the rule; the mistake is told with its place.
TEST_F(Paths, OfAllKeys) {
  const Experiment e =
      parse_experiment_text(
          "run_dir: ~/runs/$SYNCNORM_TEST_A\n"
          "data: {path: '${HOME}/data'}\n"
          "metrics: {prometheus: true, textfile: ~/x.prom, file_sd_dir: $HOME/sd, user: ann, "
          "password_file: ~/secret}\n",
          "a.yaml")
          .experiment;
  EXPECT_EQ(e.run_dir, "/home/ann/runs/a b");
  EXPECT_EQ(e.data.path, "/home/ann/data");
  EXPECT_EQ(e.metrics.textfile, "/home/ann/x.prom");
  EXPECT_EQ(e.metrics.file_sd_dir, "/home/ann/sd");
  EXPECT_EQ(e.metrics.password_file, "/home/ann/secret");
  try {
    parse_experiment_text("data:\n  path: $SYNCNORM_TEST_NONE\nrun_dir: ~x\n", "a.yaml");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).substr(0, 64),
              std::string("a.yaml:2:9: data.path: '$SYNCNORM_TEST_NONE': the environment variable")
                  .substr(0, 64));
    EXPECT_NE(std::string(error.what()).find("\na.yaml:3:10: run_dir: '~x': only"),
              std::string::npos);
  }
}

TEST(Visible, CharactersThatDeceiveAreCodePoints) {
  for (const auto& [text, shown] : std::initializer_list<std::pair<const char*, const char*>>{
           {"optimizer\u00a0", "optimizer<U+00A0>"},
           {"\u22121", "<U+2212>1"},
           {"\u200bseed", "<U+200B>seed"},
           {"\ufeffseed", "<U+FEFF>seed"},
           {"\u201cbn\u201d", "<U+201C>bn<U+201D>"},
           {"s\u0435ed", "s<U+0435>ed"},  // Cyrillic
           {"\u043f\u0440", "\u043f\u0440"},
           {"L\u00e4ufe \u2265", "L\u00e4ufe \u2265"},
           {"a\tb\x1b[31m", "a b [31m"},
           {"\xff", "\\xff"}})
    EXPECT_EQ(visible(text), shown);
  EXPECT_EQ(in_quotes(std::string(41, 'a')), "'" + std::string(40, 'a') + "...'");
}

TEST(Visible, InMessagesOfKeysAndValues) {
  try {
    parse_experiment_text("optimizer\u00a0: {lr: 0.1}\nseed: \u22121\n", "a.yaml");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "a.yaml:1:1: optimizer<U+00A0>: unknown key; did you mean `optimizer`?\n"
                 "a.yaml:2:7: seed: '<U+2212>1' is not an integer; give an integer from 0 to "
                 "18446744073709551615");
  }
}

}  // namespace
}  // namespace syncnorm::config
