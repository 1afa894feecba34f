// Every input of the corpora, seeds and what fuzzing once found, without libFuzzer.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/fuzz/targets.h"

namespace syncnorm::fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path kRepository = SYNCNORM_SOURCE_DIR;
const fs::path kCorpora = kRepository / "tests/fuzz/corpus";

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Corpus : public ::testing::TestWithParam<NamedTarget> {};

TEST_P(Corpus, IsRead) {
  std::vector<fs::path> files = files_of(kCorpora / GetParam().name);
  EXPECT_GE(files.size(), 3u) << "a corpus needs seeds";
  if (GetParam().more_seeds != nullptr)
    for (const fs::path& path : files_of(kRepository / GetParam().more_seeds))
      files.push_back(path);
  for (const fs::path& path : files) {
    SCOPED_TRACE(path.string());
    bool accepted = false;
    EXPECT_NO_THROW(accepted = GetParam().run(read(path)));
    if (path.filename().string().starts_with("valid-")) EXPECT_TRUE(accepted);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Corpus, ::testing::ValuesIn(targets().begin(), targets().end()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Corpora, HaveATargetEach) {
  std::set<std::string> folders, names;
  for (const auto& entry : fs::directory_iterator(kCorpora))
    folders.insert(entry.path().filename().string());
  for (const NamedTarget& target : targets()) names.insert(target.name);
  EXPECT_EQ(folders, names);
}

TEST(Targets, AreFoundByName) {
  EXPECT_STREQ(find_target("idx").name, "idx");
  EXPECT_THROW(find_target("nothing"), InputError);
}

}  // namespace
}  // namespace syncnorm::fuzz
