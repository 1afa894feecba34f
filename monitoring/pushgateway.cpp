// See pushgateway.h. Uses a plain socket with one deadline for the whole request: prometheus-cpp's
// push client has none, and a gateway that does not answer must not keep a finished job from
// ending.
#include "monitoring/pushgateway.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "monitoring/basic_auth.h"

namespace syncnorm {
namespace {

[[noreturn]] void fail(const std::string& why) { throw InputError(why); }

struct Url {
  std::string host, port, prefix;
};

Url parse(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) fail("no http:// address");
  std::string rest = url.substr(kScheme.size());
  Url parts{"", "9091", ""};
  if (const std::size_t slash = rest.find('/'); slash != std::string::npos) {
    parts.prefix = rest.substr(slash);
    rest.resize(slash);
    while (parts.prefix.ends_with('/')) parts.prefix.pop_back();
  }
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string::npos && rest.find(']', colon) == std::string::npos) {
    parts.port = rest.substr(colon + 1);
    rest.resize(colon);
  }
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  parts.host = rest;
  return parts;
}

class Socket {
 public:
  explicit Socket(int handle) : handle_(handle) {}
  ~Socket() {
    if (handle_ >= 0) close(handle_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int handle() const { return handle_; }

  /// Waits for `events`. Throws when the deadline passes.
  void wait(short events, Clock::time_point deadline) const {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd entry{handle_, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::max<long>(0, left.count())));
    if (ready == 0) fail("no answer in time");
    if (ready < 0 && errno != EINTR) fail(std::strerror(errno));
  }

 private:
  int handle_;
};

std::unique_ptr<Socket> connect_to(const Url& url, Clock::time_point deadline) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found);
  if (error != 0) fail(fmt::format("{}:{}: {}", url.host, url.port, gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  std::string why = "no address";
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    auto socket = std::make_unique<Socket>(
        ::socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol));
    if (connect(socket->handle(), a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
      why = std::strerror(errno);
      continue;
    }
    socket->wait(POLLOUT, deadline);
    int result = 0;
    socklen_t size = sizeof result;
    getsockopt(socket->handle(), SOL_SOCKET, SO_ERROR, &result, &size);
    if (result == 0) return socket;
    why = std::strerror(result);
  }
  fail(fmt::format("{}:{}: {}", url.host, url.port, why));
}

/// Encodes a label for the path; in base64, because its value may have any byte in it.
std::string path_label(const std::string& name, const std::string& value) {
  std::string text = base64(value.empty() ? "=" : value);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return fmt::format("/{}@base64/{}", name, text);
}

}  // namespace

void push_metrics(const std::string& url, const std::string& job, const std::string& instance,
                  const std::string& text, double seconds) {
  const auto deadline =
      Clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(1e3 * seconds));
  const Url parts = parse(url);
  const std::unique_ptr<Socket> socket = connect_to(parts, deadline);
  const std::string request = fmt::format(
      "PUT {}/metrics{}{} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: text/plain; version=0.0.4\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
      parts.prefix, path_label("job", job), path_label("instance", instance), parts.host,
      parts.port, text.size(), text);
  for (std::size_t sent = 0; sent < request.size();) {
    socket->wait(POLLOUT, deadline);
    const ssize_t count =
        send(socket->handle(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN && errno != EINTR) fail(std::strerror(errno));
    if (count > 0) sent += static_cast<std::size_t>(count);
  }
  std::string answer;
  char buffer[512];
  while (answer.find("\r\n") == std::string::npos) {
    socket->wait(POLLIN, deadline);
    const ssize_t count = recv(socket->handle(), buffer, sizeof buffer, 0);
    if (count == 0) fail("the connection was closed without an answer");
    if (count < 0 && errno != EAGAIN && errno != EINTR) fail(std::strerror(errno));
    if (count > 0) answer.append(buffer, static_cast<std::size_t>(count));
  }
  const std::string status = answer.substr(0, answer.find("\r\n"));
  if (!status.starts_with("HTTP/1.") || status.find(" 2") == std::string::npos)
    fail("it answered " + status);
}

}  // namespace syncnorm
