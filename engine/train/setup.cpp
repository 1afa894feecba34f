// See setup.h.
#include "engine/train/setup.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/failure.h"
#include "comm/agreement.h"
#include "comm/watchdog.h"
#include "engine/config/locations.h"
#include "engine/model/initialize.h"
#include "engine/model/norm_table.h"
#include "engine/model/zoo.h"
#include "engine/program/compile.h"
#include "engine/program/fault_hook.h"
#include "engine/program/flight_hook.h"
#include "engine/program/plan_text.h"

namespace syncnorm {
namespace {

ReductionAlgorithm algorithm(const Experiment& experiment) {
  return experiment.reduction == ReductionMode::reproducible ? ReductionAlgorithm::tree
                                                             : ReductionAlgorithm::engine;
}

ProgramOptions program_options(const Experiment& experiment, const RunLength& length) {
  ProgramOptions options;
  options.replicas = experiment.replicas;
  options.batch_per_replica = experiment.batch_per_replica;
  options.global_samples = experiment.global_batch();
  options.synced_replicas = experiment.norm.synced_replicas;
  options.total_updates =
      static_cast<int>(std::min<std::int64_t>(length.total_steps, std::numeric_limits<int>::max()));
  options.loss = experiment.loss;
  options.merge_replicas = experiment.reduction == ReductionMode::fastest;
  options.storage = activation_storage(experiment.precision);
  return options;
}

Output output_of(const ImageSet& images) { return images.per_pixel ? Output::map : Output::vector; }

void check_loss(const LossConfig& loss, const ImageSet& images) {
  if (!images.per_pixel && loss.dice > 0.0)
    throw InputError(ConfigKey{"loss.dice"},
                     "the Dice loss is of pixels, but the data set has a label per image; leave it "
                     "out, or use a data set with masks");
  if (!images.per_pixel && !loss.class_weights.empty())
    throw InputError(
        ConfigKey{"loss.class_weights"},
        "weights of classes are for labels per pixel, but the data set has a label per "
        "image; leave them out, or use a data set with masks");
  if (!loss.class_weights.empty() &&
      loss.class_weights.size() != static_cast<std::size_t>(images.classes))
    throw InputError(ConfigKey{"loss.class_weights"},
                     fmt::format("expected a weight for each of the {} classes, found {}",
                                 images.classes, loss.class_weights.size()));
  if (!loss.class_weights.empty() &&
      std::all_of(loss.class_weights.begin(), loss.class_weights.end(),
                  [](double weight) { return weight == 0.0; }))
    throw InputError(ConfigKey{"loss.class_weights"},
                     "all weights are 0, so nothing would be trained; give a class a weight");
}

}  // namespace

RunLength run_length(const Experiment& experiment, std::int64_t train_samples) {
  const Batching batching{experiment.replicas, experiment.batch_per_replica, experiment.drop_last,
                          train_samples};
  RunLength length;
  length.steps_per_epoch = batching.steps_per_epoch();
  length.total_steps =
      experiment.steps > 0 ? experiment.steps : experiment.epochs * length.steps_per_epoch;
  return length;
}

Graph checked_model(const LoadedExperiment& loaded, const Dataset& dataset) {
  Graph graph;
  with_locations(loaded, [&] {
    const ImageSet& images = dataset.train;
    graph = build_model(loaded.experiment, {images.height, images.width, images.channels},
                        images.classes, output_of(images));
    check_loss(loaded.experiment.loss, images);
  });
  return graph;
}

Graph evaluation_model(const LoadedExperiment& loaded, const Dataset& dataset) {
  Graph graph;
  with_locations(loaded, [&] {
    const ImageSet& images = dataset.train;
    graph = build_model(loaded.experiment,
                        {images.evaluation_height(), images.evaluation_width(), images.channels},
                        images.classes, output_of(images));
  });
  return graph;
}

void check_ranks(const LoadedExperiment& loaded, int ranks) {
  const int replicas = loaded.experiment.replicas;
  if (ranks <= replicas) return;
  with_locations(loaded, [&] {
    throw InputError(ConfigKey{"replicas"},
                     fmt::format("{} replicas cannot be spread over {} ranks; start at most {} "
                                 "ranks, or raise replicas",
                                 replicas, ranks, replicas));
  });
}

Setup::Setup(const LoadedExperiment& given, const Dataset& samples, Device& chosen,
             Communicator& ranks, TrainerOptions wanted)
    : loaded(given),
      experiment(loaded.experiment),
      dataset(samples),
      device(chosen),
      comm(ranks),
      options(std::move(wanted)),
      placement{experiment.replicas, ranks.size()} {
  agree(comm, [&] { plan_samples(); });
  comm.set_deadline(experiment.fault.deadline +
                    (options.recorder != nullptr ? kWatchdogFirst : 0.0));
  build_programs();
  build_workers();
  compare_ranks();
}

void Setup::plan_samples() {
  check_ranks(loaded, comm.size());
  graph = checked_model(loaded, dataset);
  splits = split_samples(dataset.train.size(), experiment.data.validation, experiment.seed);
  batching = {experiment.replicas, experiment.batch_per_replica, experiment.drop_last,
              static_cast<std::int64_t>(splits.train.size())};
  length = run_length(experiment, batching.samples);
}

void Setup::build_programs() {
  Program whole, smaller;
  bool has_tail = false;
  agree(comm, [&] {
    ProgramOptions of_whole = program_options(experiment, length);
    of_whole.per_pixel = dataset.train.per_pixel;
    of_whole.force_reductions = options.force_reductions;
    of_whole.stored_images = !device.host_memory();  // see prepare()
    with_locations(loaded, [&] { whole = compile_program(graph, device, of_whole); });
    const std::int64_t last = length.steps_per_epoch - 1;
    const std::int64_t samples = batching.batch_samples(last);
    has_tail = samples < batching.global_batch() && length.total_steps > last;
    if (!has_tail) return;
    ProgramOptions of_tail = of_whole;
    of_tail.global_samples = static_cast<int>(samples);
    for (int r = 0; r < experiment.replicas; ++r)
      of_tail.replica_samples.push_back(batching.positions(last, r).size());
    with_locations(
        loaded, [&] { smaller = compile_program(graph, device, of_tail, whole.parameter_offset); });
  });
  if (whole.reduces_statistics())
    groups = std::make_unique<StatisticsGroups>(
        device_comm(), placement, experiment.norm.synced_replicas, options.force_reductions);
  const auto executor = [&](Program program) {
    auto made = std::make_unique<Executor>(std::move(program), device, device_comm(), placement,
                                           groups.get(), algorithm(experiment), memory);
    prepare(*made);
    return made;
  };
  full = executor(std::move(whole));
  if (has_tail) tail = executor(std::move(smaller));
}

void Setup::prepare(Executor& executor) {
  // Fault hooks come before the flight recorder's, which must not record a reduction that a fault
  // skips.
  if (options.faults != nullptr) {
    hooks.push_back(std::make_unique<FaultHook>(*options.faults, executor.program()));
    executor.add_hook(*hooks.back());
  }
  if (options.recorder != nullptr) {
    hooks.push_back(std::make_unique<FlightHook>(*options.recorder, executor));
    executor.add_hook(*hooks.back());
  }
  const ImageSet& images = dataset.train;
  executor.input().make_images({1, images.height, images.width, images.channels},
                               NormalizationTable(dataset.mean, dataset.stddev).values());
}

void Setup::build_workers() {
  const Program& program = full->program();
  Graph evaluated;
  agree(comm, [&] { evaluated = evaluation_model(loaded, dataset); });
  agree(comm, [&] {
    with_locations(loaded, [&] {
      evaluation = std::make_unique<Evaluation>(evaluated, experiment, program.parameter_offset,
                                                dataset, splits, device, comm, memory);
    });
  });
  evaluation->set_recorder(options.recorder);
  running = std::make_unique<RunningStatistics>(program, comm, placement, memory);
  if (program.has_batch_norms && experiment.norm.precise_samples > 0) {
    precise = std::make_unique<PreciseStatistics>(
        graph, program_options(experiment, length), program.parameter_offset, dataset, splits.train,
        experiment, device, device_comm(), placement, groups.get(), algorithm(experiment), memory,
        *running);
    if (options.recorder != nullptr) {
      hooks.push_back(std::make_unique<FlightHook>(*options.recorder, precise->executor()));
      precise->add_hook(*hooks.back());
    }
  }
  if (experiment.probes.every_steps > 0)
    probes =
        std::make_unique<Probes>(graph, experiment.probes, *full, device, comm, placement, memory);
  optimizer = std::make_unique<Optimizer>(graph, program, experiment.optimizer, device);
  if (experiment.ema.decay > 0.0)
    average = std::make_unique<WeightAverage>(program, experiment.ema, device, memory);
  steps = std::make_unique<Steps>(device, *optimizer, memory, full->queued(), options.record_steps,
                                  average.get());
  constexpr std::size_t kScratch = std::size_t{48} << 20;  // bytes, for libraries
  constexpr std::size_t kCopies = 3;                       // of the state, while it is saved
  agree(comm, [&] {
    require_spare_memory(kScratch + kCopies * program.parameter_floats * sizeof(float));
  });
}

void Setup::compare_ranks() {
  std::string config;  // excludes values that may differ from host to host
  for (const ResolvedValue& value : loaded.values)
    if (value.path != "data.path") config += value.path + ": " + value.value + "\n";
  compare_fingerprints(comm, {{"configuration", config},
                              {"version", options.version},
                              {"data", dataset.fingerprint},
                              {"device", device.description()},
                              {"choices", fmt::format("{}", fmt::join(device.choices(), "\n"))},
                              {"communicator", device_comm().description()},
                              {"resume option", options.resume},
                              {"schedule", program_text(full->program())}});
}

void Setup::initialize() {
  running->initialize();
  for (std::size_t p = 0; p < graph.parameters.size(); ++p)
    initialize_parameter(graph, static_cast<int>(p), experiment.model, experiment.seed,
                         memory.parameters.host<float>().subspan(
                             full->program().parameter_offset[p], graph.parameters[p].count()));
  memory.parameters.push();
}

std::string Setup::plan_text() const {
  const std::string averages =
      average != nullptr ? fmt::format("averaged weights {:>9} B\n", average->bytes()) : "";
  return syncnorm::plan_text(*full, memory) +
         fmt::format("optimizer state  {:>9} B\n{}data set         {:>9} B\n", optimizer->bytes(),
                     averages, dataset.train.bytes() + dataset.test.bytes()) +
         (graph.norms.empty() ? "\nno norm layers\n" : "\nnorm layers\n" + norm_table(graph));
}

std::int64_t Setup::epoch_of(std::int64_t updates) const {
  return updates == 0 ? 0 : (updates - 1) / length.steps_per_epoch + 1;
}

void Setup::record(FlightKind kind, const char* what, std::int64_t step) const {
  if (options.recorder != nullptr)
    options.recorder->record(kind, options.recorder->name(what), step);
}

FaultEffect Setup::meet_fault(FaultPlace place, std::int64_t step) const {
  return options.faults == nullptr ? FaultEffect::none : options.faults->at(place, step);
}

}  // namespace syncnorm
