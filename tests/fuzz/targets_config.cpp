// Experiments, studies, traces, and what the command line brings.
#include <string>
#include <vector>

#include "engine/config/listen_address.h"
#include "engine/config/load.h"
#include "engine/config/study.h"
#include "engine/fault/faults.h"
#include "engine/study/trace.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace syncnorm::fuzz {
namespace {

/// A resolved configuration reads back to itself.
bool check_round_trip(const LoadedExperiment& loaded) {
  promise(parse_experiment_text(loaded.yaml, "again").yaml == loaded.yaml,
          "the resolved configuration reads back to the same");
  promise(loaded.experiment.replicas >= 1 && loaded.experiment.batch_per_replica >= 1,
          "there is a batch");
  return true;
}

}  // namespace

bool experiment(std::string_view bytes) {
  LoadedExperiment loaded;
  if (!answered([&] { loaded = parse_experiment_text(std::string(bytes), "fuzz.yaml"); }))
    return false;
  return check_round_trip(loaded);
}

bool override_arguments(std::string_view bytes) {
  std::vector<std::string> arguments(1);
  for (const char c : bytes)
    if (c == '\n')
      arguments.emplace_back();
    else
      arguments.back() += c;
  LoadedExperiment loaded;
  if (!answered([&] { loaded = parse_experiment_text("{}", "fuzz.yaml", arguments); }))
    return false;
  return check_round_trip(loaded);
}

bool study(std::string_view bytes) {
  static const Scratch folder;
  const std::filesystem::path path = folder.write("study.yaml", bytes);
  Study read;
  if (!answered([&] { read = load_study(path); })) return false;
  promise(!read.runs.empty() && read.runs.size() <= kMostStudyRuns, "a study has runs");
  for (const StudyRun& run : read.runs) {
    const std::string& where = run.loaded.experiment.run_dir;
    promise(where.starts_with(read.run_dir + "/") &&
                where.find('/', read.run_dir.size() + 1) == std::string::npos,
            "a run lies directly in the study's folder");
  }
  return true;
}

bool trace(std::string_view bytes) {
  static const Scratch folder;
  const std::filesystem::path path = folder.write("trace.yaml", bytes);
  TraceExample read;
  if (!answered([&] { read = load_trace(path); })) return false;
  promise(!trace_text(read, 4).empty(), "a trace has a text");
  return true;
}

bool listen_address(std::string_view bytes) {
  ListenAddress read;
  if (!answered([&] { read = parse_listen_address(std::string(bytes)); })) return false;
  promise(read.port >= 0 && read.port <= 65535, "a port is a port");
  promise(parse_listen_address(read.text()).text() == read.text(), "an address reads back");
  return true;
}

bool fault(std::string_view bytes) {
  return answered([&] { make_faults({std::string(bytes)}, 0); });
}

}  // namespace syncnorm::fuzz
