// Lowering: turns graph layers into units, and checks that batch normalization is defined
// everywhere.
#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/program/passes.h"

namespace syncnorm {
namespace {

/// Refuses, from shapes alone, a norm over one value: its variance is zero, its unbiased estimate
/// undefined.
void check_values_per_channel(const Graph& graph, const ProgramOptions& options, int layer) {
  const bool uses_batch = !evaluates(options.mode) || options.mode == ProgramMode::batch_evaluation;
  if (!uses_batch || graph.norm(layer).traits().one_value) return;
  const Layer& norm = graph.layers[static_cast<std::size_t>(layer)];
  const int group = options.synced_replicas;
  for (int first = 0; first < options.replicas; first += group) {
    int samples = 0;
    for (int r = first; r < first + group; ++r)
      samples += options.replica_samples.empty()
                     ? options.batch_per_replica
                     : options.replica_samples[static_cast<std::size_t>(r)];
    if (samples * norm.shape.pixels() != 1) continue;
    if (options.mode == ProgramMode::batch_evaluation)
      throw InputError(
          ConfigKey{"evaluation.batch"},
          fmt::format("layer '{}': an evaluation batch of one sample of a 1x1 map has no "
                      "variance; raise evaluation.batch, or leave batch, precise and "
                      "test_set out of evaluation.statistics",
                      norm.name));
    throw InputError(
        ConfigKey{"norm"},
        fmt::format("layer '{}': batch normalization over {} replica{} sees one value per "
                    "channel in a batch of {} samples (one sample of a 1x1 map), {}; raise "
                    "batch_per_replica or norm.synced_replicas, set drop_last: true if it is the "
                    "last batch, or use norm: gn, ln or none",
                    norm.name, group, group == 1 ? "" : "s", options.global_samples,
                    graph.norm(layer).kind == NormKind::mabn
                        ? "of which only the sign would be left"
                        : "which has no variance"));
  }
}

/// Refuses a cross-iteration norm of values that no weights of their own give, as it follows these.
void check_layer_before(const Graph& graph, const std::vector<int>& alias, int layer) {
  if (graph.norm(layer).kind != NormKind::cross_iteration) return;
  const Layer& norm = graph.layers[static_cast<std::size_t>(layer)];
  const int input = alias[static_cast<std::size_t>(norm.inputs[0])];
  const Layer& before = graph.layers[static_cast<std::size_t>(input)];
  if (std::holds_alternative<ConvLayer>(before.kind) ||
      std::holds_alternative<LinearLayer>(before.kind))
    return;
  const bool transposed = std::holds_alternative<ConvTransposeLayer>(before.kind);
  throw InputError(
      ConfigKey{"norm"},
      fmt::format(
          "layer '{}': cross-iteration normalization follows the weights of the layer before "
          "it, and '{}' {}; place it behind a convolution or a linear layer, or give "
          "this layer another norm in norm.layers",
          norm.name, before.name, transposed ? "is a transposed convolution" : "has none"));
}

}  // namespace

std::vector<Unit> lower(const Graph& graph, const ProgramOptions& options,
                        std::vector<int>& alias) {
  std::vector<Unit> units;
  alias.resize(graph.layers.size());
  for (int i = 0; i < static_cast<int>(graph.layers.size()); ++i) {
    const Layer& layer = graph.layers[static_cast<std::size_t>(i)];
    const auto value = [&](std::size_t k) {
      return alias[static_cast<std::size_t>(layer.inputs[k])];
    };
    alias[static_cast<std::size_t>(i)] = i;
    if (std::holds_alternative<InputLayer>(layer.kind)) continue;
    const Shape in = graph.layers[static_cast<std::size_t>(value(0))].shape;
    const bool flat = in.pixels() == 1 || in.channels == 1;
    const bool unused_dropout =
        std::holds_alternative<DropoutLayer>(layer.kind) &&
        (evaluates(options.mode) || std::get<DropoutLayer>(layer.kind).p == 0.0);
    if ((std::holds_alternative<FlattenLayer>(layer.kind) && flat) || unused_dropout) {
      alias[static_cast<std::size_t>(i)] = value(0);
      continue;
    }
    if (std::holds_alternative<NormLayer>(layer.kind)) {
      check_values_per_channel(graph, options, i);
      check_layer_before(graph, alias, i);
    }
    Unit unit{i, value(0), -1, i, false};
    if (std::holds_alternative<AddLayer>(layer.kind))
      unit.residual = value(1);
    else
      for (std::size_t k = 1; k < layer.inputs.size(); ++k) unit.others.push_back(value(k));
    units.push_back(unit);
  }
  return units;
}

}  // namespace syncnorm
