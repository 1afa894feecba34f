// A study: an experiment file with a `compare:` map and/or a `runs:` list, loaded as a list of
// runs.
//
// The runs are the product of the compare lists, in order, the last key fastest, times the entries
// of runs, times the lists of `best_of:`. An entry of runs may contain its own `compare:`, which
// multiplies only that entry. Each run is a full experiment, checked before the first one starts.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "engine/config/load.h"

namespace syncnorm {

inline constexpr std::size_t kMostStudyRuns = 10'000;

struct StudyRun {
  std::string name;  // "<study name>/norm=syncbn,seed=1"; unique, and safe as a path
  std::vector<std::pair<std::string, std::string>> settings;  // key path, value as written
  LoadedExperiment loaded;  // its run_dir is <study run_dir>/norm=syncbn,seed=1
};

struct Study {
  std::string name;
  std::string run_dir;
  std::vector<std::string> varied;   // key paths, in order
  std::vector<std::string> best_of;  // keys whose value is chosen; see engine/study/variants.h
  double target_accuracy = 0.0;      // reports the updates needed to reach it; 0: none
  std::vector<StudyRun> runs;
};

/// Loads a study and all its runs; overrides apply to every run. Throws InputError.
Study load_study(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});

}  // namespace syncnorm
