// The runs of a study folder, or a single run, grouped by setting; seeds are repetitions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "monitoring/report/run_data.h"

namespace syncnorm::report {

struct Setting {
  std::string label;  // "bn, batch_per_replica=2", without the seed
  std::string line;   // the label without the batch: "bn"; one line in a figure over batches
  std::string batch;  // "2" when the study varies batch_per_replica, else ""
  std::vector<RunData> runs;
  std::string chosen;      // the values of best_of, "optimizer.lr=0.1", or ""
  std::string difference;  // in score, from the reference: "+1.2 ± 0.4" in points, or ""
  std::string reference;   // the reference's label, where there is a difference

  /// Returns the values of `number(run)` that are not nan.
  template <class F>
  std::vector<double> numbers(F number) const {
    std::vector<double> found;
    for (const RunData& run : runs)
      if (const double v = number(run); v == v) found.push_back(v);
    return found;
  }
};

struct StudyData {
  std::string name;
  bool is_study = false;
  double target_accuracy = 0.0;   // 0: none
  std::vector<Setting> settings;  // never empty

  const RunData& first_run() const { return settings.front().runs.front(); }
  /// Returns the metric of the first run that has a log.
  Metric metric() const;
};

/// Reads a run folder, a study folder (study.json lists its runs), or any folder of run folders.
/// Throws InputError for any other folder.
StudyData read_study(const std::filesystem::path& folder);

struct Spread {
  double mean = 0.0, deviation = 0.0;  // sample standard deviation; 0 of one value
  double low = 0.0, high = 0.0;
  std::size_t count = 0;
};
Spread spread_of(const std::vector<double>& values);

}  // namespace syncnorm::report
