// syncnorm eval: evaluates the weights of a checkpoint or a safetensors file on the test set.
#include <cmath>
#include <iostream>
#include <set>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "base/printable.h"
#include "comm/agreement.h"
#include "engine/config/locations.h"
#include "engine/config/names.h"
#include "engine/program/compile.h"
#include "engine/state/state_files.h"
#include "engine/state/weights_file.h"
#include "engine/train/evaluation.h"
#include "engine/train/setup.h"
#include "launch/commands.h"
#include "launch/session.h"

namespace syncnorm {
namespace {

std::string text_of(const EvaluationColumn& column, const EvaluationConfig& config) {
  std::string statistics;
  if (!config.only_running())
    statistics = fmt::format(", {} statistics", name_of(column.statistics));
  if (column.sample_weight >= 0.0)
    statistics += fmt::format(" with weight {:g} of the sample's", column.sample_weight);
  const std::string of_pixels =
      column.result.per_pixel
          ? fmt::format("mIoU {:.2f}%, pixel ", 100.0 * column.result.classes.mean_iou())
          : "";
  return fmt::format("test {}accuracy {:.2f}%, loss {}, {} samples{}\n", of_pixels,
                     100.0 * column.result.accuracy, column.result.loss,
                     column.split->samples.size(), statistics);
}

/// Evaluates the weights that the command line names, on all ranks.
void evaluate(const LoadedExperiment& loaded, const CommandLine& line, Communicator& comm,
              FlightRecorder& recorder) {
  std::unique_ptr<Faults> faults;
  agree(comm, [&] { faults = make_faults(line.faults, comm.rank()); });
  const std::unique_ptr<Device> device = make_device(loaded.experiment, comm);
  const Dataset dataset = load_data_on_all_ranks(loaded, comm);
  Graph graph;
  agree(comm, [&] {
    checked_model(loaded, dataset);
    graph = evaluation_model(loaded, dataset);
  });
  const std::vector<std::size_t> layout = consecutive_layout(graph);
  Memory memory;
  const Splits splits = split_samples(dataset.train.size(), loaded.experiment.data.validation,
                                      loaded.experiment.seed);
  std::unique_ptr<Evaluation> evaluation;
  agree(comm, [&] {
    with_locations(loaded, [&] {
      evaluation = std::make_unique<Evaluation>(graph, loaded.experiment, layout, dataset, splits,
                                                *device, comm, memory);
    });
  });
  evaluation->set_recorder(&recorder);
  std::string weights;
  agree(comm, [&] {
    if (comm.rank() == 0) weights = read_weights(line.weights);
  });
  weights = from_rank_0(comm, weights);
  agree(comm, [&] {
    const std::vector<std::string> notes =
        model_from_file(graph, evaluation->program(), memory, weights, line.weights);
    if (comm.rank() == 0)
      for (const std::string& note : notes)
        std::cerr << fmt::format("syncnorm: {}: {}\n", line.weights, note);
  });
  if (faults != nullptr) faults->at(FaultPlace::evaluation, 0);
  std::set<std::string> skipped;
  evaluation->run(0, false, [&](const EvaluationColumn& column) {
    for (const CorruptImage& image : column.result.corrupt)
      if (skipped.insert(image.path).second)
        std::cerr << fmt::format("syncnorm: skipped {}: {}\n", printable_name(image.path),
                                 printable_name(image.reason));
    if (!std::isfinite(column.result.loss))
      throw DivergedError(fmt::format(
          "{}: the test loss is not finite: some outputs are beyond the range of f32; these "
          "weights are of a run that diverged, or of a model that scales its input otherwise",
          line.weights));
    if (comm.rank() == 0) std::cout << text_of(column, loaded.experiment.evaluation) << std::flush;
  });
}

}  // namespace

int run_eval(const CommandLine& given, Communicator& comm) {
  CommandLine line = given;
  if (!line.statistics.empty())
    line.overrides.push_back(fmt::format("evaluation.statistics=[{}]", line.statistics));
  const LoadedExperiment loaded = load_on_all_ranks(line, comm);
  FlightRecorder recorder;
  const std::unique_ptr<Watchdog> watchdog = make_watchdog(loaded.experiment, recorder, comm);
  comm.set_deadline(loaded.experiment.fault.deadline + kWatchdogFirst);
  recorder.record(FlightKind::mark, recorder.name("loading weights and data"), 0);
  try {
    evaluate(loaded, line, comm, recorder);
  } catch (const PeerLostError& error) {
    watchdog->leave_record(error.what());
    throw;
  }
  return 0;
}

}  // namespace syncnorm
