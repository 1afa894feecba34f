// See print_value.h. The schema knows the keys; YAML's own parser removes quotes.
#include "launch/print_value.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/config/schema.h"
#include "engine/config/suggest.h"
#include "engine/config/yaml_tree.h"

namespace syncnorm {
namespace {

std::string without_quotes(const std::string& yaml) {
  config::Problems problems;
  const auto source = std::make_shared<const config::Source>();
  const auto node = config::parse_yaml(yaml, source, "", problems);
  return node && problems.empty() && node->kind == config::NodeKind::scalar ? node->text : yaml;
}

/// Throws the reason why a key has no value.
[[noreturn]] void refuse(const std::string& key) {
  const config::Schema schema = config::make_schema();
  const std::string quoted = config::in_quotes(key);
  if (schema.find_key(key) != nullptr)
    throw InputError(fmt::format("--print {}: another key replaces it ({})", quoted,
                                 config::exclusive_partner(key)));
  if (!key.empty() && schema.is_section(key))
    throw InputError(fmt::format("--print {}: a section; its keys are {}", quoted,
                                 config::either(schema.names_in(key))));
  std::vector<std::string> known;
  for (const config::SchemaKey& row : schema.keys) known.push_back(row.path);
  std::string meant = config::nearest(key, known);
  const auto same_leaf = std::ranges::find_if(known, [&](const std::string& path) {
    return config::leaf_of(path) == config::leaf_of(key);
  });
  if (meant.empty() && same_leaf != known.end()) meant = *same_leaf;
  throw InputError(fmt::format(
      "--print {}: no such key; {}", quoted,
      meant.empty() ? "train --help lists them" : fmt::format("did you mean {}?", meant)));
}

}  // namespace

std::string value_of(const LoadedExperiment& loaded, const std::string& key) {
  const auto value = std::ranges::find(loaded.values, key, &ResolvedValue::path);
  if (value == loaded.values.end()) refuse(key);
  return without_quotes(value->value);
}

std::string value_of(const Study& study, const std::string& key) {
  if (key == "name") return study.name;
  if (key == "run_dir") return study.run_dir;
  throw InputError(
      fmt::format("--print {}: of a study it prints name or run_dir", config::in_quotes(key)));
}

}  // namespace syncnorm
