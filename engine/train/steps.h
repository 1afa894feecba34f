// Starts training steps and hands back their results: on the CPU at once; on a device with queues
// one step later, so that it never waits for the host, and from the third step on as one recording
// that is replayed.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/program/executor.h"
#include "engine/train/optimizer.h"

namespace syncnorm {

struct StepResult {
  std::array<double, kLossValues> loss{};  // Σ loss, correct, votes, 0
  double gradient_norm = 0.0;              // before clipping; nothing is updated if not finite
};

class Steps {
 public:
  /// All must outlive it. `queued`: as Executor::queued(). `record`: steps are recorded where the
  /// device can and nothing looks into them (Executor::can_be_recorded); that must be the same on
  /// all ranks.
  Steps(Device& device, Optimizer& optimizer, const Memory& memory, bool queued, bool record);

  /// Steps that may be in flight: started, and not finished.
  int most_in_flight() const { return queued_ ? 2 : 1; }
  int in_flight() const { return static_cast<int>(in_flight_.size()); }

  /// Runs or queues one step of `executor` and the update behind it. The batch must stay until
  /// finish().
  void start(Executor& executor, const StepState& state, const BatchView& batch);
  /// The result of the oldest step in flight. Throws PeerLostError after `deadline` seconds without
  /// it.
  StepResult finish(double deadline);
  /// After a result that is not finite, no update is made until this is called.
  void go_on() { optimizer_.go_on(); }

 private:
  static constexpr int kWarmUp = 2;  // steps before one is recorded: libraries settle in them

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
  void await(const InFlight& step, double deadline);

  Device& device_;
  Optimizer& optimizer_;
  const Memory& memory_;
  const bool queued_, record_;
  std::array<Slot, 2> slots_;
  std::size_t next_slot_ = 0;
  std::vector<InFlight> in_flight_;                                // the oldest first
  std::map<std::pair<const Executor*, bool>, Recorded> recorded_;  // by whether it overlaps
};

}  // namespace syncnorm
