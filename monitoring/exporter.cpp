// See exporter.h. This uses civetweb, the server inside prometheus-cpp, directly: prometheus-cpp's
// Exposer adds metrics that are not ours, and does not compare passwords in constant time.
#include "monitoring/exporter.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>
#include <thread>

#include <civetweb.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/clock.h"
#include "base/error.h"

namespace syncnorm {
namespace {

constexpr std::chrono::milliseconds kFresh{200};  // a text's lifetime
constexpr const char* kThreads = "8";             // so many slow readers block the next
constexpr const char* kTimeout = "1000";          // milliseconds until a stalled request is dropped
constexpr int kLowestPriority = 19;
constexpr unsigned kHasIpv6 = 8;  // civetweb's number for the feature

int thread_id() { return static_cast<int>(syscall(SYS_gettid)); }

void* begin_thread(const mg_context*, int) {
  // On Linux, priority is per thread. Where setpriority() fails, the priority stays as it is.
  setpriority(PRIO_PROCESS, static_cast<id_t>(thread_id()), kLowestPriority);
  return nullptr;
}

int keep_complaint(const mg_connection* connection, const char* message) {
  const mg_context* context = connection == nullptr ? nullptr : mg_get_context(connection);
  if (context != nullptr) static_cast<ServerComplaint*>(mg_get_user_data(context))->keep(message);
  return 1;  // handled: do not print it to standard error
}

void send(mg_connection* connection, const char* status, const std::string& headers,
          const std::string& body, bool with_body) {
  const std::string head =
      fmt::format("HTTP/1.1 {}\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n", status,
                  headers, body.size());
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, body.data(), body.size());
}

/// An address in the form that system calls take.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const ListenAddress& address, const std::string& host) {
  SocketAddress result;
  const auto port = htons(static_cast<std::uint16_t>(address.port));
  if (address.is_v6) {
    auto* to = reinterpret_cast<sockaddr_in6*>(&result.storage);
    to->sin6_family = AF_INET6;
    to->sin6_port = port;
    inet_pton(AF_INET6, host.c_str(), &to->sin6_addr);
    result.size = sizeof *to;
  } else {
    auto* to = reinterpret_cast<sockaddr_in*>(&result.storage);
    to->sin_family = AF_INET;
    to->sin_port = port;
    inet_pton(AF_INET, host.c_str(), &to->sin_addr);
    result.size = sizeof *to;
  }
  return result;
}

/// A socket that its destructor closes.
class Socket {
 public:
  explicit Socket(int family, int flags = 0)
      : handle_(socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)) {}
  ~Socket() {
    if (handle_ >= 0) close(handle_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return handle_; }

 private:
  int handle_;
};

/// Returns the reason why nobody can listen on `address`, or "". civetweb itself does not report
/// it, and gives up on all addresses because of one.
std::string why_not(const ListenAddress& address) {
  const SocketAddress place = socket_address(address, address.host);
  const Socket probe(place.family());
  const int yes = 1;
  if (probe.get() < 0) return std::strerror(errno);
  setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (address.is_v6) setsockopt(probe.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  if (bind(probe.get(), place.get(), place.size) != 0 || listen(probe.get(), 1) != 0)
    return std::strerror(errno);
  if (address.is_v6 && mg_check_feature(kHasIpv6) == 0)
    return fmt::format(
        "{}: the HTTP library of this build, civetweb {}, has no IPv6; listen on an IPv4 address, "
        "such as 127.0.0.1:9464",
        std::strerror(EAFNOSUPPORT), mg_version());
  return "";
}

/// Connects without waiting, and disconnects.
void knock(const ListenAddress& address) {
  const char* loopback = address.is_v6 ? "::1" : "127.0.0.1";
  const SocketAddress to = socket_address(address, address.is_any() ? loopback : address.host);
  const Socket caller(to.family(), SOCK_NONBLOCK);
  if (caller.get() >= 0) static_cast<void>(connect(caller.get(), to.get(), to.size));
}

}  // namespace

Exporter::Exporter(const std::vector<std::string>& addresses, std::optional<BasicAuth> auth,
                   std::function<std::string()> make_text)
    : auth_(std::move(auth)), make_text_(std::move(make_text)) {
  std::vector<std::string> usable;
  for (const std::string& text : addresses) {
    const ListenAddress address = parse_listen_address(text);
    if (const std::string why = why_not(address); !why.empty()) {
      refused_.push_back(fmt::format("{}: {}", text, why));
      continue;
    }
    usable.push_back(text);
    addresses_.push_back(address);
  }
  if (usable.empty())
    throw InputError(fmt::format("cannot listen on {}", fmt::join(refused_, "; ")));
  const std::string ports = fmt::format("{}", fmt::join(usable, ","));
  const char* options[] = {
      "listening_ports", ports.c_str(),       "num_threads", kThreads, "request_timeout_ms",
      kTimeout,          "enable_keep_alive", "no",          nullptr};
  mg_callbacks callbacks = {};
  callbacks.init_thread = begin_thread;
  callbacks.log_message = keep_complaint;
  server_ = mg_start(&callbacks, &complaint_, options);
  const std::string message = complaint_.last();
  if (server_ == nullptr)
    throw InputError(
        fmt::format("cannot listen on {}{}", ports, message.empty() ? "" : " (" + message + ")"));
  std::array<mg_server_port, 64> listening = {};
  const int count =
      mg_get_server_ports(server_, static_cast<int>(listening.size()), listening.data());
  for (int i = 0; i < count && i < static_cast<int>(addresses_.size()); ++i)
    addresses_[static_cast<std::size_t>(i)].port = listening[static_cast<std::size_t>(i)].port;
  mg_set_request_handler(server_, "/metrics$", handle, this);
}

/// Stops the server. Its accepting thread checks for that every two seconds and after every
/// connection, so this connects repeatedly until it has stopped.
Exporter::~Exporter() {
  std::atomic<bool> stopped = false;
  std::thread waker;
  try {
    waker = std::thread([&] {
      while (!stopped) {
        knock(addresses_.front());
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
  } catch (const std::system_error&) {  // without a thread it takes two seconds
  }
  mg_stop(server_);
  stopped = true;
  if (waker.joinable()) waker.join();
}

int Exporter::handle(mg_connection* connection, void* self) {
  return static_cast<Exporter*>(self)->answer(connection);
}

int Exporter::answer(mg_connection* connection) {
  const std::string plain = "Content-Type: text/plain; charset=utf-8\r\n";
  const char* method = mg_get_request_info(connection)->request_method;
  const bool is_head = std::strcmp(method, "HEAD") == 0;
  if (!is_head && std::strcmp(method, "GET") != 0) {
    send(connection, "405 Method Not Allowed", plain + "Allow: GET, HEAD\r\n", "GET only\n", true);
    return 405;
  }
  if (auth_ && !auth_->admits(mg_get_header(connection, "Authorization"))) {
    send(connection, "401 Unauthorized",
         plain + "WWW-Authenticate: Basic realm=\"syncnorm\", charset=\"UTF-8\"\r\n",
         "a user and a password are needed\n", !is_head);
    note_cpu();
    return 401;
  }
  scrapes_.fetch_add(1, std::memory_order_relaxed);
  bool awaited = false;
  {
    const MutexLock lock(awaited_mutex_);
    awaited = awaited_ && !is_head;
  }
  send(connection, "200 OK", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", text(),
       !is_head);
  note_cpu();
  if (awaited) {
    const MutexLock lock(awaited_mutex_);
    awaited_ = false;
    awaited_changed_.notify_all();
  }
  return 200;
}

std::string Exporter::text() {
  const std::lock_guard lock(text_mutex_);
  const auto now = Clock::now();
  if (text_.empty() || now - made_ > kFresh) {
    text_ = make_text_();
    made_ = now;
  }
  return text_;
}

void Exporter::note_cpu() {
  timespec clock = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &clock);
  const std::lock_guard lock(cost_mutex_);
  cpu_seconds_[thread_id()] =
      static_cast<double>(clock.tv_sec) + 1e-9 * static_cast<double>(clock.tv_nsec);
}

bool Exporter::wait_for_scrape(double seconds) {
  {
    const std::lock_guard lock(text_mutex_);
    text_.clear();  // discards texts made before this call
  }
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(seconds));
  const MutexLock lock(awaited_mutex_);
  awaited_ = true;
  while (awaited_)
    if (awaited_changed_.wait_until(awaited_mutex_, end) == std::cv_status::timeout) break;
  return !awaited_;
}

ServingCost Exporter::cost() const {
  ServingCost cost;
  cost.scrapes = static_cast<double>(scrapes_.load(std::memory_order_relaxed));
  const std::lock_guard lock(cost_mutex_);
  for (const auto& [thread, seconds] : cpu_seconds_) cost.cpu_seconds += seconds;
  return cost;
}

}  // namespace syncnorm
