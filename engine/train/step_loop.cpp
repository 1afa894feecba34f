// See step_loop.h.
#include "engine/train/step_loop.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/clock.h"
#include "engine/train/schedule.h"

namespace syncnorm {
namespace {

/// Vote of a rank whose batch contains an image that must stop the run; larger than all stop votes
/// together.
constexpr double kUnusableVote = 0x1p20;

}  // namespace

StepLoop::StepLoop(Setup& setup, CorruptImages& corrupt)
    : setup_(setup), corrupt_(corrupt), rank_report_(setup) {
  in_flight_.reserve(static_cast<std::size_t>(most_in_flight()));
}

void StepLoop::load(std::int64_t first, std::int64_t last) {
  const DataConfig& data = setup_.experiment.data;
  LoaderOptions options;
  options.seed = setup_.experiment.seed;
  options.batching = setup_.batching;
  options.replicas = setup_.placement.block(setup_.comm.rank());
  options.shuffle = data.shuffle;
  options.augment = AugmentConfig::from(data);
  options.first_step = first;
  options.total_steps = last;
  options.prefetch = data.prefetch;
  options.held = most_in_flight();
  if (setup_.full->input().takes_stored_images()) {
    options.raw = true;
    batch_memory_ = setup_.device.allocate_pinned(Loader::bytes(setup_.dataset, options));
    options.memory = batch_memory_.data();
  }
  loader_ = std::make_unique<Loader>(setup_.dataset, setup_.splits.train, options);
}

void StepLoop::start(std::int64_t step) {
  StepInFlight started{};
  started.begin = Clock::now();
  const double waited_before = loader_->wait_seconds();
  setup_.record(FlightKind::mark, "waiting for data", step + 1);
  const Batch& batch = loader_->next();
  started.batch = &batch;
  started.data_seconds = loader_->wait_seconds() - waited_before;
  Executor& executor = setup_.executor_of(batch);
  const bool full = &executor == setup_.full.get();
  started.executor = &executor;
  started.reducing_before = executor.reductions().times().total();
  started.before = rank_report_.totals();
  started.sampled = rank_report_.sampled(step, full);
  started.probed = setup_.probes != nullptr && setup_.probes->due(step + 1) && full;
  if (started.sampled) rank_report_.begin_sample(executor);
  if (started.probed) setup_.probes->remember();
  StepState& state = started.state;
  state.seed = setup_.experiment.seed;
  state.step = static_cast<std::uint64_t>(step);
  started.rate = learning_rate(setup_.experiment, step, setup_.length.total_steps);
  state.lr = static_cast<float>(started.rate);
  const std::atomic<bool>* asked = setup_.options.stop_requested;
  const bool stop = asked != nullptr && asked->load();
  state.vote = (stop ? 1.0 : 0.0) + (batch.usable ? 0.0 : kUnusableVote);
  corrupt_.note(batch.corrupt);
  setup_.steps->start(executor, state, view_of(batch));
  if (started.sampled) started.layers = rank_report_.end_sample(executor);
  in_flight_.push_back(started);
}

StepDone StepLoop::finish() {
  const StepResult result = setup_.steps->finish(setup_.comm.deadline());
  const StepInFlight step = in_flight_.front();
  StepDone done;
  done.state = step.state;
  done.batch = step.batch;
  done.executor = step.executor;
  done.loss = mean_loss(result.loss);
  done.probed = step.probed;
  if (result.loss[2] >= kUnusableVote)
    done.outcome = StepDone::Outcome::unusable;
  else if (!std::isfinite(done.loss) || !std::isfinite(result.gradient_norm))
    done.outcome = StepDone::Outcome::not_finite;
  if (done.outcome != StepDone::Outcome::good) return done;
  in_flight_.erase(in_flight_.begin());
  done.stop = result.loss[2] > 0.0;
  const auto updates = static_cast<std::int64_t>(step.state.step) + 1;
  if (setup_.meet_fault(FaultPlace::update, updates) == FaultEffect::flip) flip_parameter();
  done.event = event_of(step, result, done.loss);
  const bool measured = step.sampled || setup_.experiment.optimizer.clip_norm > 0.0;
  rank_report_.tell_step(done.event, *step.executor, step.before,
                         measured ? result.gradient_norm : -1.0);
  if (step.sampled) rank_report_.tell_layers(done.event.step, step.layers);
  return done;
}

StepEvent StepLoop::event_of(const StepInFlight& step, const StepResult& result, double loss) {
  StepEvent event;
  if (setup_.experiment.optimizer.clip_norm > 0.0) event.gradient_norm = result.gradient_norm;
  event.step = static_cast<std::int64_t>(step.state.step) + 1;
  event.epoch = setup_.epoch_of(event.step);
  event.loss = loss;
  event.accuracy = correct_share(result.loss);
  event.lr = step.rate;
  event.samples = step.batch->global_samples;
  event.data_seconds = step.data_seconds;
  event.reduction_seconds = step.executor->reductions().times().total() - step.reducing_before;
  const Clock::time_point now = Clock::now();
  event.seconds = seconds_between(std::max(step.begin, finished_), now);
  finished_ = now;
  return event;
}

void StepLoop::abandon() {
  while (setup_.steps->in_flight() > 0) setup_.steps->finish(setup_.comm.deadline());
  in_flight_.clear();
}

/// Flips the lowest bit of the first parameter, to simulate faulty memory.
void StepLoop::flip_parameter() {
  Mirror& parameters = setup_.memory.parameters;
  parameters.pull();
  float& value = parameters.host<float>().front();
  value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) ^ 1u);
  parameters.push();
}

}  // namespace syncnorm
