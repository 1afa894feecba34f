// Running a study: its experiments one after another, and the table that compares them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "engine/config/study.h"

namespace syncnorm {

/// What a finished run left in its summary.json.
struct RunResult {
  std::string setting;  // "norm=bn", without the seed
  std::string status;   // "done", "diverged", or "missing"
  double accuracy = 0.0;
  double final_loss = 0.0;
  double samples_per_second = 0.0;
  double reduction_share = 0.0;
};

/// Trains one experiment; `resume` as for `syncnorm train`.
using TrainFunction =
    std::function<void(const LoadedExperiment& loaded, const std::string& resume)>;
using SayFunction = std::function<void(const std::string& line)>;

/// Trains the runs with index i where i % parts == part, in order. A run that is done with the same
/// configuration is skipped, one that was begun goes on, one that diverges is a result. Collective.
void run_study(const Study& study, int part, int parts, Communicator& comm,
               const TrainFunction& train, const SayFunction& say);

/// The results so far, of all runs.
std::vector<RunResult> study_results(const Study& study);

/// A Markdown table: one row per setting, mean ± sample standard deviation over seeds.
std::string study_table(const std::vector<RunResult>& results);

}  // namespace syncnorm
