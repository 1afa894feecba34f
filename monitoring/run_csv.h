// A run as a table: one line for each step and evaluation of its metrics.jsonl.
#pragma once

#include <filesystem>
#include <string>

namespace syncnorm {

/// Comma-separated values after RFC 4180, with a header line: `event`, `step`, `epoch`, `split` and
/// then every number that any step or evaluation has, by name; a cell is empty where it has none.
/// Numbers are those of the log, digit by digit. Throws InputError when there is no log.
std::string run_csv(const std::filesystem::path& run_dir);

}  // namespace syncnorm
