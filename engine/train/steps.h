// Starts training steps and returns their results. On the CPU a result is ready at once. On a
// device with queues it comes one step later, so that the device never waits for the host; from the
// third step on, steps are replayed from a recording.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/program/executor.h"
#include "engine/train/optimizer.h"
#include "engine/train/weight_average.h"

namespace syncnorm {

struct StepResult {
  std::array<double, kLossValues> loss{};  // see kLossTotals
  double gradient_norm = 0.0;              // before clipping; nothing is updated if not finite
};

class Steps {
 public:
  /// All must outlive this. `average` may be null. `queued` is Executor::queued(). `record`: record
  /// steps if the device can and no hook prevents it (Executor::can_be_recorded); must be the same
  /// on all ranks.
  Steps(Device& device, Optimizer& optimizer, const Memory& memory, bool queued, bool record,
        WeightAverage* average = nullptr);

  /// Returns the number of steps that may be in flight: started, not finished.
  int most_in_flight() const { return queued_ ? 2 : 1; }
  int in_flight() const { return static_cast<int>(in_flight_.size()); }

  /// Runs or queues one step of `executor` and its update. The batch must stay valid until
  /// finish(). A PeerLostError from start() or finish() leaves no recording, and its communicators
  /// are given up: only destruction may follow.
  void start(Executor& executor, const StepState& state, const BatchView& batch);
  /// Returns the result of the oldest step in flight. Throws PeerLostError if it takes longer than
  /// `deadline` seconds.
  StepResult finish(double deadline);
  /// Allows updates again; after a result that is not finite none is made until this is called.
  void go_on() { optimizer_.go_on(); }

 private:
  static constexpr int kWarmUp = 2;  // steps before recording, in which libraries initialize

  struct Recorded {
    int runs = 0;
    std::unique_ptr<Recording> recording;
  };
  struct Slot {
    Buffer values;  // of a StepResult: kLossValues and the squared norm; pinned
    std::unique_ptr<Event> done;
  };
  struct InFlight {
    Executor* executor;
    StepState state;
    Slot* slot;
  };

  void queue(Executor& executor, const StepState& state);
  void run(Executor& executor, const StepState& state);
  std::unique_ptr<Recording> record(Executor& executor, const StepState& state);
  void give_up(Executor& executor);
  void await(const InFlight& step, double deadline);

  Device& device_;
  Optimizer& optimizer_;
  WeightAverage* average_;
  const Memory& memory_;
  const bool queued_, record_;
  std::array<Slot, 2> slots_;
  std::size_t next_slot_ = 0;
  std::vector<InFlight> in_flight_;                                // oldest first
  std::map<std::pair<const Executor*, bool>, Recorded> recorded_;  // key: executor, overlap
};

}  // namespace syncnorm
