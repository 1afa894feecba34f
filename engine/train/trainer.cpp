// Training, read top down: build, start or resume, step, what follows a step, the end.
#include "engine/train/trainer.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/failure.h"
#include "base/printable.h"
#include "comm/watchdog.h"
#include "engine/model/initialize.h"
#include "engine/model/zoo.h"
#include "engine/program/compile.h"
#include "engine/program/plan_text.h"
#include "engine/train/agreement.h"
#include "engine/train/schedule.h"
#include "engine/train/weights_file.h"

namespace syncnorm {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

constexpr std::size_t kRecentLosses = 100;

/// A rank's vote when a batch has an image that must stop the run: more than all votes to stop.
constexpr double kUnusableVote = 0x1p20;

ReductionAlgorithm algorithm(const Experiment& experiment) {
  return experiment.reduction == ReductionMode::reproducible ? ReductionAlgorithm::tree
                                                             : ReductionAlgorithm::engine;
}

ProgramOptions program_options(const Experiment& experiment) {
  ProgramOptions options;
  options.replicas = experiment.replicas;
  options.batch_per_replica = experiment.batch_per_replica;
  options.global_samples = experiment.global_batch();
  options.norm = experiment.norm;
  options.label_smoothing = experiment.loss.label_smoothing;
  options.merge_replicas = experiment.reduction == ReductionMode::fastest;
  options.storage = activation_storage(experiment.precision);
  return options;
}

}  // namespace

RunLength run_length(const Experiment& experiment, std::int64_t train_samples) {
  const BatchPlan plan{experiment.replicas, experiment.batch_per_replica, experiment.drop_last,
                       train_samples};
  RunLength length;
  length.steps_per_epoch = plan.steps_per_epoch();
  length.total_steps =
      experiment.steps > 0 ? experiment.steps : experiment.epochs * length.steps_per_epoch;
  return length;
}

Trainer::Trainer(const LoadedExperiment& loaded, const Dataset& dataset, Device& device,
                 Communicator& comm, TrainerOptions options)
    : loaded_(loaded),
      experiment_(loaded_.experiment),
      dataset_(dataset),
      device_(device),
      comm_(comm),
      options_(std::move(options)),
      placement_{experiment_.replicas, comm.size()},
      checkpoints_(std::filesystem::path(experiment_.run_dir) / "checkpoints",
                   experiment_.checkpoint.keep, options_.faults) {
  agree(comm_, [&] {
    check_ranks(loaded_, comm_.size());
    graph_ = checked_model(loaded_, dataset_);
    splits_ = split_samples(dataset_.train.size(), experiment_.data.validation, experiment_.seed);
    plan_ = {experiment_.replicas, experiment_.batch_per_replica, experiment_.drop_last,
             static_cast<std::int64_t>(splits_.train.size())};
    length_ = run_length(experiment_, plan_.samples);
  });
  comm_.set_deadline(experiment_.fault.deadline +
                     (options_.recorder != nullptr ? kWatchdogFirst : 0.0));
  build_programs();
  compare_ranks();
}

Trainer::~Trainer() = default;

void Trainer::build_programs() {
  Program full, tail;
  bool has_tail = false;
  agree(comm_, [&] {
    const ProgramOptions options = program_options(experiment_);
    with_places(loaded_, [&] { full = compile_program(graph_, device_, options); });
    const std::int64_t last = length_.steps_per_epoch - 1;
    const std::int64_t samples = plan_.batch_samples(last);
    has_tail = samples < plan_.global_batch() && length_.total_steps > last;
    if (!has_tail) return;
    ProgramOptions smaller = options;
    smaller.global_samples = static_cast<int>(samples);
    for (int r = 0; r < experiment_.replicas; ++r)
      smaller.replica_samples.push_back(plan_.positions(last, r).size());
    with_places(loaded_,
                [&] { tail = compile_program(graph_, device_, smaller, full.parameter_offset); });
  });
  if (experiment_.norm.over_batch() && experiment_.norm.synced_replicas > 1)
    groups_ = std::make_unique<StatisticsGroups>(device_comm(), placement_,
                                                 experiment_.norm.synced_replicas);
  const ReductionAlgorithm how = algorithm(experiment_);
  const auto executor = [&](Program program) {
    return std::make_unique<Executor>(std::move(program), device_, device_comm(), placement_,
                                      groups_.get(), how, memory_, options_.force_reductions);
  };
  full_ = executor(std::move(full));
  if (has_tail) tail_ = executor(std::move(tail));
  for (Executor* each : {full_.get(), tail_.get()}) {
    if (each == nullptr) continue;
    each->set_recorder(options_.recorder);
    if (options_.faults != nullptr) each->set_faults(options_.faults);
    if (device_.host_memory()) continue;
    const ImageSet& images = dataset_.train;
    each->make_images_there({1, images.height, images.width, images.channels},
                            NormalizationTable(dataset_.mean, dataset_.stddev).values());
  }
  const Program& program = full_->program();
  evaluator_ = std::make_unique<Evaluator>(graph_, experiment_, program.parameter_offset, dataset_,
                                           device_, comm_, memory_);
  evaluator_->set_recorder(options_.recorder);
  running_ = std::make_unique<RunningStatistics>(program, comm_, placement_, memory_);
  if (experiment_.norm.over_batch() && experiment_.norm.precise_samples > 0)
    precise_ = std::make_unique<PreciseStatistics>(
        graph_, program_options(experiment_), program.parameter_offset, dataset_, splits_.train,
        experiment_, device_, device_comm(), placement_, groups_.get(), how, memory_, *running_);
  if (experiment_.probes.every_steps > 0)
    probes_ = std::make_unique<Probes>(graph_, experiment_.probes, *full_, device_, comm_,
                                       placement_, memory_);
  if (precise_ != nullptr) precise_->set_recorder(options_.recorder);
  optimizer_ = std::make_unique<Optimizer>(graph_, program, experiment_.optimizer, device_);
  steps_ = std::make_unique<Steps>(device_, *optimizer_, memory_, options_.record_steps);
  pending_.reserve(static_cast<std::size_t>(steps_->most_in_flight()));
  constexpr std::size_t kScratch = std::size_t{48} << 20;  // bytes, of libraries
  constexpr std::size_t kCopies = 3;                       // of the state, while it is saved
  agree(comm_, [&] {
    require_spare_memory(kScratch + kCopies * program.parameter_floats * sizeof(float));
  });
}

std::string Trainer::plan() const {
  return plan_text(*full_, memory_) +
         fmt::format("optimizer state  {:>9} B\ndata set         {:>9} B\n", optimizer_->bytes(),
                     dataset_.train.pixels.size() + dataset_.test.pixels.size());
}

void Trainer::compare_ranks() {
  std::string config;  // without what may differ from host to host
  for (const ResolvedValue& value : loaded_.values)
    if (value.path != "data.path") config += value.path + ": " + value.value + "\n";
  compare_fingerprints(comm_, {{"configuration", config},
                               {"version", options_.version},
                               {"data", dataset_.fingerprint},
                               {"device", device_.description()},
                               {"choices", fmt::format("{}", fmt::join(device_.choices(), "\n"))},
                               {"communicator", device_comm().description()},
                               {"resume option", options_.resume},
                               {"schedule", program_text(full_->program())}});
}

std::int64_t Trainer::epoch_of(std::int64_t updates) const {
  return updates == 0 ? 0 : (updates - 1) / length_.steps_per_epoch + 1;
}

void Trainer::initialize() {
  running_->initialize();
  for (std::size_t p = 0; p < graph_.parameters.size(); ++p)
    initialize_parameter(graph_, static_cast<int>(p), experiment_.model, experiment_.seed,
                         memory_.parameters.host<float>().subspan(
                             full_->program().parameter_offset[p], graph_.parameters[p].count()));
  memory_.parameters.push();
}

void Trainer::check_start() {
  initialize();
  take_state();
}

/// That of the checkpoint to resume from, if there is one, or that of a fresh start.
std::optional<ResumePoint> Trainer::take_state() {
  std::optional<ResumePoint> point =
      find_resume_point(comm_, loaded_, dataset_, options_.resume, checkpoints_);
  if (point)
    restore(point->checkpoint);
  else
    start_from(options_.init_from);
  return point;
}

std::int64_t Trainer::start_or_resume() {
  record(FlightKind::mark, "the start", 0);
  initialize();
  agree(comm_, [&] {
    if (!root() || !std::filesystem::is_directory(experiment_.run_dir)) return;
    run_lock_.emplace(experiment_.run_dir);
    checkpoints_.clean();
  });
  const std::optional<ResumePoint> point = take_state();
  const std::int64_t step = point ? point->checkpoint.step : 0;
  StartEvent start;
  start.name = experiment_.name;
  start.run_dir = experiment_.run_dir;
  start.device = device_.description();
  start.communicator = device_comm().description();
  start.version = options_.version;
  start.model = experiment_.model.layers.empty() ? experiment_.model.architecture : "layers";
  start.ranks = comm_.size();
  start.replicas = experiment_.replicas;
  start.batch_per_replica = experiment_.batch_per_replica;
  start.first_step = step;
  start.total_steps = length_.total_steps;
  start.steps_per_epoch = length_.steps_per_epoch;
  start.dataset = dataset_.name;
  start.train_samples = plan_.samples;
  start.validation_samples = static_cast<std::int64_t>(splits_.validation.size());
  start.test_samples = static_cast<std::int64_t>(dataset_.test.size());
  start.classes = dataset_.train.classes;
  start.parameters = static_cast<std::int64_t>(full_->program().parameter_floats);
  start.arena_bytes = static_cast<std::int64_t>(memory_.arena.bytes());
  start.config_yaml = loaded_.yaml;
  start.choices = device_.choices();
  tell_rank_start();
  agree(comm_, [&] {
    if (root()) take_run_folder();
    notify(&Observer::on_start, start);
    if (point) notify(&Observer::on_resume, ResumeEvent{step, point->folder});
  });
  run_folder_taken_ = true;
  return step;
}

void Trainer::start_from(const std::string& path) {
  std::string weights;
  agree(comm_, [&] {
    if (path.empty() && experiment_.norm.traits().statistics == StatisticsOver::running)
      throw InputError(
          fmt::format("{}: norm.kind: frozen statistics must come from somewhere; start with "
                      "--init-from FILE.safetensors or a checkpoint folder",
                      loaded_.at("norm")));
    if (root() && !path.empty()) weights = read_weights(path);
  });
  if (path.empty()) return;
  weights = from_rank_0(comm_, weights);
  agree(comm_, [&] {
    const std::vector<std::string> notes =
        start_from_file(graph_, full_->program(), memory_, weights, path);
    running_->spread_averaged();
    if (root())
      for (const std::string& note : notes)
        fmt::print(stderr, "syncnorm: {}: {}\n", printable_name(path), printable_name(note));
  });
}

void Trainer::restore(const Checkpoint& checkpoint) {
  agree(comm_, [&] {
    state_from_files({graph_, full_->program(), memory_, *optimizer_, *running_}, checkpoint.files);
  });
  best_step_ = checkpoint.best_step;
  best_accuracy_ = checkpoint.best_accuracy;
  saved_step_ = checkpoint.step;
}

std::unique_ptr<Loader> Trainer::make_loader(std::int64_t first_step, std::int64_t total_steps) {
  LoaderOptions options;
  options.seed = experiment_.seed;
  options.plan = plan_;
  options.replicas = placement_.block(comm_.rank());
  options.shuffle = experiment_.data.shuffle;
  options.augment = AugmentConfig::from(experiment_.data);
  options.first_step = first_step;
  options.total_steps = total_steps;
  options.prefetch = experiment_.data.prefetch;
  options.held = steps_->most_in_flight();
  if (!device_.host_memory()) {
    options.raw = true;
    image_memory_ = device_.allocate_pinned(Loader::bytes(dataset_, options));
    options.memory = image_memory_.data();
  }
  return std::make_unique<Loader>(dataset_, splits_.train, options);
}

EndEvent Trainer::run() {
  const std::int64_t first = start_or_resume();
  if (first < length_.total_steps) loader_ = make_loader(first, length_.total_steps);
  if (first == 0) save(0, false);
  step_times_.reserve(static_cast<std::size_t>(length_.total_steps - first));
  step_samples_.reserve(step_times_.capacity());
  for (std::int64_t step = first; step < length_.total_steps; ++step) {
    start_step(step);
    finish_steps(looked_at(step) ? 0 : static_cast<std::size_t>(steps_->most_in_flight()) - 1);
  }
  if (evaluated_step_ != length_.total_steps) evaluate(length_.total_steps);
  if (saved_step_ != length_.total_steps) save_and_wait(length_.total_steps, true);
  return finish(length_.total_steps, "done", "");
}

/// Whether what is known after this step is needed before the next is started.
bool Trainer::looked_at(std::int64_t step) const {
  const std::int64_t done = step + 1;
  const Pending& newest = pending_.back();
  return newest.sampled || newest.probed || done == length_.total_steps || work_is_due(done);
}

/// Finishes the oldest steps in flight until `left` are. A stop is agreed on in one step and
/// carried out behind the last that was started.
void Trainer::finish_steps(std::size_t left) {
  while (pending_.size() > left || (stop_agreed_ && !pending_.empty())) {
    const Pending step = pending_.front();
    const StepEvent event = finish_step();
    notify(&Observer::on_step, event);
    if (step.probed) probe(event, step.state, *step.batch);
    after_step(event.step, stop_agreed_ && pending_.empty());
  }
}

StepEvent Trainer::one_step(std::int64_t step) {
  start_step(step);
  return finish_step();
}

void Trainer::start_step(std::int64_t step) {
  Pending pending{};
  pending.begin = Clock::now();
  const double waited_before = loader_->wait_seconds();
  record(FlightKind::mark, "waiting for data", step + 1);
  const Batch& batch = loader_->next();
  pending.batch = &batch;
  pending.data_seconds = loader_->wait_seconds() - waited_before;
  Executor& executor = batch.global_samples < plan_.global_batch() ? *tail_ : *full_;
  const bool full = &executor == full_.get();
  pending.executor = &executor;
  pending.reducing_before = executor.times().total();
  const bool watched = options_.rank_observer != nullptr;
  if (watched) pending.before = rank_totals();
  sample_due_ = sample_due_ || step % experiment_.metrics.every_steps == 0;
  pending.sampled = watched && sample_due_ && full;
  pending.probed = probes_ != nullptr && probes_->due(step + 1) && full;
  if (pending.sampled) layers_->begin(executor);
  if (pending.probed) probes_->remember();
  StepState& state = pending.state;
  state.seed = experiment_.seed;
  state.step = static_cast<std::uint64_t>(step);
  pending.rate = learning_rate(experiment_, step, length_.total_steps);
  state.lr = static_cast<float>(pending.rate);
  const bool stop = options_.stop_requested != nullptr && options_.stop_requested->load();
  state.vote = (stop ? 1.0 : 0.0) + (batch.usable ? 0.0 : kUnusableVote);
  note_corrupt(batch.corrupt);
  steps_->start(executor, state, view(batch));
  if (pending.sampled) pending.layers = layers_->end(executor);
  pending_.push_back(pending);
}

StepEvent Trainer::finish_step() {
  const StepResult result = steps_->finish(comm_.deadline());
  const Pending pending = pending_.front();
  const Batch& batch = *pending.batch;
  const auto step = static_cast<std::int64_t>(pending.state.step);
  const double samples = static_cast<double>(batch.global_samples);
  const double loss = result.loss[0] / samples;
  if (result.loss[2] >= kUnusableVote) stop_on_corrupt(step, batch);
  if (!std::isfinite(loss) || !std::isfinite(result.gradient_norm))
    diverged(step, batch, *pending.executor, loss);
  pending_.erase(pending_.begin());
  stop_agreed_ = stop_agreed_ || result.loss[2] > 0.0;
  if (meet_fault(FaultPlace::update, step + 1) == FaultEffect::flip) flip_parameter();
  const bool clipped = experiment_.optimizer.clip_norm > 0.0;
  const bool measured = pending.sampled || clipped;
  StepEvent event;
  if (clipped) event.gradient_norm = result.gradient_norm;
  event.step = step + 1;
  event.epoch = epoch_of(step + 1);
  event.loss = loss;
  event.accuracy = result.loss[1] / samples;
  event.lr = pending.rate;
  event.samples = batch.global_samples;
  event.data_seconds = pending.data_seconds;
  event.reduction_seconds = pending.executor->times().total() - pending.reducing_before;
  event.seconds = since(std::max(pending.begin, finished_));
  finished_ = Clock::now();
  step_seconds_ += event.seconds;
  reduction_seconds_ += event.reduction_seconds;
  data_seconds_ += event.data_seconds;
  step_times_.push_back(event.seconds);
  step_samples_.push_back(event.samples);
  if (recent_losses_.size() == kRecentLosses) recent_losses_.erase(recent_losses_.begin());
  recent_losses_.push_back(loss);
  if (options_.rank_observer != nullptr)
    tell_rank_step(event, pending.before, measured ? result.gradient_norm : -1.0);
  if (pending.sampled) {
    options_.rank_observer->on_layers(event.step, pending.layers);
    sample_due_ = false;
  }
  return event;
}

/// What the probes find in the step that was just done, on its batch, which is still there.
void Trainer::probe(const StepEvent& step, const StepState& state, const Batch& batch) {
  ProbeEvent event =
      probes_->measure(state, view(batch), static_cast<double>(step.samples), step.loss);
  event.step = step.step;
  notify(&Observer::on_probe, event);
}

bool Trainer::work_is_due(std::int64_t step) const {
  const int every = experiment_.fault.check_every_steps;
  const EvaluationConfig& evaluation = experiment_.evaluation;
  const CheckpointConfig& checkpoint = experiment_.checkpoint;
  return (every > 0 && step % every == 0) ||
         due(step, evaluation.every_epochs, evaluation.every_steps) ||
         due(step, checkpoint.every_epochs, checkpoint.every_steps);
}

/// Whether what is done every so many epochs or steps is due after `step`.
bool Trainer::due(std::int64_t step, int every_epochs, int every_steps) const {
  const bool epoch_end = step % length_.steps_per_epoch == 0;
  const std::int64_t epochs = step / length_.steps_per_epoch;
  return (every_epochs > 0 && epoch_end && epochs % every_epochs == 0) ||
         (every_steps > 0 && step % every_steps == 0);
}

void Trainer::after_step(std::int64_t step, bool stop) {
  const bool end = step == length_.total_steps;
  if (root()) tell_checkpoints(writer_->finished());
  const int every = experiment_.fault.check_every_steps;
  if (every > 0 && step % every == 0) compare_parameters(step);
  if (end || due(step, experiment_.evaluation.every_epochs, experiment_.evaluation.every_steps))
    evaluate(step);
  if (end || stop)
    save_and_wait(step, end);
  else if (best_step_ == step ||
           due(step, experiment_.checkpoint.every_epochs, experiment_.checkpoint.every_steps))
    save(step, false);
  if (stop && !end) {
    const std::string message =
        fmt::format("stopped on a signal after step {}; --resume auto goes on from there", step);
    finish(step, "stopped", message);
    throw Error(ExitCode::stopped, message);
  }
}

void Trainer::record(FlightKind kind, const char* what, std::int64_t step) {
  if (options_.recorder != nullptr)
    options_.recorder->record(kind, options_.recorder->name(what), step);
}

FaultEffect Trainer::meet_fault(FaultPlace place, std::int64_t step) {
  return options_.faults == nullptr ? FaultEffect::none : options_.faults->at(place, step);
}

/// The lowest bit of the first parameter, as a memory that fails might.
void Trainer::flip_parameter() {
  memory_.parameters.pull();
  float& value = memory_.parameters.host<float>().front();
  value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) ^ 1u);
  memory_.parameters.push();
}

void Trainer::evaluate(std::int64_t step) {
  const auto begin = Clock::now();
  record(FlightKind::mark, "an evaluation", step);
  meet_fault(FaultPlace::evaluation, step);
  if (precise_ != nullptr) take_precise_statistics(step);
  running_->average();
  if (!splits_.validation.empty())
    evaluate_split(step, "validation", dataset_.train, splits_.validation);
  std::vector<std::uint32_t> all(dataset_.test.size());
  std::iota(all.begin(), all.end(), 0u);
  evaluate_split(step, "test", dataset_.test, all);
  evaluated_step_ = step;
  evaluation_seconds_ += since(begin);
}

void Trainer::evaluate_split(std::int64_t step, const std::string& split, const ImageSet& images,
                             std::span<const std::uint32_t> samples) {
  const auto begin = Clock::now();
  const EvaluationResult result = evaluator_->run(images, samples, step);
  note_corrupt(result.corrupt);
  const EvalEvent event{step, epoch_of(step), split, result.loss, result.accuracy, since(begin)};
  if (split == "test") {
    last_test_ = event;
    tested_ = true;
  } else {
    validation_accuracy_ = result.accuracy;
    if (result.accuracy > best_accuracy_) {
      best_accuracy_ = result.accuracy;
      best_step_ = step;
    }
  }
  notify(&Observer::on_eval, event);
}

EndEvent Trainer::finish(std::int64_t step, const std::string& status, const std::string& message) {
  record(FlightKind::mark, "the end", step);
  meet_fault(FaultPlace::shutdown, step);
  if (root()) tell_checkpoints(writer_->drain());
  EndEvent end;
  for (const CorruptImage& image : corrupt_on_all_ranks())  // and all are there
    end.corrupt.emplace_back(image.path, image.reason);
  end.reads_files = dataset_.train.stored != nullptr;
  record(FlightKind::rest, "telling of the end", step);
  end.status = status;
  end.message = message;
  end.step = step;
  end.seconds = step_seconds_;
  end.evaluation_seconds = evaluation_seconds_;
  end.checkpoint_seconds = checkpoint_seconds_;
  if (!step_times_.empty()) {
    std::vector<double> rates;
    for (std::size_t i = 0; i < step_times_.size(); ++i)
      rates.push_back(static_cast<double>(step_samples_[i]) / step_times_[i]);
    std::nth_element(rates.begin(), rates.begin() + static_cast<long>(rates.size() / 2),
                     rates.end());
    end.samples_per_second = rates[rates.size() / 2];
    end.reduction_share = reduction_seconds_ / step_seconds_;
    end.data_share = data_seconds_ / step_seconds_;
    end.final_loss = std::accumulate(recent_losses_.begin(), recent_losses_.end(), 0.0) /
                     static_cast<double>(recent_losses_.size());
  }
  if (tested_) {
    end.test_loss = last_test_.loss;
    end.test_accuracy = last_test_.accuracy;
  }
  end.validation_accuracy = validation_accuracy_;
  end.best_validation_accuracy = best_accuracy_;
  end.best_step = best_step_;
  agree(comm_, [&] { notify(&Observer::on_end, end); });  // nobody leaves before it is told
  return end;
}

}  // namespace syncnorm
