// See steps.h.
#include "engine/train/steps.h"

#include <cmath>
#include <thread>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"

namespace syncnorm {

Steps::Steps(Device& device, Optimizer& optimizer, const Memory& memory, bool queued, bool record,
             WeightAverage* average)
    : device_(device),
      optimizer_(optimizer),
      average_(average),
      memory_(memory),
      queued_(queued),
      record_(record && device.records()) {
  in_flight_.reserve(slots_.size());
  for (Slot& slot : slots_) {
    slot.values = device.allocate_pinned((kLossValues + 1) * sizeof(double));
    slot.done = device.make_event();
  }
}

void Steps::run(Executor& executor, const StepState& state) {
  executor.run_loaded(state);
  optimizer_.update(memory_, state, executor.loss_values());
  if (average_ != nullptr) average_->update(state, optimizer_.factor());
}

void Steps::queue(Executor& executor, const StepState& state) {
  if (!record_ || !executor.can_be_recorded()) return run(executor, state);
  Recorded& recorded = recorded_[{&executor, executor.reductions().overlaps()}];
  if (++recorded.runs <= kWarmUp) return run(executor, state);
  device_.set_state(state);
  if (recorded.recording == nullptr) recorded.recording = record(executor, state);
  device_.replay(*recorded.recording);
}

std::unique_ptr<Recording> Steps::record(Executor& executor, const StepState& state) {
  device_.begin_recording();
  try {
    run(executor, state);
  } catch (...) {
    device_.cancel_recording();
    throw;
  }
  return device_.end_recording();
}

/// The recordings go first: NCCL's abort waits until no recording holds a collective of the
/// communicator.
void Steps::give_up(Executor& executor) {
  recorded_.clear();
  executor.give_up();
}

void Steps::start(Executor& executor, const StepState& state, const BatchView& batch) {
  try {
    executor.load(batch);
    queue(executor, state);
  } catch (const PeerLostError&) {
    give_up(executor);
    throw;
  }
  Slot& slot = slots_[next_slot_++ % slots_.size()];
  auto* values = slot.values.as<double>().data();
  device_.copy(values, executor.loss_values(), kLossValues * sizeof(double));
  device_.copy(values + kLossValues, optimizer_.squared_norm(), sizeof(double));
  device_.record(*slot.done);
  in_flight_.push_back({&executor, state, &slot});
}

StepResult Steps::finish(double deadline) {
  const InFlight step = in_flight_.front();
  try {
    await(step, deadline);
  } catch (const PeerLostError&) {
    give_up(*step.executor);
    throw;
  }
  in_flight_.erase(in_flight_.begin());
  const auto* values = step.slot->values.as<double>().data();
  StepResult result;
  std::copy_n(values, kLossValues, result.loss.begin());
  result.gradient_norm = std::sqrt(values[kLossValues]);
  return result;
}

void Steps::await(const InFlight& step, double deadline) {
  const auto number = static_cast<std::int64_t>(step.state.step) + 1;
  const auto begin = Clock::now();
  while (!device_.done(*step.slot->done)) {
    step.executor->follow(number);
    const double waited = seconds_since(begin);
    if (waited > deadline)
      throw PeerLostError(fmt::format(
          "step {} is not done on the device after {:.0f} s (fault.deadline){}: a peer is lost or "
          "stuck",
          number, waited, step.executor->where()));
    std::this_thread::yield();
  }
}

}  // namespace syncnorm
