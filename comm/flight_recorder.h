// Keeps the last events of a rank in memory, to explain a hang.
//
// One thread records, any thread reads. Recording allocates nothing and waits only for a reader
// that is copying.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace syncnorm {

/// `run`: an operation starts. `start`, `wait`: of a collective. `mark`: another part of training
/// starts. `rest`: as mark, but it may take longer than the deadline.
enum class FlightKind { run, start, wait, mark, rest };
inline constexpr std::array kFlightKinds = {"run", "start", "wait", "mark", "rest"};

struct FlightEvent {
  std::int64_t number = 0;  // counted from 1
  double time = 0.0;        // Unix, seconds
  FlightKind kind = FlightKind::mark;
  std::int64_t step = 0;  // the current update, from 1
  int instruction = -1;   // of the program, or -1
  std::string name;
};

class FlightRecorder {
 public:
  static constexpr std::size_t kEvents = 1000;

  /// Returns a number for a name; to be called before recording starts.
  int name(const std::string& text);

  /// Records an event; `name` comes from name().
  void record(FlightKind kind, int name, std::int64_t step, int instruction = -1);

  /// Returns the number of recorded events, which grows as long as there is progress.
  std::int64_t count() const { return count_.load(std::memory_order_relaxed); }
  /// Returns true if the last event may take longer than the deadline.
  bool rests() const { return rests_.load(std::memory_order_relaxed); }
  /// Returns the last events, oldest first.
  std::vector<FlightEvent> last() const;

 private:
  struct Entry {
    double time;
    FlightKind kind;
    int name;
    std::int64_t step;
    int instruction;
  };

  mutable std::mutex mutex_;
  std::deque<std::string> names_;
  std::unordered_map<std::string, int> numbers_;  // by name
  std::array<Entry, kEvents> entries_;
  std::atomic<std::int64_t> count_{0};
  std::atomic<bool> rests_{false};
};

}  // namespace syncnorm
