// Runs a study, one experiment after another, and makes the table that compares them.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "engine/config/study.h"
#include "engine/study/variants.h"
#include "engine/train/metric.h"

namespace syncnorm {

/// An evaluation that a run may have besides the first of evaluation.statistics.
struct OtherEvaluation {
  std::string word;   // the end of its names in summary.json: "batch"
  std::string title;  // "batch statistics"
};
/// Returns all of them, in the order of tables.
std::vector<OtherEvaluation> other_evaluations();

/// The results in a finished run's summary.json; missing numbers are nan.
struct RunResult {
  StudyOutcome outcome;
  double final_loss = 0.0;
  double samples_per_second = 0.0;
  double reduction_share = 0.0;
  // Predicted seconds of a step on the requested cluster; nan if not predicted.
  double predicted_step = std::numeric_limits<double>::quiet_NaN();
  /// Test scores of other_evaluations(), by their words.
  std::vector<std::pair<std::string, double>> other_scores = {};
  Metric metric = kAccuracyMetric;  // of all scores
};

/// Trains one experiment; `resume` is as for `syncnorm train`.
using TrainFunction =
    std::function<void(const LoadedExperiment& loaded, const std::string& resume)>;
using SayFunction = std::function<void(const std::string& line)>;

/// Trains the runs i with i % parts == part, in order. Skips a run that is done with the same
/// configuration, resumes one that was started, and accepts divergence as a result. Collective.
void run_study(const Study& study, int part, int parts, Communicator& comm,
               const TrainFunction& train, const SayFunction& say);

/// Returns the results so far, of all runs.
std::vector<RunResult> study_results(const Study& study);

/// Returns a Markdown table with one row per variant: mean ± sample standard deviation over seeds,
/// and, if there are any, the values chosen by `best_of` and the paired difference to the
/// reference.
std::string study_table(const std::vector<RunResult>& results,
                        const std::vector<std::string>& best_of = {});

/// Returns study.json, for the report: the runs of the study, and the results of its variants.
std::string study_json(const Study& study, const std::vector<RunResult>& results);

}  // namespace syncnorm
