// What a run folder says of the launches before this one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace syncnorm {

struct RunHistory {
  double first_start = 0.0;   // Unix time of the first launch; 0: unknown
  double restarts = 0.0;      // launches that began at a checkpoint, this one too
  double step_seconds = 0.0;  // in steps that count: not in those behind the checkpoint
};

/// The text of a file in a run's folder; nothing when there is none. Throws InputError when it is
/// something else or cannot be read.
std::optional<std::string> read_run_file(const std::filesystem::path& run_dir,
                                         const std::string& name);

/// Reads metrics.jsonl as the run log left it for this launch. A log that is missing counts as
/// empty; damaged lines are passed over. Throws InputError as read_run_file() does.
RunHistory read_run_history(const std::filesystem::path& run_dir);

}  // namespace syncnorm
