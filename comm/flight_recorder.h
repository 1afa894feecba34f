// The last things that a rank did, kept in memory for the day on which it hangs.
//
// One thread records, any thread reads. Recording allocates nothing and waits for nobody but a
// reader that copies.
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

/// `run`: an operation begins. `start`, `wait`: of a collective. `mark`: another part of training.
/// `rest`: the same, and it may take longer than the deadline.
enum class FlightKind { run, start, wait, mark, rest };
inline constexpr std::array kFlightKinds = {"run", "start", "wait", "mark", "rest"};

struct FlightEvent {
  std::int64_t number = 0;  // counted from 1
  double time = 0.0;        // Unix, seconds
  FlightKind kind = FlightKind::mark;
  std::int64_t step = 0;  // the update that is made, from 1
  int instruction = -1;   // of the program, or -1
  std::string name;
};

class FlightRecorder {
 public:
  static constexpr std::size_t kEvents = 1000;

  /// A number for a name; to be asked for before it is needed.
  int name(const std::string& text);

  /// `name`: from name().
  void record(FlightKind kind, int name, std::int64_t step, int instruction = -1);

  /// How many events were recorded: it grows as long as there is progress.
  std::int64_t count() const { return count_.load(std::memory_order_relaxed); }
  /// Whether the last event may take longer.
  bool rests() const { return rests_.load(std::memory_order_relaxed); }
  /// The last events, the oldest first.
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
  std::unordered_map<std::string, int> numbers_;  // of the names
  std::array<Entry, kEvents> entries_;
  std::atomic<std::int64_t> count_{0};
  std::atomic<bool> rests_{false};
};

}  // namespace syncnorm
