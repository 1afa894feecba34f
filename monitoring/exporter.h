// A node's HTTP server, which answers GET /metrics and nothing else.
//
// It runs on its own threads at the lowest priority, so that requests, however many, do not take
// the core from training. A text is made at most a few times a second and shared by all requests.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/config/listen_address.h"
#include "monitoring/basic_auth.h"
#include "monitoring/metric_families.h"

struct mg_connection;
struct mg_context;

namespace syncnorm {

/// Keeps the server's last error message, which says why it could not start.
class ServerComplaint {
 public:
  void keep(const char* message) {
    const std::lock_guard lock(mutex_);
    text_ = message;
  }
  std::string last() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

class Exporter {
 public:
  /// Starts the server. Only one serving thread at a time calls `make_text`. Throws InputError with
  /// the reasons when it can listen on none of `addresses`.
  Exporter(const std::vector<std::string>& addresses, std::optional<BasicAuth> auth,
           std::function<std::string()> make_text);
  /// Closes open connections; returns within about a second, or two when no thread can be started.
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  /// The addresses on which it listens, in the order given, with the actual port in place of 0.
  const std::vector<ListenAddress>& addresses() const { return addresses_; }

  /// The addresses on which it could not listen, each with the reason: "127.0.0.1:80: Permission
  /// denied".
  const std::vector<std::string>& refused() const { return refused_; }

  ServingCost cost() const;

  /// Waits up to `seconds` for a GET answered with a text made after this call. Returns true when
  /// there was one.
  bool wait_for_scrape(double seconds);

 private:
  static int handle(mg_connection* connection, void* self);
  int answer(mg_connection* connection);
  std::string text();
  void note_cpu();

  std::vector<ListenAddress> addresses_;
  std::vector<std::string> refused_;
  std::optional<BasicAuth> auth_;
  std::function<std::string()> make_text_;

  ServerComplaint complaint_;
  std::mutex text_mutex_;
  std::string text_;
  Clock::time_point made_{};

  mutable std::mutex cost_mutex_;
  std::map<int, double> cpu_seconds_;  // by thread: its CPU clock at its last answer
  std::atomic<std::uint64_t> scrapes_ = 0;

  Mutex awaited_mutex_;
  Condition awaited_changed_;
  bool awaited_ SYNCNORM_GUARDED_BY(awaited_mutex_) = false;  // wait_for_scrape() is waiting

  mg_context* server_ = nullptr;  // declared last: its threads use all members above
};

}  // namespace syncnorm
