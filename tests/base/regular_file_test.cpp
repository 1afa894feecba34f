// Whole files, and what stands in their place.
#include "base/regular_file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace syncnorm {
namespace {

class RegularFileTest : public testing::Test {
 protected:
  std::filesystem::path write(const char* name, const std::string& text) const {
    return temporary_.write(name, text);
  }

  const test::TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
};

TEST_F(RegularFileTest, ReadsTheWholeText) {
  const std::string text("a\0b\n\xff", 5);
  const auto path = write("file", text);
  EXPECT_EQ(read_text_file(path, "hint"), text);
  EXPECT_EQ(RegularFile(path).read_text(2), std::string("a\0", 2));
  EXPECT_EQ(RegularFile(path).size(), 5u);
  EXPECT_EQ(read_text_file(write("empty", ""), "hint"), "");
}

TEST_F(RegularFileTest, SaysWhatStandsThere) {
  const auto pipe = folder_ / "pipe", socket_path = folder_ / "socket";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{AF_UNIX, {}};
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(descriptor);
  struct Case {
    std::filesystem::path path;
    FileTrouble trouble;
    const char* problem;
    const char* reason;
  };
  for (const Case& one :
       {Case{folder_ / "none", FileTrouble::missing, "no such file", "No such file or directory"},
        Case{write("file", "") / "x", FileTrouble::missing, "no such file", "Not a directory"},
        Case{folder_, FileTrouble::folder, "is a folder", "it is a folder"},
        Case{pipe, FileTrouble::not_regular, "is not a regular file", "it is not a regular file"},
        Case{socket_path, FileTrouble::not_regular, "is not a regular file",
             "No such device or address"},
        Case{"/dev/zero", FileTrouble::not_regular, "is not a regular file",
             "it is not a regular file"}}) {
    RegularFile file(one.path);
    EXPECT_EQ(file.trouble(), one.trouble) << one.path;
    EXPECT_EQ(file.problem(), one.problem) << one.path;
    EXPECT_EQ(file.reason(), one.reason) << one.path;
    EXPECT_EQ(file.read_text(), "");
  }
}

TEST_F(RegularFileTest, RefusesByName) {
  EXPECT_EQ(read_text_file_if_there(folder_ / "none", "hint"), std::nullopt);
  const auto message = [](const auto& path, bool must_be_there) -> std::string {
    try {
      if (must_be_there) read_text_file(path, "give a text");
      read_text_file_if_there(path, "give a text");
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(folder_ / "none", true),
            (folder_ / "none").string() + ": no such file; give a text");
  EXPECT_EQ(message(folder_, false), folder_.string() + ": is a folder; give a text");
}

TEST(ForEachLine, TheLastLineMayLackItsEnd) {
  const auto lines = [](std::string_view text) {
    std::vector<std::string> all;
    for_each_line(text, [&](std::string_view line) { all.emplace_back(line); });
    return all;
  };
  EXPECT_EQ(lines(""), std::vector<std::string>());
  EXPECT_EQ(lines("a\n\nb"), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(lines("a\n"), (std::vector<std::string>{"a"}));
}

}  // namespace
}  // namespace syncnorm
