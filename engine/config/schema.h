// Every key of an experiment, once: path, type, default, meaning, and how it is stored and printed.
//
// Parsing, validation, --help, --print-config and docs/config.md are made from this table, so none
// of them can say something else. To add a key, add a member to Experiment and a row to
// schema_*.cpp.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/config/draft.h"
#include "engine/config/read_values.h"

namespace syncnorm::config {

struct SchemaKey {
  std::string path;     // "optimizer.lr"
  std::string type;     // "number ≥ 0"
  std::string meaning;  // one line, with the unit
  /// Reads a value into the draft; false when it had a problem, which was reported.
  std::function<bool(const ConfigNode&, const Field&, Draft&)> store;
  /// The value as YAML on one line; "" while the key does not count (steps beside epochs). Printed
  /// from a new draft, it is the default.
  std::function<std::string(const Draft&)> print;
  /// May differ from the checkpoint's when a run is resumed: it says how long, where or how often,
  /// or who watches, not what is computed up to the checkpoint.
  bool free_on_resume = false;
};

struct SchemaSection {
  std::string path;  // "" for the top level
  std::string meaning;
};

struct Schema {
  std::vector<SchemaKey> keys;  // in the order of the printed configuration
  std::vector<SchemaSection> sections;

  const SchemaKey* find_key(const std::string& path) const;
  bool is_section(const std::string& path) const;
  /// The names of the keys and sections right under a section.
  std::vector<std::string> names_in(const std::string& section) const;
};

Schema make_schema();

/// Keys that say the same thing in two ways; the one given last replaces the other.
/// "" when `path` has no such partner.
std::string exclusive_partner(const std::string& path);

/// `norm: syncbn` and its like: a kind, and for batch normalization how many replicas it spans.
struct NormShortForm {
  std::string word;
  std::string kind;
  std::string synced_replicas;  // "": left as it is
};
std::vector<NormShortForm> norm_short_forms();

/// The last part of a path: "lr" of "optimizer.lr".
std::string leaf_of(const std::string& path);
/// What stands before it: "optimizer", or "" at the top level.
std::string section_of(const std::string& path);

}  // namespace syncnorm::config
