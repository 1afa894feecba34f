// What a run folder says of the launches before this one.
#pragma once

#include <filesystem>

namespace syncnorm {

struct RunHistory {
  double first_start = 0.0;   // Unix time of the first launch; 0: unknown
  double restarts = 0.0;      // launches that began at a checkpoint, this one too
  double step_seconds = 0.0;  // in steps that count: not in those behind the checkpoint
};

/// Reads metrics.jsonl as the run log left it for this launch. A log that is missing or damaged
/// counts as empty.
RunHistory read_run_history(const std::filesystem::path& run_dir);

}  // namespace syncnorm
