// Running a study: its experiments one after another, and the table that compares them.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "engine/config/study.h"
#include "engine/study/variants.h"

namespace syncnorm {

/// What a finished run left in its summary.json; numbers that are not there are nan.
struct RunResult {
  StudyOutcome outcome;
  double final_loss = 0.0;
  double samples_per_second = 0.0;
  double reduction_share = 0.0;
  // Seconds of a step on the cluster that was asked for; nan: not predicted.
  double predicted_step = std::numeric_limits<double>::quiet_NaN();
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

/// A Markdown table: one row per variant, mean ± sample standard deviation over seeds; the values
/// chosen by `best_of` and the paired difference to the reference where there are any.
std::string study_table(const std::vector<RunResult>& results,
                        const std::vector<std::string>& best_of = {});

/// study.json: which runs belong to the study, for its report, and what is known of its variants.
std::string study_json(const Study& study, const std::vector<RunResult>& results);

}  // namespace syncnorm
