// The contents of a run folder as numbers, from which a report draws.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json_values.h"
#include "engine/config/load.h"
#include "engine/train/metric.h"

namespace syncnorm::report {

/// A number that is missing from the log, or nan or infinite there, is nan here.
struct StepRow {
  double step = 0.0;  // updates completed after this step
  double loss = 0.0, accuracy = 0.0, lr = 0.0;
  double gradient_norm = 0.0;
  double samples = 0.0;
  double seconds = 0.0;            // of the step
  double data_seconds = 0.0;       // part of `seconds`, waiting for data
  double reduction_seconds = 0.0;  // part of `seconds`, waiting for other ranks
  double elapsed = 0.0;            // seconds of all steps so far
};

struct EvalRow {
  double step = 0.0;
  double elapsed = 0.0;  // seconds of all steps so far
  std::string split;     // with the statistics, where they are not the run's first
  double loss = 0.0, accuracy = 0.0;
  double score = 0.0;  // by the run's metric
};

struct RunData {
  std::filesystem::path folder;
  std::string status;  // done, diverged, stopped, ...; "unfinished" without summary.json, "missing"
                       // without a log
  nlohmann::json start;    // the last launch's `start` event, or an empty object
  nlohmann::json summary;  // or an empty object
  std::vector<StepRow> steps;
  std::vector<EvalRow> evals;
  std::vector<nlohmann::ordered_json> probes;
  std::vector<ResolvedValue> values;  // the resolved configuration; empty when it cannot be read

  Metric metric() const { return metric_of_key(text_of(start, "metric")); }
  /// Returns the score of the last evaluation of a split, or nan.
  double score(const std::string& split) const;
  /// Returns the value of a configuration key, or "".
  std::string value(const std::string& path) const;
};

bool is_run_folder(const std::filesystem::path& folder);

/// Reads whatever is there; from a run that was killed or is still running, everything except a
/// torn last line.
RunData read_run(const std::filesystem::path& folder);

/// Returns the number under a key, or nan.
double number_of(const nlohmann::json& json, const char* key);
double number_of(const nlohmann::ordered_json& json, const char* key);

}  // namespace syncnorm::report
