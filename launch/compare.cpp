// syncnorm compare: trains the runs of a study and prints a table of their results.
#include <charconv>
#include <filesystem>
#include <iostream>
#include <map>

#include <fmt/format.h>

#include "base/error.h"
#include "base/printable.h"
#include "comm/agreement.h"
#include "engine/state/run_lock.h"
#include "engine/study/check_models.h"
#include "engine/study/compare.h"
#include "launch/commands.h"
#include "launch/measure.h"
#include "launch/print_value.h"
#include "launch/session.h"
#include "monitoring/whole_file.h"

namespace syncnorm {
namespace {

struct Part {
  int index = 0;  // from 0
  int count = 1;
};

Part parse_only(const std::string& text) {
  if (text.empty()) return {};
  Part part;
  const char* end = text.data() + text.size();
  const auto [slash, first] = std::from_chars(text.data(), end, part.index);
  if (first == std::errc() && slash != end && *slash == '/') {
    const auto [rest, second] = std::from_chars(slash + 1, end, part.count);
    if (second == std::errc() && rest == end && part.index >= 1 && part.index <= part.count)
      return {part.index - 1, part.count};
  }
  throw InputError(fmt::format("--only {}: expected I/N with 1 <= I <= N, such as 2/4", text));
}

/// Writes study.json: before the first run, so that a report can be made at any time, and after the
/// last.
void write_description(const Study& study) {
  create_run_folder(study.run_dir);
  write_whole(std::filesystem::path(study.run_dir) / "study.json",
              study_json(study, study_results(study)), "choose another run_dir");
}

/// Predicts the step of every run, once for runs that differ only in their seed.
void predict_steps(const Study& study, const ScaleLine& scale, std::vector<RunResult>& results) {
  const std::unique_ptr<Communicator> self = make_self_communicator();
  std::map<StudySettings, double> known;
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    StudySettings settings = study.runs[i].settings;
    std::erase_if(settings, [](const auto& setting) { return setting.first == "seed"; });
    const auto [entry, is_new] = known.try_emplace(settings, 0.0);
    if (is_new) entry->second = predicted_step(study.runs[i].loaded, scale, *self);
    results[i].predicted_step = entry->second;
  }
}

}  // namespace

int run_compare(const CommandLine& line, Communicator& comm) {
  Study study;
  Part part;
  agree(comm, [&] {
    part = parse_only(line.only);
    parse_network(line.scale.network);
    study = load_study(line.file, line.overrides);
    if (line.print.empty()) check_models(study, !line.init_from.empty());
  });
  const auto say = [&](const std::string& text) {
    if (comm.rank() == 0) std::cout << printable(text) << std::endl;
  };
  if (!line.print.empty()) {
    std::string value;
    agree(comm, [&] { value = value_of(study, line.print); });
    say(value);
    return 0;
  }
  if (line.dry_run) {
    for (const StudyRun& run : study.runs) say(run.name + " -> " + run.loaded.experiment.run_dir);
    say(fmt::format("{} runs, no mistakes found", study.runs.size()));
    return 0;
  }
  agree(comm, [&] {
    if (comm.rank() == 0) write_description(study);
  });
  run_study(
      study, part.index, part.count, comm,
      [&](const LoadedExperiment& loaded, const std::string& resume) {
        CommandLine own = line;
        own.resume = resume;
        train_experiment(loaded, own, comm);
      },
      say);
  agree(comm, [&] {
    if (comm.rank() == 0) write_description(study);
  });
  if (comm.rank() != 0) return 0;
  std::vector<RunResult> results = study_results(study);
  if (line.scale.ranks > 0) predict_steps(study, line.scale, results);
  std::string table = study_table(results, study.best_of);
  if (line.scale.ranks > 0)
    table +=
        fmt::format("\nPredicted: {} ranks of {} replica(s), {}\n", line.scale.ranks,
                    line.scale.replicas_per_rank, parse_network(line.scale.network).description());
  std::cout << "\n" << printable(table) << std::flush;
  write_whole(std::filesystem::path(study.run_dir) / "table.md", table, "make the folder writable");
  return 0;
}

}  // namespace syncnorm
