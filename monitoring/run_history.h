// The history of a run's earlier launches, read from its run folder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace syncnorm {

struct RunHistory {
  double first_start = 0.0;   // Unix time of the first launch; 0 if unknown
  double restarts = 0.0;      // launches that resumed from a checkpoint, including this one
  double step_seconds = 0.0;  // in steps that count: excludes those lost after the last checkpoint
};

/// Reads a file in a run's folder; returns nothing when there is none. Throws InputError when it is
/// not a regular file or cannot be read.
std::optional<std::string> read_run_file(const std::filesystem::path& run_dir,
                                         const std::string& name);

/// Reads metrics.jsonl as the run log left it for this launch. A missing log counts as empty;
/// damaged lines are skipped. Throws InputError as read_run_file() does.
RunHistory read_run_history(const std::filesystem::path& run_dir);

}  // namespace syncnorm
