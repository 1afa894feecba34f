// A run as a table, with one line per step and evaluation in its metrics.jsonl.
#pragma once

#include <filesystem>
#include <string>

namespace syncnorm {

/// Returns comma-separated values (RFC 4180) with a header line: `event`, `step`, `epoch`, `split`,
/// then every other field that any step or evaluation has, by name; a cell is empty where it has
/// none. Numbers are printed as in the log. Throws InputError when there is no log.
std::string run_csv(const std::filesystem::path& run_dir);

}  // namespace syncnorm
