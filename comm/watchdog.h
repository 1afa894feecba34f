// The watchdog of a rank: a thread that ends the job, instead of letting it hang, when training
// makes no progress or another rank of this machine has ended.
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

/// Seconds by which a message's own deadline should exceed the watchdog's, whose report is more
/// detailed.
inline constexpr double kWatchdogFirst = 20.0;

class Watchdog {
 public:
  /// Watches the calling thread by the events in `recorder`. After `deadline` seconds without an
  /// event (`patience` more after a `rest`; not counting time in which this process could not run),
  /// it writes the flight record to `folder`, reports on standard error which rank is missing, and
  /// ends the process with exit code 70, which ends the job. Collective over `comm`. Only one per
  /// process; `recorder` must outlive it.
  Watchdog(Communicator& comm, const FlightRecorder& recorder, double deadline, double patience,
           std::filesystem::path folder);
  /// Stops watching.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Writes the flight record, for a failure that this rank has noticed itself.
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
