// Reads the YAML file of a trace: lists of numbers, and the keys of `norm` that apply to one value
// per layer, with the schema of experiments.
#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "engine/config/apply.h"
#include "engine/config/layers_of_files.h"
#include "engine/config/suggest.h"
#include "engine/study/trace.h"

namespace syncnorm {
namespace {

using config::ConfigEntry;
using config::ConfigNode;
using config::Field;
using config::Problems;
using Table = std::vector<std::vector<double>>;

constexpr config::NumberRange kAnyNumber{-std::numeric_limits<double>::infinity()};

std::vector<double> read_numbers(const ConfigNode& node, const Field& field) {
  std::vector<double> numbers;
  if (!config::expect_list(node, field)) return numbers;
  if (node.items.empty()) field.fail(node, "the list is empty; give it numbers");
  for (const ConfigNode& item : node.items)
    numbers.push_back(config::read_number(item, field, kAnyNumber).value_or(0.0));
  return numbers;
}

Table read_table(const ConfigNode& node, const Field& field) {
  Table table;
  if (!config::expect_list(node, field)) return table;
  if (node.items.empty()) field.fail(node, "the list is empty; give it lists of numbers");
  for (const ConfigNode& item : node.items) table.push_back(read_numbers(item, field));
  return table;
}

void read_norm(const ConfigEntry& entry, NormConfig& norm, Problems& problems) {
  constexpr std::array<std::string_view, 5> kRead = {
      "norm.kind", "norm.deviation", "norm.l1_correction", "norm.eps", "norm.synced_replicas"};
  config::Draft draft;
  draft.experiment.norm = norm;
  config::apply_setting(config::make_schema(), "norm", entry.position, entry.value, 0, draft,
                        problems);
  norm = draft.experiment.norm;
  for (const auto& [key, origin] : draft.origins)
    if (std::find(kRead.begin(), kRead.end(), key) == kRead.end())
      problems.add(origin.position, key,
                   "has no meaning in a trace; kind, deviation, l1_correction and eps have");
  if (norm.over_batch() && norm.kind != NormKind::batch)
    problems.add(
        entry.value.position, "norm",
        fmt::format("{} has no meaning in a trace; give batch or none", name_of(norm.kind)));
  else if (norm.traits().layer && !norm.over_batch())
    problems.add(entry.value.position, "norm",
                 fmt::format("a sample has one value per layer, which {} would only take away; "
                             "give batch or none",
                             name_of(norm.kind)));
}

void check_lengths(const TraceExample& example, const ConfigNode& root, Problems& problems) {
  for (const std::vector<double>& weights : example.weights)
    if (weights.size() != example.inputs.size())
      problems.add(root.position, "weights",
                   fmt::format("a layer has {} weights for {} steps of inputs; give one per step",
                               weights.size(), example.inputs.size()));
}

}  // namespace

TraceExample load_trace(const std::filesystem::path& path) {
  Problems problems;
  const config::FileLayers files = config::read_file_layers(path, problems);
  problems.throw_if_any();
  const ConfigNode& root = files.trees.back();
  TraceExample example = worked_example();
  const std::vector<std::string> keys = {"inputs", "weights", "norm"};
  for (const ConfigEntry& entry : root.entries) {
    if (entry.key == "inputs") {
      example.inputs = read_table(entry.value, {"inputs", &problems});
    } else if (entry.key == "weights") {
      example.weights = read_table(entry.value, {"weights", &problems});
    } else if (entry.key == "norm") {
      read_norm(entry, example.norm, problems);
    } else {
      const std::string guess = config::nearest(entry.key, keys);
      problems.add(entry.position, entry.key,
                   guess.empty() ? "unknown key; the keys here are inputs, weights, norm"
                                 : fmt::format("unknown key; did you mean `{}`?", guess));
    }
  }
  if (problems.empty()) check_lengths(example, root, problems);
  problems.throw_if_any();
  return example;
}

}  // namespace syncnorm
