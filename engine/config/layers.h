// model.layers: the entries of a network that is defined in YAML.
//
// One table lists the fields of each layer type, and which of them are required; reading, printing
// and the reference page use it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/config/read_values.h"

namespace syncnorm::config {

struct LayerFields {
  std::vector<std::string> required;
  std::vector<std::string> optional;  // except `name` and `input`, which every layer has
};

LayerFields fields_of(LayerType type);

/// A field of layers, for the reference page.
struct LayerField {
  std::string name;
  std::string type;
  std::string default_text;
  std::string meaning;
};
std::vector<LayerField> layer_fields();

/// Reads the whole list and reports every mistake in it.
std::optional<std::vector<LayerSpec>> read_layers(const ConfigNode& node, const Field& field);

/// Returns one layer in flow form, with all fields of its type: "{type: linear, out: 10, bias:
/// true}".
std::string layer_text(const LayerSpec& layer);

}  // namespace syncnorm::config
