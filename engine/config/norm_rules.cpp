// An entry is read by the rows of the schema into a draft of its own, in a later layer than `norm`.
#include "engine/config/norm_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "engine/config/apply.h"
#include "engine/config/suggest.h"
#include "engine/config/validate.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm::config {

namespace {

constexpr int kEntryLayer = std::numeric_limits<int>::max();
constexpr std::size_t kMostEntries = 10'000;
/// Keys of `norm` whose value is one for all layers.
constexpr std::array<std::string_view, 5> kShared = {"synced_replicas", "precise_samples",
                                                     "weights", "weights_eps", "layers"};

std::string item_key(std::size_t index) { return fmt::format("norm.layers[{}]", index); }

std::vector<std::string> read_patterns(const ConfigNode& entry, const Field& field) {
  const ConfigEntry* match = entry.find("match");
  if (match == nullptr) {
    field.fail(entry, "has no `match`; write `{match: \"layer4.*\", kind: group}`");
    return {};
  }
  const Field of_match{field.key + ".match", field.problems};
  const ConfigNode& value = match->value;
  std::vector<std::string> patterns;
  const std::vector<ConfigNode> one = {value};
  for (const ConfigNode& item : value.kind == NodeKind::list ? value.items : one)
    if (const auto text = read_text(item, of_match)) patterns.push_back(*text);
  if (value.kind == NodeKind::list && value.items.empty())
    of_match.fail(value, "the list is empty; give it patterns of layer names");
  return patterns;
}

/// Returns the keys of an entry without `match`, and without those that it must not have.
ConfigNode keys_of(const ConfigNode& entry, const Field& field) {
  ConfigNode keys = entry;
  keys.entries.clear();
  for (const ConfigEntry& one : entry.entries) {
    if (one.key == "match") continue;
    if (std::find(kShared.begin(), kShared.end(), one.key) == kShared.end())
      keys.entries.push_back(one);
    else
      field.problems->add(one.position, field.key + "." + one.key,
                          "is one for all layers; give it in `norm` itself");
  }
  return keys;
}

/// Resets what the entry inherits though its own kind does not read it.
void drop_unread(Draft& entry) {
  NormConfig& norm = entry.experiment.norm;
  const NormConfig defaults;
  const auto inherited = [&](const char* key) {
    const auto origin = entry.origins.find(key);
    return origin == entry.origins.end() || origin->second.layer != kEntryLayer;
  };
  if (norm.kind != NormKind::frn && inherited("norm.tlu")) norm.tlu = defaults.tlu;
  if (norm.kind != NormKind::layer && inherited("norm.over")) norm.over = defaults.over;
  if (norm.kind != NormKind::frozen && inherited("norm.frozen")) norm.frozen = defaults.frozen;
  if (norm.kind == NormKind::none && inherited("norm.noise")) norm.noise = defaults.noise;
}

/// Returns the entry in flow form, with the keys that it gives.
std::string entry_text(const Schema& schema, const std::vector<std::string>& patterns,
                       const Draft& entry) {
  std::vector<std::string> quoted;
  for (const std::string& pattern : patterns) quoted.push_back(scalar_text(pattern));
  std::string text = "{match: ";
  text += quoted.size() == 1 ? quoted[0] : fmt::format("[{}]", fmt::join(quoted, ", "));
  for (const SchemaKey& key : schema.keys) {
    const auto origin = entry.origins.find(key.path);
    if (origin != entry.origins.end() && origin->second.layer == kEntryLayer)
      text += ", " + leaf_of(key.path) + ": " + key.print(entry);
  }
  return text + "}";
}

NormRule read_rule(const Schema& schema, const Draft& draft, const ConfigNode& node,
                   const Field& field) {
  NormRule rule;
  rule.mark = node.position.text();
  if (node.kind != NodeKind::map) {
    field.fail(node, fmt::format("expected a map, got {}; write `{{match: \"layer4.*\", kind: "
                                 "group}}`",
                                 node.kind == NodeKind::list ? "a list" : in_quotes(node.text)));
    return rule;
  }
  rule.match = read_patterns(node, field);
  const ConfigNode keys = keys_of(node, field);
  if (keys.entries.empty() && node.entries.size() == 1)
    field.fail(node, "changes nothing; give a kind or another key of `norm` beside `match`");
  Draft entry;
  entry.experiment.norm = draft.experiment.norm;
  for (const auto& [key, origin] : draft.origins)
    if (section_of(key) == "norm") entry.origins.insert({key, origin});
  apply_map(schema, "norm", keys, kEntryLayer, entry, *field.problems);
  drop_unread(entry);
  resolve_norm(entry, *field.problems);
  rule.norm = entry.experiment.norm;
  rule.text = entry_text(schema, rule.match, entry);
  return rule;
}

}  // namespace

SchemaKey norm_layers_key() {
  return {"norm.layers", "list of maps",
          "other norms for some layers: entries {match: PATTERN, keys of norm …}; see Norms of "
          "single layers",
          [](const ConfigNode& node, const Field& field, Draft& draft) {
            if (!expect_list(node, field)) return false;
            if (node.items.size() > kMostEntries) {
              field.fail(node, fmt::format("more than {} entries; use patterns", kMostEntries));
              return false;
            }
            draft.norm_layers = node;
            return true;
          },
          [](const Draft& draft) {
            std::vector<std::string> texts;
            for (const NormRule& rule : draft.experiment.norm_rules) texts.push_back(rule.text);
            return fmt::format("[{}]", fmt::join(texts, ", "));
          }};
}

void resolve_norm_rules(const Schema& schema, Draft& draft, Problems& problems) {
  draft.experiment.norm_rules.clear();
  if (draft.failed.contains("norm.layers")) return;
  const std::vector<ConfigNode>& items = draft.norm_layers.items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    Problems found;
    draft.experiment.norm_rules.push_back(
        read_rule(schema, draft, items[i], {item_key(i), &found}));
    problems.add_all(found);
  }
}

}  // namespace syncnorm::config
