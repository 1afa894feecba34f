// model.layers: the entries of a network that is written out in YAML.
//
// One table says which fields a type of layer has and which of them it needs; reading, printing and
// the reference page use it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/config/read_values.h"

namespace syncnorm::config {

struct LayerFields {
  std::vector<std::string> required;
  std::vector<std::string> optional;  // without `name` and `input`, which every layer has
};

LayerFields fields_of(LayerType type);

/// All fields of layers, for the reference page: name, type, default, meaning.
struct LayerField {
  std::string name;
  std::string type;
  std::string default_text;
  std::string meaning;
};
std::vector<LayerField> layer_fields();

/// Reads the whole list and reports every mistake in it.
std::optional<std::vector<LayerSpec>> read_layers(const ConfigNode& node, const Field& field);

/// One layer in flow form, with all the fields of its type: "{type: linear, out: 10, bias: true}".
std::string layer_text(const LayerSpec& layer);

}  // namespace syncnorm::config
