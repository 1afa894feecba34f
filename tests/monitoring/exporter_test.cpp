// The HTTP server: who gets what, and that neither storms, slow readers nor scrapes in the last
// moment hold up the one who owns it.
#include "monitoring/exporter.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace syncnorm::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

int connect_to(int port) {
  const int s = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  if (connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return s;
  close(s);
  return -1;
}

/// The answer, or what there is of it when nothing comes for `patience` seconds.
std::string ask(int port, const std::string& request, int patience = 30) {
  const int s = connect_to(port);
  if (s < 0) return "";
  const timeval limit{patience, 0};
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  send(s, request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = recv(s, buffer, sizeof buffer, 0)) > 0;)
    answer.append(buffer, static_cast<std::size_t>(n));
  close(s);
  return answer;
}

std::string get(int port, const std::string& headers = "", const std::string& path = "/metrics") {
  return ask(port, "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
}

int port_of(const Exporter& exporter) { return exporter.addresses().at(0).port; }

TEST(Exporter, ServesTheTextOnEveryAddressAndNothingElse) {
  const Exporter exporter({"127.0.0.1:0", "127.0.0.1:0"}, {}, [] { return std::string("up 1\n"); });
  ASSERT_EQ(exporter.addresses().size(), 2u);
  EXPECT_NE(exporter.addresses()[0].port, exporter.addresses()[1].port);
  for (const ListenAddress& address : exporter.addresses()) {
    ASSERT_GT(address.port, 0);
    const std::string answer = get(address.port);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    EXPECT_THAT(answer, HasSubstr("\r\n\r\nup 1\n"));
  }
  const int port = port_of(exporter);
  EXPECT_THAT(get(port, "", "/"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(get(port, "", "/metrics/../../etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(ask(port, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
              StartsWith("HTTP/1.1 405"));
  const std::string head = ask(port, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_EQ(head.find("up 1"), std::string::npos);
  EXPECT_EQ(exporter.cost().scrapes, 3.0);
  EXPECT_GT(exporter.cost().cpu_seconds, 0.0);
}

TEST(Exporter, AnAddressInUseIsAnError) {
  const Exporter first({"127.0.0.1:0"}, {}, [] { return std::string("x 1\n"); });
  const std::string taken = first.addresses()[0].text();
  try {
    const Exporter second({taken}, {}, [] { return std::string("x 1\n"); });
    FAIL() << "two servers on " << taken;
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), StartsWith("cannot listen on " + taken));
  }
}

TEST(Exporter, ServesTheAddressesThatItCan) {
  const Exporter first({"127.0.0.1:0"}, {}, [] { return std::string("x 1\n"); });
  const std::string taken = first.addresses()[0].text();
  const Exporter exporter({"192.0.2.1:9464", taken, "127.0.0.1:0"}, {},
                          [] { return std::string("up 1\n"); });
  ASSERT_EQ(exporter.addresses().size(), 1u);
  EXPECT_THAT(get(port_of(exporter)), HasSubstr("up 1"));
  EXPECT_EQ(exporter.refused(),
            (std::vector<std::string>{"192.0.2.1:9464: Cannot assign requested address",
                                      taken + ": Address already in use"}));
}

/// Debian's civetweb has no IPv6; one that has it serves both.
TEST(Exporter, SaysWhyThereIsNoIpv6AndServesTheOtherAddress) {
  const Exporter exporter({"[::1]:0", "127.0.0.1:0"}, {}, [] { return std::string("up 1\n"); });
  EXPECT_EQ(exporter.refused().size() + exporter.addresses().size(), 2u);
  EXPECT_FALSE(exporter.addresses().back().is_v6);
  EXPECT_THAT(get(exporter.addresses().back().port), HasSubstr("up 1"));
  for (const std::string& refused : exporter.refused()) {
    EXPECT_THAT(refused, StartsWith("[::1]:0: "));
    EXPECT_TRUE(refused.find("has no IPv6; listen on an IPv4 address") != std::string::npos ||
                refused.find("Cannot assign requested address") != std::string::npos ||
                refused.find("Address family not supported") != std::string::npos)
        << refused;
  }
}

TEST(Exporter, APasswordIsNeeded) {
  const Exporter exporter({"127.0.0.1:0"}, BasicAuth("ann", "s3cret:x"),
                          [] { return std::string("x 1\n"); });
  const int port = port_of(exporter);
  const std::string refused = get(port);
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(refused, HasSubstr("WWW-Authenticate: Basic realm=\"syncnorm\""));
  EXPECT_EQ(refused.find("x 1"), std::string::npos);
  for (const std::string& wrong :
       {std::string("ann:s3cret:y"), std::string("ann:s3cret:x2"), std::string("ann:"),
        std::string(""), std::string("bob:s3cret:x")})
    EXPECT_THAT(get(port, "Authorization: Basic " + base64(wrong) + "\r\n"),
                StartsWith("HTTP/1.1 401"))
        << wrong;
  EXPECT_THAT(get(port, "Authorization: Bearer " + base64("ann:s3cret:x") + "\r\n"),
              StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(get(port, "Authorization: basic " + base64("ann:s3cret:x") + "\r\n"),
              HasSubstr("x 1"));
}

TEST(Exporter, AStormIsAnsweredWithFewTexts) {
  std::atomic<int> made = 0;
  const Exporter exporter({"127.0.0.1:0"}, {}, [&] {
    ++made;
    return std::string(1 << 16, 'x') + "\n";
  });
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> clients;
  std::atomic<int> answered = 0;
  for (int c = 0; c < 8; ++c)
    clients.emplace_back([&] {
      for (int i = 0; i < 20; ++i)
        if (get(port_of(exporter)).starts_with("HTTP/1.1 200")) ++answered;
    });
  for (std::thread& client : clients) client.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(answered, 160);
  EXPECT_LE(made, 1 + static_cast<int>(took.count() / 0.2));
}

TEST(Exporter, SlowReadersDoNotKeepItFromEnding) {
  auto exporter = std::make_unique<Exporter>(
      std::vector<std::string>{"127.0.0.1:0"}, std::nullopt,
      [] { return std::string(std::size_t{64} << 20, 'x'); });  // more than any socket holds
  std::vector<int> sockets;
  for (int c = 0; c < 8; ++c) {  // more than threads: some read nothing, some ask for nothing
    sockets.push_back(connect_to(port_of(*exporter)));
    ASSERT_GE(sockets.back(), 0);
    const std::string request = c % 2 == 0 ? "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" : "GET /me";
    send(sockets.back(), request.data(), request.size(), MSG_NOSIGNAL);
  }
  char byte = 0;
  EXPECT_EQ(recv(sockets[0], &byte, 1, 0), 1);  // it is in the middle of an answer
  const auto begin = std::chrono::steady_clock::now();
  exporter.reset();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took.count(), 60.0);  // a hang would be one of minutes
  for (const int s : sockets) close(s);
}

// The server forgets a connection that it had accepted, but not begun to serve, when it was told to
// stop: such a client waits until it loses patience, or until the process ends. Nobody else does.
TEST(Exporter, AScrapeDuringTheEndDoesNotHoldItUp) {
  const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
  for (int round = 0; round < 10; ++round) {
    auto exporter = std::make_unique<Exporter>(std::vector<std::string>{"127.0.0.1:0"},
                                               std::nullopt, [] { return std::string("x 1\n"); });
    const int port = port_of(*exporter);
    std::atomic<bool> stop = false;
    std::vector<std::thread> clients;
    for (int c = 0; c < 3; ++c)
      clients.emplace_back([&] {
        while (!stop) {
          const std::string answer = ask(port, request, 1);
          EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 200") ||
                      answer.starts_with("HTTP/1.1 503"))
              << answer;
        }
      });
    exporter.reset();
    EXPECT_EQ(connect_to(port), -1) << "still listening";
    stop = true;
    for (std::thread& client : clients) client.join();
  }
}

TEST(Exporter, WaitsForAScrapeOfWhatIsNewButNotForEver) {
  std::atomic<int> value = 1;
  Exporter exporter({"127.0.0.1:0"}, {}, [&] { return "x " + std::to_string(value) + "\n"; });
  EXPECT_THAT(get(port_of(exporter)), HasSubstr("x 1\n"));
  EXPECT_FALSE(exporter.wait_for_scrape(0.01));
  value = 2;
  std::atomic<bool> ended = false;
  std::thread watcher([&] {
    while (!ended) EXPECT_THAT(get(port_of(exporter)), StartsWith("HTTP/1.1 200"));
  });
  EXPECT_TRUE(exporter.wait_for_scrape(60.0));
  ended = true;
  watcher.join();
}

class PasswordFile : public ::testing::Test {
 protected:
  void write(const std::string& text, mode_t mode) {
    std::ofstream(path_) << text;
    chmod(path_.c_str(), mode);
  }
  std::string complaint() {
    try {
      BasicAuth::from_file("ann", path_.string());
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  const test::TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path(), path_ = folder_ / "password";
};

TEST_F(PasswordFile, MustBeTheOwnersAlone) {
  write("secret\n", 0600);
  EXPECT_TRUE(BasicAuth::from_file("ann", path_.string())
                  .admits(("Basic " + base64("ann:secret")).c_str()));
  for (const mode_t mode : {0640, 0604, 0660, 0400, 0700}) {
    chmod(path_.c_str(), mode);
    EXPECT_THAT(complaint(), HasSubstr("run chmod 600"));
  }
}

TEST_F(PasswordFile, MustHaveAPassword) {
  EXPECT_THAT(complaint(), HasSubstr("cannot be read (No such file or directory)"));
  write("\nsecret\n", 0600);
  EXPECT_THAT(complaint(), HasSubstr("has no password in its first line"));
}

TEST(BasicAuthentication, Base64IsThatOfTheRfc) {
  // RFC 4648, section 10.
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

TEST(BasicAuthentication, ComparisonReadsEverything) {
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  for (const char* other : {"abd", "xbc", "ab", "abca", "", "abcabc"})
    EXPECT_FALSE(equal_in_constant_time("abc", other)) << other;
  EXPECT_FALSE(equal_in_constant_time("", "a"));
}

}  // namespace
}  // namespace syncnorm::test
