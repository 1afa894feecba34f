// Prints along the schema, so that the output can be read again.
#include "engine/config/assemble.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/config/layers.h"
#include "engine/config/norm_rules.h"
#include "engine/config/validate.h"

namespace syncnorm {

namespace config {

namespace {

/// Prints one layer per line, since a network on one line would be unreadable.
std::string layers_block(const std::vector<LayerSpec>& layers) {
  std::string text = "\n";
  for (const LayerSpec& layer : layers) text += "    - " + layer_text(layer) + "\n";
  return text;
}

}  // namespace

std::string yaml_text(const Schema& schema, const Draft& draft) {
  std::string text;
  std::string open_section;
  for (const SchemaKey& key : schema.keys) {
    const std::string value = key.print(draft);
    if (value.empty()) continue;
    const std::string section = section_of(key.path);
    const auto depth = static_cast<std::size_t>(std::count(key.path.begin(), key.path.end(), '.'));
    if (section != open_section && !section.empty()) {
      text += std::string(2 * (depth - 1), ' ') + leaf_of(section) + ":\n";
    }
    open_section = section;
    text += std::string(2 * depth, ' ') + leaf_of(key.path) + ":";
    const bool is_network = key.path == "model.layers" && !draft.experiment.model.layers.empty();
    text += is_network ? layers_block(draft.experiment.model.layers) : " " + value + "\n";
  }
  return text;
}

LoadedExperiment assemble(const Schema& schema, Draft draft, const std::string& source,
                          Problems& problems) {
  resolve_norm_rules(schema, draft, problems);
  resolve(draft, problems);
  LoadedExperiment loaded;
  loaded.source = source;
  loaded.yaml = yaml_text(schema, draft);
  for (const SchemaKey& key : schema.keys) {
    const std::string value = key.print(draft);
    if (value.empty()) continue;
    const auto origin = draft.origins.find(key.path);
    loaded.values.push_back(
        {key.path, value,
         origin == draft.origins.end() ? "default" : origin->second.position.text(),
         key.free_on_resume});
  }
  resolve_synced_replicas(draft.experiment);
  loaded.experiment = std::move(draft.experiment);
  return loaded;
}

}  // namespace config

std::string print_config(const LoadedExperiment& loaded) {
  constexpr std::size_t kWidest =
      48;  // longer lines keep their comment, but do not shift the others
  std::vector<std::string> lines;
  std::size_t width = 0;
  for (const ResolvedValue& value : loaded.values) {
    lines.push_back(fmt::format("{}: {}", value.path, value.value));
    if (lines.back().size() <= kWidest) width = std::max(width, lines.back().size());
  }
  std::string text;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    text += fmt::format("{:<{}}  # {}\n", lines[i], width, loaded.values[i].origin);
  }
  return text;
}

}  // namespace syncnorm
