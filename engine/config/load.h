// YAML files and command-line overrides to a checked Experiment.
//
// A configuration is layers: the files named by `_base_`, deepest first, then the file, then (in a
// study) the settings of a run, then the command line. A later layer replaces an earlier one key by
// key. Every mistake in all layers is reported at once, in one InputError whose what() has one line
// per mistake: "file:line:column: key: problem; hint".
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/experiment.h"

namespace syncnorm {

/// One key of a resolved experiment.
struct ResolvedValue {
  std::string path;             // "optimizer.lr"
  std::string value;            // as YAML on one line
  std::string origin;           // "file:line:column", "command line" or "default"
  bool free_on_resume = false;  // see SchemaKey
};

struct LoadedExperiment {
  Experiment experiment;
  std::vector<ResolvedValue> values;  // every key that counts, in the order of the schema
  /// The resolved configuration as a YAML text; loading it gives the same experiment, to the bit.
  std::string yaml;
  std::string source;  // the file's name, or the name of the text

  /// Where a key, or the first given key of a section, was written: for mistakes that only later
  /// parts can find. The name of the file when the key has its default.
  SourceMark at(const std::string& path) const;
};

/// Loads a file with its bases and "key.path=value" overrides. Throws InputError.
LoadedExperiment load_experiment(const std::filesystem::path& path,
                                 const std::vector<std::string>& overrides = {});

/// The same from memory; `name` stands for the file in messages. `_base_` is refused.
LoadedExperiment parse_experiment_text(const std::string& text, const std::string& name,
                                       const std::vector<std::string>& overrides = {});

/// What --print-config shows: "key.path: value", aligned, with "# from where".
std::string print_config(const LoadedExperiment& loaded);

/// The list of all keys for --help: path, type, default and meaning.
std::string schema_help();

/// docs/config.md.
std::string config_reference_markdown();

}  // namespace syncnorm
