// Training, from top to bottom: start or resume, steps, work after a step, end.
#include "engine/train/trainer.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/printable.h"
#include "comm/agreement.h"
#include "engine/config/names.h"
#include "engine/state/state_files.h"
#include "engine/state/weights_file.h"
#include "engine/train/divergence.h"

namespace syncnorm {
Trainer::Trainer(const LoadedExperiment& loaded, const Dataset& dataset, Device& device,
                 Communicator& comm, TrainerOptions options)
    : setup_(loaded, dataset, device, comm, std::move(options)),
      corrupt_(loaded.experiment.data.images.corrupt),
      loop_(setup_, corrupt_),
      saver_(setup_, record_) {}

void Trainer::check_start() {
  setup_.initialize();
  take_state();
}

EndEvent Trainer::run() {
  const std::int64_t first = start_or_resume(), last = setup_.length.total_steps;
  if (first < last) loop_.load(first, last);
  if (first == 0) saver_.save(0, false);
  record_.reserve(last - first);
  for (std::int64_t step = first; step < last; ++step) {
    loop_.start(step);
    // Work after this step may need its result before the next step is started.
    const bool looked_at = loop_.newest_is_looked_at() || step + 1 == last || work_is_due(step + 1);
    finish_steps(looked_at ? 0 : static_cast<std::size_t>(loop_.most_in_flight()) - 1);
  }
  if (evaluated_step_ != last) evaluate(last);
  if (saver_.saved_step() != last) saver_.save_and_wait(last, true);
  return finish(last, "done", "");
}

// ---- The start.

/// Loads the state from the checkpoint to resume from, or initializes it.
std::optional<ResumePoint> Trainer::take_state() {
  std::optional<ResumePoint> point = find_resume_point(setup_.comm, setup_.loaded, setup_.dataset,
                                                       setup_.options.resume, saver_.checkpoints());
  if (point)
    restore(point->checkpoint);
  else
    start_from(setup_.options.init_from);
  if (setup_.average != nullptr) take_average(point ? &point->checkpoint : nullptr);
  return point;
}

/// Loads the averaged weights from the checkpoint; the average begins with the weights where there
/// are none.
void Trainer::take_average(const Checkpoint* checkpoint) {
  WeightAverage& average = *setup_.average;
  average.start();
  if (checkpoint == nullptr) return;
  agree(setup_.comm, [&] {
    const std::vector<float> kept(setup_.memory.averaged.host<float>().begin(),
                                  setup_.memory.averaged.host<float>().end());
    {
      const WithAverage exchanged(average);
      average_begins_ = !average_from_files({setup_.graph, setup_.full->program(), setup_.memory,
                                             setup_.optimizer->state(), *setup_.running},
                                            average.has_running(), checkpoint->files);
    }
    std::copy(kept.begin(), kept.end(), setup_.memory.averaged.host<float>().begin());
    setup_.memory.averaged.push();
  });
}

std::int64_t Trainer::start_or_resume() {
  setup_.record(FlightKind::mark, "the start", 0);
  setup_.initialize();
  agree(setup_.comm, [&] {
    if (setup_.root()) saver_.lock_used_folder();
  });
  const std::optional<ResumePoint> point = take_state();
  const std::int64_t step = point ? point->checkpoint.step : 0;
  const StartEvent start = start_event(step);
  loop_.rank_report().start();
  agree(setup_.comm, [&] {
    if (setup_.root()) saver_.take_folder();
    setup_.notify(&Observer::on_start, start);
    if (point) setup_.notify(&Observer::on_resume, resume_event(*point));
  });
  run_folder_taken_ = true;
  return step;
}

ResumeEvent Trainer::resume_event(const ResumePoint& point) const {
  ResumeEvent resume{point.checkpoint.step, point.folder, ""};
  if (point.device != setup_.experiment.device)
    resume.note =
        fmt::format("device: {} until step {}, {} from there on; the bits follow the device",
                    name_of(point.device), resume.step, name_of(setup_.experiment.device));
  if (average_begins_)
    resume.note += fmt::format(
        "{}ema: the checkpoint has no average for ema.statistics: {}; it begins "
        "with the weights of step {}",
        resume.note.empty() ? "" : "; ", name_of(setup_.experiment.ema.statistics), resume.step);
  return resume;
}

StartEvent Trainer::start_event(std::int64_t first_step) {
  const Experiment& experiment = setup_.experiment;
  const Dataset& dataset = setup_.dataset;
  StartEvent start;
  start.name = experiment.name;
  start.run_dir = experiment.run_dir;
  start.device = setup_.device.description();
  start.communicator = setup_.device_comm().description();
  start.version = setup_.options.version;
  start.model = experiment.model.layers.empty() ? name_of(experiment.model.architecture) : "layers";
  start.ranks = setup_.comm.size();
  start.replicas = experiment.replicas;
  start.batch_per_replica = experiment.batch_per_replica;
  start.first_step = first_step;
  start.total_steps = setup_.length.total_steps;
  start.steps_per_epoch = setup_.length.steps_per_epoch;
  start.dataset = dataset.name;
  start.train_samples = setup_.batching.samples;
  start.validation_samples = static_cast<std::int64_t>(setup_.splits.validation.size());
  start.test_samples = static_cast<std::int64_t>(dataset.test.size());
  start.classes = dataset.train.classes;
  start.class_names = dataset.class_names;
  if (dataset.train.per_pixel) start.metric = kMeanIouMetric;
  start.parameters = static_cast<std::int64_t>(setup_.full->program().parameter_floats);
  start.arena_bytes = static_cast<std::int64_t>(setup_.memory.arena.bytes());
  if (!experiment.evaluation.only_running())
    start.statistics = name_of(experiment.evaluation.statistics.front());
  start.config_yaml = setup_.loaded.yaml;
  start.choices = setup_.device.choices();
  return start;
}

void Trainer::start_from(const std::string& path) {
  const bool frozen = setup_.graph.has_norms_over(StatisticsOver::running);
  std::string weights;
  agree(setup_.comm, [&] {
    if (path.empty() && frozen)
      throw InputError(
          fmt::format("{}: norm.kind: frozen statistics must come from somewhere; start with "
                      "--init-from FILE.safetensors or a checkpoint folder",
                      setup_.loaded.at("norm")));
    if (setup_.root() && !path.empty()) weights = read_weights(path);
  });
  if (path.empty()) return;
  weights = from_rank_0(setup_.comm, weights);
  setup_.running->average();  // statistics that the file does not have begin as these
  agree(setup_.comm, [&] {
    const std::vector<std::string> notes =
        start_from_file(setup_.graph, setup_.full->program(), setup_.memory, weights, path);
    setup_.running->spread_averaged();
    if (!setup_.root()) return;
    for (const std::string& note : notes)
      fmt::print(stderr, "syncnorm: {}: {}\n", printable_name(path), printable_name(note));
  });
}

void Trainer::restore(const Checkpoint& checkpoint) {
  agree(setup_.comm, [&] {
    state_from_files({setup_.graph, setup_.full->program(), setup_.memory,
                      setup_.optimizer->state(), *setup_.running},
                     checkpoint.files);
  });
  record_.set_best(checkpoint.best_step, checkpoint.best_score);
  saver_.restored(checkpoint.step);
}

// ---- Steps.

/// Finishes the oldest steps until `left` are in flight. An agreed stop takes effect after the last
/// step that was started.
void Trainer::finish_steps(std::size_t left) {
  while (static_cast<std::size_t>(loop_.in_flight()) > left ||
         (stop_agreed_ && loop_.in_flight() > 0)) {
    const StepDone step = loop_.finish();
    if (step.outcome != StepDone::Outcome::good) fail(step);
    stop_agreed_ = stop_agreed_ || step.stop;
    record_.add(step.event);
    setup_.notify(&Observer::on_step, step.event);
    if (step.probed) probe(step);
    after_step(step.event.step, stop_agreed_ && loop_.in_flight() == 0);
  }
}

void Trainer::fail(const StepDone& step) {
  const auto updates = static_cast<std::int64_t>(step.state.step);
  if (step.outcome == StepDone::Outcome::unusable) {
    const std::string message = unusable_on_any_rank(setup_.comm, *step.batch);
    loop_.abandon();
    if (run_folder_taken_) finish(updates, "stopped", message);
    throw InputError(message);
  }
  const std::string message = why_diverged(setup_, loop_, step);
  finish(updates, "diverged", message);
  throw DivergedError(message);
}

/// Measures the probes of the finished step, on its batch, which is still in memory.
void Trainer::probe(const StepDone& step) {
  ProbeEvent event = setup_.probes->measure(step.state, view_of(*step.batch),
                                            static_cast<double>(step.event.samples), step.loss);
  event.step = step.event.step;
  setup_.notify(&Observer::on_probe, event);
}

bool Trainer::work_is_due(std::int64_t step) const {
  const int every = setup_.experiment.fault.check_every_steps;
  const EvaluationConfig& evaluation = setup_.experiment.evaluation;
  const CheckpointConfig& checkpoint = setup_.experiment.checkpoint;
  return (every > 0 && step % every == 0) ||
         due(step, evaluation.every_epochs, evaluation.every_steps) ||
         due(step, checkpoint.every_epochs, checkpoint.every_steps);
}

/// Returns true if work that recurs every `every_epochs` or `every_steps` is due after `step`.
bool Trainer::due(std::int64_t step, int every_epochs, int every_steps) const {
  const bool epoch_end = step % setup_.length.steps_per_epoch == 0;
  const std::int64_t epochs = step / setup_.length.steps_per_epoch;
  return (every_epochs > 0 && epoch_end && epochs % every_epochs == 0) ||
         (every_steps > 0 && step % every_steps == 0);
}

void Trainer::after_step(std::int64_t step, bool stop) {
  const EvaluationConfig& evaluation = setup_.experiment.evaluation;
  const CheckpointConfig& checkpoint = setup_.experiment.checkpoint;
  const bool end = step == setup_.length.total_steps;
  if (setup_.root()) saver_.tell_finished();
  const int every = setup_.experiment.fault.check_every_steps;
  if (every > 0 && step % every == 0) compare_parameters(setup_, step);
  if (end || due(step, evaluation.every_epochs, evaluation.every_steps)) evaluate(step);
  if (end || stop)
    saver_.save_and_wait(step, end);
  else if (record_.best_step() == step ||
           due(step, checkpoint.every_epochs, checkpoint.every_steps))
    saver_.save(step, false);
  if (!stop || end) return;
  const std::string message =
      fmt::format("stopped on a signal after step {}; --resume auto goes on from there", step);
  finish(step, "stopped", message);
  throw Error(ExitCode::stopped, message);
}

// ---- Evaluation.

void Trainer::evaluate(std::int64_t step) {
  const auto begin = Clock::now();
  setup_.record(FlightKind::mark, "an evaluation", step);
  setup_.meet_fault(FaultPlace::evaluation, step);
  if (setup_.precise != nullptr) take_precise_statistics(step);
  setup_.running->average();
  const auto tell = [&](const EvaluationColumn& column) {
    corrupt_.note(column.result.corrupt);
    const EvalEvent event = event_of(column, step);
    record_.add(event);
    setup_.notify(&Observer::on_eval, event);
  };
  setup_.evaluation->run(step, true, tell);
  if (setup_.average != nullptr) {
    const WithAverage exchanged(*setup_.average);
    setup_.running->average();
    setup_.evaluation->run_average(step, true, tell);
  }
  if (step == setup_.length.total_steps && setup_.dataset.train.per_pixel) show_examples();
  evaluated_step_ = step;
  record_.add_evaluation_seconds(seconds_since(begin));
}

/// Tells rank 0's observers of a few test images, which it predicts by itself.
void Trainer::show_examples() {
  if (!setup_.root()) return;
  setup_.notify(&Observer::on_examples, ExamplesEvent{setup_.evaluation->examples()});
}

EvalEvent Trainer::event_of(const EvaluationColumn& column, std::int64_t step) const {
  const EvaluationConfig& config = setup_.experiment.evaluation;
  EvalEvent event;
  event.step = step;
  event.epoch = setup_.epoch_of(step);
  event.split = column.split->name;
  event.loss = column.result.loss;
  event.accuracy = column.result.accuracy;
  if (column.result.per_pixel) event.mean_iou = column.result.classes.mean_iou();
  event.classes = class_results(column.result.classes, setup_.dataset.class_names);
  event.seconds = column.seconds;
  event.first = !column.of_average && column.statistics == config.statistics.front();
  if (column.of_average)
    event.weights = "ema";
  else if (!config.only_running())
    event.statistics = name_of(column.statistics);
  event.sample_weight = column.sample_weight;
  return event;
}

void Trainer::take_precise_statistics(std::int64_t step) {
  setup_.precise->run(step);
  const CorruptFindings& found = setup_.precise->found();
  corrupt_.note(found.corrupt);
  if (setup_.dataset.train.stored == nullptr) return;
  agree(setup_.comm, [&] {
    if (!found.usable) throw InputError(stop_text(found.corrupt));
  });
}

// ---- The end.

EndEvent Trainer::finish(std::int64_t step, const std::string& status, const std::string& message) {
  setup_.record(FlightKind::mark, "the end", step);
  setup_.meet_fault(FaultPlace::shutdown, step);
  if (setup_.root()) saver_.drain();
  EndEvent end = record_.end();
  for (const CorruptImage& image : corrupt_.on_all_ranks(setup_.comm))  // waits for all ranks
    end.corrupt.emplace_back(image.path, image.reason);
  end.reads_files = setup_.dataset.train.stored != nullptr;
  setup_.record(FlightKind::rest, "telling of the end", step);
  end.status = status;
  end.message = message;
  end.step = step;
  // No rank may return before the event has been delivered.
  agree(setup_.comm, [&] { setup_.notify(&Observer::on_end, end); });
  return end;
}

}  // namespace syncnorm
