// See check_models.h.
#include "engine/study/check_models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/config/locations.h"
#include "engine/model/zoo.h"
#include "engine/program/passes.h"

namespace syncnorm {
namespace {

void check_model(const Experiment& experiment, bool has_weights) {
  const Graph graph = build_model_without_data(experiment);
  if (!has_weights && graph.has_norms_over(StatisticsOver::running))
    throw InputError(ConfigKey{"norm.kind"},
                     "frozen statistics must come from somewhere; give the study --init-from "
                     "FILE.safetensors or a checkpoint folder");
  ProgramOptions options;
  options.replicas = experiment.replicas;
  options.batch_per_replica = experiment.batch_per_replica;
  options.global_samples = experiment.global_batch();
  options.synced_replicas = experiment.norm.synced_replicas;
  std::vector<int> alias;
  lower(graph, options, alias);
}

}  // namespace

void check_models(const Study& study, bool has_weights) {
  std::vector<std::string> mistakes;
  for (const StudyRun& run : study.runs) try {
      with_locations(run.loaded, [&] { check_model(run.loaded.experiment, has_weights); });
    } catch (const InputError& error) {
      mistakes.push_back(run.name + ": " + error.what());
    }
  if (mistakes.empty()) return;
  throw InputError(fmt::format("{} of {} runs cannot be trained; nothing was started:\n{}",
                               mistakes.size(), study.runs.size(), fmt::join(mistakes, "\n")));
}

}  // namespace syncnorm
