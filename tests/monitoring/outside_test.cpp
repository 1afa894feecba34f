// What a run leaves for others: the target file, whole files, the push, the history it reads.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "monitoring/file_sd.h"
#include "monitoring/pushgateway.h"
#include "monitoring/run_history.h"
#include "monitoring/whole_file.h"
#include "tests/temporary_folder.h"

namespace syncnorm::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Folder : public ::testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> list;
    for (const auto& entry : fs::directory_iterator(folder_))
      list.push_back(entry.path().filename().string());
    return list;
  }
  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

using TargetFileTest = Folder;
using WholeFileTest = Folder;
using RunHistoryTest = Folder;

TEST_F(TargetFileTest, IsThereWhileTheRunIs) {
  const fs::path inside = folder_ / "a" / "b";
  fs::path path;
  {
    const TargetFile file(inside, {parse_listen_address("127.0.0.1:9464")}, "runs/x");
    path = file.path();
    const auto json = nlohmann::json::parse(std::ifstream(path));
    ASSERT_EQ(json.size(), 1u);
    EXPECT_EQ(json[0]["targets"], nlohmann::json::array({"127.0.0.1:9464"}));
    EXPECT_EQ(json[0]["labels"]["__meta_syncnorm_run"], "runs/x");
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::is_empty(inside));
}

TEST_F(TargetFileTest, AllAddressesAreCalledByTheHostsName) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const TargetFile file(folder_, {parse_listen_address("0.0.0.0:9464")}, "r");
  EXPECT_EQ(nlohmann::json::parse(std::ifstream(file.path()))[0]["targets"][0],
            std::string(host) + ":9464");
}

TEST_F(TargetFileTest, ThoseOfKilledRunsAreRemoved) {
  const pid_t zombie = fork();
  if (zombie == 0) _exit(0);
  const pid_t alive = fork();
  if (alive == 0) {
    pause();
    _exit(0);
  }
  siginfo_t ended{};
  waitid(P_PID, static_cast<id_t>(zombie), &ended, WEXITED | WNOWAIT);
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const std::string mine = std::string("syncnorm-") + host + "-";
  const std::string kept = mine + std::to_string(alive) + ".json";
  // The second number belongs to another program by now.
  for (const std::string& name : {mine + std::to_string(zombie) + ".json", mine + "1.json", kept,
                                  "syncnorm-otherhost-" + std::to_string(zombie) + ".json",
                                  mine + "x.json", std::string("other.json")})
    std::ofstream(folder_ / name) << "[]";
  const TargetFile file(folder_, {parse_listen_address("127.0.0.1:1")}, "r");
  EXPECT_THAT(names(), ::testing::UnorderedElementsAre(
                           file.path().filename().string(), kept,
                           "syncnorm-otherhost-" + std::to_string(zombie) + ".json",
                           mine + "x.json", "other.json"));
  kill(alive, SIGKILL);
  while (wait(nullptr) > 0) {
  }
}

TEST_F(WholeFileTest, ReplacesAndLeavesNothingBeside) {
  write_whole(folder_ / "x.prom", "a 1\n", "hint");
  write_whole(folder_ / "x.prom", "b 2\n", "hint");
  std::string text;
  std::getline(std::ifstream(folder_ / "x.prom"), text);
  EXPECT_EQ(text, "b 2");
  EXPECT_EQ(names(), std::vector<std::string>{"x.prom"});
}

TEST_F(WholeFileTest, SaysWhyNot) {
  try {
    write_whole(folder_ / "none" / "x.prom", "a 1\n", "choose another");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot be written (No such file or directory); choose"));
  }
  fs::create_directories(folder_ / "x.prom" / "y");
  EXPECT_THROW(write_whole(folder_ / "x.prom", "a", "h"), InputError);
  EXPECT_EQ(names(), std::vector<std::string>{"x.prom"});
}

TEST_F(RunHistoryTest, CountsLaunchesAndStepsThatCount) {
  EXPECT_EQ(read_run_history(folder_).first_start, 0.0);
  std::ofstream(folder_ / "metrics.jsonl") << R"({"event":"start","time":1000.5,"first_step":0})"
                                           << "\n"
                                           << R"({"event":"step","step":1,"seconds":0.25})"
                                           << "\n"
                                           << R"({"event":"start","time":2000.5,"first_step":1})"
                                           << "\n"
                                           << R"({"event":"resume","step":1})"
                                           << "\n"
                                           << R"({"event":"step","step":2,"seconds":0.5})"
                                           << "\n"
                                           << R"({"event":"start","time":3000.5,"first_step":2})"
                                           << "\n"
                                           << "torn{";
  const RunHistory history = read_run_history(folder_);
  EXPECT_EQ(history.first_start, 1000.5);
  EXPECT_EQ(history.restarts, 2.0);
  EXPECT_EQ(history.step_seconds, 0.75);
}

/// Takes one connection and gives it `answer`; "": reads, and says nothing.
class FakeGateway {
 public:
  explicit FakeGateway(std::string answer) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    socklen_t size = sizeof address;
    bind(socket_, reinterpret_cast<sockaddr*>(&address), size);
    listen(socket_, 1);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, answer] {
      const int peer = accept(socket_, nullptr, nullptr);
      char buffer[65536];
      while (request_.find("\nend\n") == std::string::npos) {
        const ssize_t n = recv(peer, buffer, sizeof buffer, 0);
        if (n <= 0) break;
        request_.append(buffer, static_cast<std::size_t>(n));
      }
      if (!answer.empty()) send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
      if (answer.empty()) recv(peer, buffer, sizeof buffer, 0);
      close(peer);
    });
  }
  ~FakeGateway() {
    if (thread_.joinable()) thread_.join();
    close(socket_);
  }
  const std::string& url() const { return url_; }
  std::string request() {
    thread_.join();
    return request_;
  }

 private:
  int socket_;
  std::string url_, request_;
  std::thread thread_;
};

TEST(Pushgateway, GetsOneRequestWithTheText) {
  FakeGateway gateway("HTTP/1.1 202 Accepted\r\n\r\n");
  const std::string text = std::string(1 << 20, '#') + "\nend\n";
  push_metrics(gateway.url() + "/prefix/", "syncnorm", "runs/ü?", text, 20.0);
  const std::string request = gateway.request();
  // base64 of "syncnorm" and of "runs/ü?", with '/' as '_'.
  EXPECT_THAT(request, HasSubstr("PUT /prefix/metrics/job@base64/c3luY25vcm0=/instance@base64/"
                                 "cnVucy_DvD8= HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Length: " + std::to_string(text.size()) + "\r\n"));
  EXPECT_TRUE(request.ends_with("\r\n\r\n" + text));
}

std::string push_complaint(const std::string& url, double seconds) {
  try {
    push_metrics(url, "j", "i", "end\nend\n", seconds);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Pushgateway, RefusalsSilenceAndAbsenceEndInTime) {
  {
    FakeGateway gateway("HTTP/1.1 400 Bad Request\r\n\r\n");
    EXPECT_EQ(push_complaint(gateway.url(), 20.0), "it answered HTTP/1.1 400 Bad Request");
  }
  {
    FakeGateway gateway("");
    EXPECT_EQ(push_complaint(gateway.url(), 0.3), "no answer in time");
  }
  EXPECT_THAT(push_complaint("http://127.0.0.1:1", 20.0), HasSubstr("Connection refused"));
}

}  // namespace
}  // namespace syncnorm::test
