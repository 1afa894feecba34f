// Converts YAML text to a small tree of our own, in which every node has its location.
//
// All structural rules are enforced here, as the parser's events arrive: no duplicate keys, nulls,
// tags, merge keys, second document, cyclic or exploding aliases, or deep nesting. The result
// consists only of maps with text keys, lists and scalars.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config/problems.h"

namespace syncnorm::config {

inline constexpr int kDeepestNesting = 64;          // levels of maps and lists
inline constexpr std::size_t kMostNodes = 100'000;  // with every alias written out

enum class NodeKind { scalar, map, list };

struct ConfigEntry;

struct ConfigNode {
  NodeKind kind = NodeKind::scalar;
  std::string text;                  // scalar: its value, unquoted
  bool quoted = false;               // scalar: written in quotes or as a block
  std::vector<ConfigEntry> entries;  // map, in the order of the text, keys unique
  std::vector<ConfigNode> items;     // list
  Position position;

  const ConfigEntry* find(std::string_view key) const;
};

struct ConfigEntry {
  std::string key;
  Position position;
  ConfigNode value;
};

/// Parses one document. `key` is the prefix of key paths in problems: "" for a file, the path for
/// an override's value. Returns nothing if the text is empty or malformed; problems say why. Nodes
/// with a problem are left out of the tree.
std::optional<ConfigNode> parse_yaml(const std::string& text, const SourcePointer& source,
                                     const std::string& key, Problems& problems);

/// Returns the node in YAML's flow form, on one line: "{kind: group, groups: 4}".
std::string flow_text(const ConfigNode& node);

/// Returns a text as a YAML scalar: plain if that reads back to the same text, otherwise in double
/// quotes.
std::string scalar_text(std::string_view text);

}  // namespace syncnorm::config
