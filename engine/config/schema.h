// The schema: every key of an experiment, once, with its path, type, default, meaning, and how it
// is stored and printed.
//
// Parsing, validation, --help, --print-config and docs/config.md are made from this table, so they
// cannot disagree. To add a key, add a member to Experiment and a row to schema_*.cpp.
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
  /// Reads a value into the draft; returns false after reporting a problem.
  std::function<bool(const ConfigNode&, const Field&, Draft&)> store;
  /// Returns the value as YAML on one line, or "" if the key does not apply (steps if epochs is
  /// given). Applied to a new draft, it returns the default.
  std::function<std::string(const Draft&)> print;
  /// May differ from the checkpoint's value when a run is resumed: it affects duration, location,
  /// frequency or monitoring, but not what was computed up to the checkpoint.
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
  /// Returns the names of the keys and sections directly under a section.
  std::vector<std::string> names_in(const std::string& section) const;
};

Schema make_schema();

/// Returns the key that expresses the same as `path` in another way, or "". Of such a pair, the one
/// given last replaces the other.
std::string exclusive_partner(const std::string& path);

/// A short form such as `norm: syncbn`: a kind and, for batch normalization, the number of
/// replicas.
struct NormShortForm {
  std::string word;
  std::string kind;
  std::string synced_replicas;  // "": not changed
};
std::vector<NormShortForm> norm_short_forms();

/// Returns the last part of a path: "lr" of "optimizer.lr".
std::string leaf_of(const std::string& path);
/// Returns the part before it: "optimizer", or "" at the top level.
std::string section_of(const std::string& path);

}  // namespace syncnorm::config
