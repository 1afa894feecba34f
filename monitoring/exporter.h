// The HTTP server of a node: GET /metrics, and nothing else.
//
// It runs on threads of its own at the lowest priority, so that no number of requests takes the
// core from training; a text is made at most a few times a second, however many ask for it.
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

/// The last thing that the server complained of; it says why it could not start.
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
  /// `make_text` is called by one serving thread at a time. Throws InputError, with the reasons,
  /// when it can listen on none of `addresses`.
  Exporter(const std::vector<std::string>& addresses, std::optional<BasicAuth> auth,
           std::function<std::string()> make_text);
  /// Ends open connections, and returns within about a second.
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  /// Where it listens, in the order given, with the real ports in place of 0.
  const std::vector<ListenAddress>& addresses() const { return addresses_; }

  /// The addresses where it could not listen, each with the reason: "127.0.0.1:80: Permission
  /// denied".
  const std::vector<std::string>& refused() const { return refused_; }

  ServingCost cost() const;

  /// Returns when an answer made after this call was sent, or after `seconds`. True: it was.
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
  std::map<int, double> cpu_seconds_;  // by thread: its clock at its last answer
  std::atomic<std::uint64_t> scrapes_ = 0;

  Mutex awaited_mutex_;
  Condition awaited_changed_;
  bool awaited_ SYNCNORM_GUARDED_BY(awaited_mutex_) = false;  // somebody waits for an answer

  mg_context* server_ = nullptr;  // last: its threads use all of the above
};

}  // namespace syncnorm
