// The watchdog of a rank: a thread that ends the job when training makes no progress, or when
// another rank of this machine has ended, instead of letting it hang.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/flight_recorder.h"
#include "comm/flight_report.h"

namespace syncnorm {

/// Seconds by which a message's own deadline should be longer than a watchdog's, which says more of
/// what is missing.
inline constexpr double kWatchdogFirst = 20.0;

class Watchdog {
 public:
  /// Watches the calling thread by what `recorder` gets from it: after `deadline` seconds without
  /// an event (`patience` more where it rests; time in which this process could not run does not
  /// count), it writes the flight record to `folder`, names on standard error who is missing, and
  /// ends the process with exit code 70, which ends the job. Collective over `comm`. One at a time
  /// in a process; `recorder` must outlive it.
  Watchdog(Communicator& comm, const FlightRecorder& recorder, double deadline, double patience,
           std::filesystem::path folder);
  /// Watches no longer.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Writes the flight record, for an end that this rank has seen itself.
  void leave_record(const std::string& reason) const;

 private:
  class Peers;

  void watch();
  bool idle_too_long(double elapsed);
  [[noreturn]] void give_up(const std::string& reason, bool ask_others);
  FlightVerdict verdict() const;

  const FlightRecorder& recorder_;
  double deadline_, patience_;
  std::filesystem::path folder_;
  int rank_, ranks_;
  std::string launch_;
  pthread_t watched_;
  std::unique_ptr<Peers> peers_;
  std::int64_t seen_ = 0;
  double idle_ = 0.0;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool leaving_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace syncnorm
