// The table of layer types, by which layers are read and printed.
#include "engine/config/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/config/names.h"
#include "engine/config/suggest.h"

namespace syncnorm::config {

namespace {

constexpr IntegerRange kSize{1, 1 << 20};
constexpr IntegerRange kWindow{1, 1 << 12};
constexpr std::size_t kMostLayers = 10'000;
constexpr IntegerRange kPadding{0, 1 << 12};
constexpr NumberRange kProbability{0.0, 1.0, true, false};

void store_integer(const ConfigNode& node, const Field& field, const IntegerRange& range,
                   int& target) {
  if (const auto value = read_integer(node, field, range)) target = static_cast<int>(*value);
}

void store_name(const ConfigNode& node, const Field& field, std::string& target) {
  if (const auto value = read_name(node, field)) target = *value;
}

/// Reads a name, or for `concat` also a list of names.
void store_names(const ConfigNode& node, const Field& field, LayerSpec& layer) {
  layer.from.clear();
  const bool many = layer.type == LayerType::concat && node.kind == NodeKind::list;
  if (!many) store_name(node, field, layer.from.emplace_back());
  for (std::size_t i = 0; many && i < node.items.size(); ++i)
    store_name(node.items[i], {fmt::format("{}[{}]", field.key, i), field.problems},
               layer.from.emplace_back());
  if (many && node.items.empty()) field.fail(node, "the list is empty; name at least one layer");
}

void store_field(const std::string& name, const ConfigNode& node, const Field& field,
                 LayerSpec& layer) {
  if (name == "name") store_name(node, field, layer.name);
  if (name == "input") store_name(node, field, layer.input);
  if (name == "from") store_names(node, field, layer);
  if (name == "out") store_integer(node, field, kSize, layer.out);
  if (name == "kernel") store_integer(node, field, kWindow, layer.kernel);
  if (name == "stride") store_integer(node, field, kWindow, layer.stride);
  if (name == "padding") store_integer(node, field, kPadding, layer.padding);
  if (name == "output_padding") store_integer(node, field, kPadding, layer.output_padding);
  if (name == "mode") layer.mode = read_choice<UpsampleMode>(node, field).value_or(layer.mode);
  if (name == "scale") store_integer(node, field, kWindow, layer.scale);
  if (name == "to") store_name(node, field, layer.to);
  if (name == "align_corners")
    layer.align_corners = read_switch(node, field).value_or(layer.align_corners);
  if (name == "dilation") store_integer(node, field, kWindow, layer.dilation);
  if (name == "groups") store_integer(node, field, kSize, layer.groups);
  if (name == "bias") layer.bias = read_switch(node, field).value_or(layer.bias);
  if (name == "p") layer.p = read_number(node, field, kProbability).value_or(layer.p);
}

std::string names_text(const std::vector<std::string>& names) {
  std::vector<std::string> texts;
  for (const std::string& name : names) texts.push_back(scalar_text(name));
  return texts.size() == 1 ? texts[0] : fmt::format("[{}]", fmt::join(texts, ", "));
}

/// Returns the text of a field, "" where the layer has none.
std::string field_text(const std::string& name, const LayerSpec& layer) {
  if (name == "from") return names_text(layer.from);
  if (name == "out") return std::to_string(layer.out);
  if (name == "kernel") return std::to_string(layer.kernel);
  if (name == "stride") return std::to_string(layer.stride);
  if (name == "padding") return std::to_string(layer.padding);
  if (name == "output_padding") return std::to_string(layer.output_padding);
  if (name == "mode") return std::string(name_of(layer.mode));
  if (name == "scale") return layer.scale > 0 ? std::to_string(layer.scale) : "";
  if (name == "to") return layer.to.empty() ? "" : scalar_text(layer.to);
  if (name == "align_corners") return layer.align_corners ? "true" : "false";
  if (name == "dilation") return std::to_string(layer.dilation);
  if (name == "groups") return std::to_string(layer.groups);
  if (name == "bias") return layer.bias ? "true" : "false";
  return number_text(layer.p);
}

std::vector<std::string> field_names(LayerType type) {
  const LayerFields own = fields_of(type);
  std::vector<std::string> fields = own.required;
  fields.insert(fields.end(), own.optional.begin(), own.optional.end());
  fields.insert(fields.end(), {"name", "input"});
  return fields;
}

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

void report_unknown_field(const ConfigEntry& entry, const Field& field, LayerType type) {
  const std::vector<std::string> fields = field_names(type);
  const std::string guess = nearest(entry.key, fields);
  const std::string colon = colon_hint(entry.key);
  const std::string hint =
      !colon.empty()  ? colon
      : guess.empty() ? "its fields are type, " + fmt::format("{}", fmt::join(fields, ", "))
                      : "did you mean " + guess + "?";
  field.problems->add(entry.position, field.key + "." + entry.key,
                      fmt::format("{} layer has no such field; {}",
                                  with_article(std::string(name_of(type))), hint));
}

LayerSpec read_layer(const ConfigNode& node, const Field& field) {
  LayerSpec layer;
  layer.mark = node.position.text();
  if (node.kind == NodeKind::list) {
    field.fail(node, "expected a layer, got a list; write `- relu` or `- {type: conv, ...}`");
    return layer;
  }
  const bool short_form = node.kind == NodeKind::scalar;
  const ConfigEntry* type_entry = short_form ? nullptr : node.find("type");
  if (!short_form && type_entry == nullptr) {
    field.fail(node, "the layer has no type; write `{type: conv, ...}`");
    return layer;
  }
  const std::optional<LayerType> type =
      short_form ? read_choice<LayerType>(node, field)
                 : read_choice<LayerType>(type_entry->value, {field.key + ".type", field.problems});
  if (!type) return layer;
  layer.type = *type;
  const std::vector<std::string> allowed = field_names(*type);
  for (const ConfigEntry& entry : node.entries) {
    if (entry.key == "type") continue;
    if (contains(allowed, entry.key)) {
      store_field(entry.key, entry.value, {field.key + "." + entry.key, field.problems}, layer);
    } else {
      report_unknown_field(entry, field, *type);
    }
  }
  for (const std::string& name : fields_of(*type).required) {
    if (node.find(name) == nullptr) {
      field.fail(
          node, fmt::format("{} layer needs {}; write `{{type: {}, {}: ...}}`",
                            with_article(std::string(name_of(*type))), name, name_of(*type), name));
    }
  }
  if (layer.type == LayerType::upsample &&
      (node.find("scale") == nullptr) == (node.find("to") == nullptr))
    field.fail(node,
               "an upsample layer needs scale or to, and not both; write `{type: upsample, "
               "scale: 2}` or `{type: upsample, to: NAME}`");
  const bool is_pool = layer.type == LayerType::max_pool || layer.type == LayerType::average_pool;
  if (is_pool && node.find("stride") == nullptr) layer.stride = layer.kernel;
  return layer;
}

}  // namespace

LayerFields fields_of(LayerType type) {
  switch (type) {
    case LayerType::conv:
      return {{"out", "kernel"}, {"stride", "padding", "dilation", "groups", "bias"}};
    case LayerType::conv_transpose:
      return {{"out", "kernel"},
              {"stride", "padding", "output_padding", "dilation", "groups", "bias"}};
    case LayerType::linear:
      return {{"out"}, {"bias"}};
    case LayerType::max_pool:
    case LayerType::average_pool:
      return {{"kernel"}, {"stride", "padding"}};
    case LayerType::dropout:
    case LayerType::alpha_dropout:
      return {{}, {"p"}};
    case LayerType::add:
    case LayerType::concat:
    case LayerType::multiply:
      return {{"from"}, {}};
    case LayerType::upsample:
      return {{}, {"mode", "scale", "to", "align_corners"}};
    case LayerType::global_pool:
    case LayerType::norm:
    case LayerType::relu:
    case LayerType::sigmoid:
    case LayerType::tanh:
    case LayerType::elu:
    case LayerType::selu:
    case LayerType::gelu:
    case LayerType::silu:
    case LayerType::hard_swish:
    case LayerType::flatten:
      break;
  }
  return {};
}

std::vector<LayerField> layer_fields() {
  const LayerSpec defaults;
  return {
      {"out", describe(kSize), "", "output channels or features"},
      {"kernel", describe(kWindow), "", "side of the square window, pixels"},
      {"stride", describe(kWindow), "1; pools: their kernel", "stride of the window, pixels"},
      {"padding", describe(kPadding), field_text("padding", defaults),
       "zeros around the image, pixels; conv_transpose: pixels cut off at each edge"},
      {"output_padding", describe(kPadding), field_text("output_padding", defaults),
       "conv_transpose: pixels added below and on the right; below stride"},
      {"dilation", describe(kWindow), field_text("dilation", defaults),
       "distance between neighbours of the window, pixels"},
      {"groups", describe(kSize), field_text("groups", defaults),
       "groups of channels that are convolved apart, as many as channels for a depthwise "
       "convolution; divides the channels of input and output"},
      {"bias", "true, false", field_text("bias", defaults), "add a learned bias"},
      {"p", describe(kProbability), field_text("p", defaults),
       "probability that a value is dropped"},
      {"mode", "nearest, bilinear", field_text("mode", defaults), "upsample: how"},
      {"scale", describe(kWindow), "", "upsample: factor of height and width"},
      {"to", "name", "", "upsample, instead of scale: the layer whose height and width it takes"},
      {"align_corners", "true, false", field_text("align_corners", defaults),
       "upsample, bilinear: keep the centers of the corner pixels in place"},
      {"from", "name; concat: or a list of names", "",
       "the other layer; add: its output is added; multiply: multiplied, where one of both may "
       "have 1x1 pixels or 1 channel; concat: its channels follow those of the input"},
      {"name", "name", "type and number", "for `from` and `input` of other layers; unique"},
      {"input", "name", "the layer before", "layer whose output this one reads"}};
}

std::optional<std::vector<LayerSpec>> read_layers(const ConfigNode& node, const Field& field) {
  if (!expect_list(node, field)) return std::nullopt;
  if (node.items.size() > kMostLayers) {
    field.fail(node, fmt::format("more than {} layers; write a smaller network", kMostLayers));
    return std::nullopt;
  }
  std::vector<LayerSpec> layers;
  std::map<std::string, SourceMark> names;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const Field item{fmt::format("{}[{}]", field.key, i), field.problems};
    layers.push_back(read_layer(node.items[i], item));
    const std::string& name = layers.back().name;
    if (name.empty()) continue;
    const auto [first, is_new] = names.emplace(name, layers.back().mark);
    if (!is_new) {
      item.fail(node.items[i], fmt::format("the name {} is taken by the layer at {}; names are "
                                           "unique",
                                           in_quotes(name), first->second));
    }
  }
  return layers;
}

std::string layer_text(const LayerSpec& layer) {
  const LayerFields fields = fields_of(layer.type);
  std::vector<std::string> parts;
  if (!layer.name.empty()) parts.push_back("name: " + scalar_text(layer.name));
  if (!layer.input.empty()) parts.push_back("input: " + scalar_text(layer.input));
  for (const std::vector<std::string>* names : {&fields.required, &fields.optional})
    for (const std::string& name : *names)
      if (const std::string text = field_text(name, layer); !text.empty())
        parts.push_back(name + ": " + text);
  if (parts.empty()) return std::string(name_of(layer.type));
  return fmt::format("{{type: {}, {}}}", name_of(layer.type), fmt::join(parts, ", "));
}

}  // namespace syncnorm::config
