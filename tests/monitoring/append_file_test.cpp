// What a file that is appended to does when there is no room, by a limit on the size of files.
#include "monitoring/append_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace syncnorm {
namespace {

/// No file of this process grows beyond so many bytes while it lives.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  SizeLimit(const SizeLimit&) = delete;
  SizeLimit& operator=(const SizeLimit&) = delete;

 private:
  rlimit before_;
};

class AppendFileTest : public ::testing::Test {
 protected:
  std::string text() const {
    std::ifstream in(path_);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
  }

  const test::TemporaryFolder temporary_;
  const std::filesystem::path path_ = temporary_.path() / "log";
  std::vector<std::string> said_;
  AppendFile file_{"line", [this](const std::string& text) { said_.push_back(text); }};
};

TEST_F(AppendFileTest, GoesOnWhereItStoppedWhenThereIsRoomAgain) {
  file_.open(path_);
  std::string all;
  const auto add = [&](int i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    file_.append(line);
    file_.flush();
    all += line;
  };
  add(1);
  {
    const SizeLimit full(10);  // within the second line
    add(2);
    add(3);
    EXPECT_EQ(text(), "line 1\nlin");
    ASSERT_EQ(said_.size(), 1u);
    EXPECT_EQ(said_[0],
              path_.string() + ": File too large; lines are held back until there is room");
  }
  add(4);
  EXPECT_EQ(text(), all);
  ASSERT_EQ(said_.size(), 2u);
  EXPECT_EQ(said_[1],
            path_.string() + ": can be written again; 3 lines were held back, 0 were lost");
  EXPECT_EQ(file_.close(), 0u);
  EXPECT_EQ(said_.size(), 2u);
}

TEST_F(AppendFileTest, KeepsWholeRecordsAndCountsTheOthersWhenThereIsNoRoomAtTheEnd) {
  file_.open(path_);
  file_.append("line 1\n");
  file_.append("line 2\n");
  file_.append("line 3\n");
  const SizeLimit full(10);
  EXPECT_EQ(file_.close(), 2u);
  EXPECT_EQ(text(), "line 1\n");
  ASSERT_EQ(said_.size(), 2u);
  EXPECT_EQ(said_[1], path_.string() + ": 2 lines were lost (File too large)");
}

TEST_F(AppendFileTest, HoldsBackSoMuchAndNoMore) {
  file_.open(path_);
  const std::string large(AppendFile::kMostHeld / 4 + 1, 'x');
  {
    const SizeLimit full(0);
    for (int i = 0; i < 5; ++i) file_.append(large);
  }
  EXPECT_EQ(file_.lost(), 2u);
  file_.append("end\n");
  EXPECT_EQ(file_.close(), 2u);
  EXPECT_EQ(text().size(), 3 * large.size() + 4);
  EXPECT_EQ(said_.back(), path_.string() + ": 2 lines were lost (there was no room for a while)");
}

TEST_F(AppendFileTest, AppendsToWhatIsThere) {
  std::ofstream(path_) << "before\n";
  file_.open(path_);
  file_.append("behind\n");
  EXPECT_EQ(file_.close(), 0u);
  EXPECT_EQ(text(), "before\nbehind\n");
  EXPECT_THROW(file_.open(temporary_.path() / "none" / "log"), InputError);
}

}  // namespace
}  // namespace syncnorm
