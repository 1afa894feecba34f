// Loads YAML files and command-line overrides into a checked Experiment.
//
// A configuration has layers: the files named by `_base_`, deepest first, then the file, then (in a
// study) the settings of a run, then the command line. A later layer replaces an earlier one key by
// key. All mistakes in all layers are reported at once, in one InputError whose what() has one line
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
  std::vector<ResolvedValue> values;  // every key that applies, in the order of the schema
  /// The resolved configuration as YAML text; loading it gives a bit-identical experiment.
  std::string yaml;
  std::string source;  // the file's name, or the name of the text

  /// Returns the location of a key, or of the first given key of a section, for mistakes that are
  /// found after loading. Returns the file's name if the key has its default.
  SourceMark at(const std::string& path) const;
};

/// Loads a file with its bases and "key.path=value" overrides. Throws InputError.
LoadedExperiment load_experiment(const std::filesystem::path& path,
                                 const std::vector<std::string>& overrides = {});

/// Loads a text from memory; messages refer to it as `name`. `_base_` is an error. Throws
/// InputError.
LoadedExperiment parse_experiment_text(const std::string& text, const std::string& name,
                                       const std::vector<std::string>& overrides = {});

/// Returns the output of --print-config: "key.path: value", aligned, with "# origin".
std::string print_config(const LoadedExperiment& loaded);

/// Returns the list of all keys for --help: path, type, default and meaning.
std::string schema_help();

/// Returns docs/config.md.
std::string config_reference_markdown();

}  // namespace syncnorm
