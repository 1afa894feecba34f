// Fusion: a norm takes in the residual add and the ReLU behind it, so that forward and backward
// touch their tensors once. Forward and backward are both emitted from the fused node.
#include <algorithm>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

int readers(const std::vector<Node>& nodes, int value) {
  int count = 0;
  for (const Node& node : nodes) count += (node.input == value) + (node.residual == value);
  return count;
}

bool is_relu(const Graph& graph, const Node& node) {
  const auto* activation =
      std::get_if<ActivationLayer>(&graph.layers[static_cast<std::size_t>(node.layer)].kind);
  return activation != nullptr && activation->kind == Activation::relu;
}

template <class Kind>
bool is(const Graph& graph, const Node& node) {
  return std::holds_alternative<Kind>(graph.layers[static_cast<std::size_t>(node.layer)].kind);
}

}  // namespace

void fuse(const Graph& graph, std::vector<Node>& nodes) {
  const auto only_reader = [&](std::size_t from, int value) {
    if (readers(nodes, value) != 1 || value == graph.output) return nodes.size();
    for (std::size_t j = from; j < nodes.size(); ++j)
      if (nodes[j].input == value || nodes[j].residual == value) return j;
    return nodes.size();
  };
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!is<NormLayer>(graph, nodes[i])) continue;
    std::size_t next = only_reader(i + 1, nodes[i].output);
    if (next < nodes.size() && is<AddLayer>(graph, nodes[next])) {
      const int other =
          nodes[next].input == nodes[i].output ? nodes[next].residual : nodes[next].input;
      // The other summand must be computed by now: of two norms that meet, the later one fuses.
      const bool ready =
          other == 0 || std::any_of(nodes.begin(), nodes.begin() + static_cast<long>(i),
                                    [&](const Node& n) { return n.output == other; });
      if (!ready || other == nodes[i].output) continue;
      nodes[i].residual = other;
      nodes[i].output = nodes[next].output;
      nodes.erase(nodes.begin() + static_cast<long>(next));
      next = only_reader(i + 1, nodes[i].output);
    }
    if (next < nodes.size() && is_relu(graph, nodes[next])) {
      nodes[i].relu = true;
      nodes[i].output = nodes[next].output;
      nodes.erase(nodes.begin() + static_cast<long>(next));
    }
  }
}

}  // namespace syncnorm
