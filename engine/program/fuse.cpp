// Fusion: a norm absorbs the residual add and the ReLU after it, and a scaled add the ReLU, so that
// forward and backward pass read and write their tensors once. Both passes are emitted from the
// fused unit.
#include <algorithm>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

int readers(const std::vector<Unit>& units, int value) {
  int count = 0;
  for (const Unit& unit : units) count += times_read(unit, value);
  return count;
}

bool is_relu(const Graph& graph, const Unit& unit) {
  const auto* activation =
      std::get_if<ActivationLayer>(&graph.layers[static_cast<std::size_t>(unit.layer)].kind);
  return activation != nullptr && activation->kind == Activation::relu;
}

template <class Kind>
bool is(const Graph& graph, const Unit& unit) {
  return std::holds_alternative<Kind>(graph.layers[static_cast<std::size_t>(unit.layer)].kind);
}

/// Returns true if the norm can fuse with what follows it. Noise comes directly after the norm.
bool can_fuse(const Graph& graph, const Unit& unit) {
  if (!is<NormLayer>(graph, unit)) return false;
  const NormConfig& norm = graph.norm(unit.layer);
  return norm.traits().absorbs_activation && !norm.noise;
}

bool is_plain_add(const Graph& graph, const Unit& unit) {
  const auto* sum = std::get_if<AddLayer>(&graph.layers[static_cast<std::size_t>(unit.layer)].kind);
  return sum != nullptr && !sum->scaled;
}

bool is_scaled_add(const Graph& graph, const Unit& unit) {
  return is<AddLayer>(graph, unit) && !is_plain_add(graph, unit);
}

}  // namespace

void fuse(const Graph& graph, std::vector<Unit>& units) {
  const auto only_reader = [&](std::size_t from, int value) {
    if (readers(units, value) != 1 || value == graph.output) return units.size();
    for (std::size_t j = from; j < units.size(); ++j)
      if (times_read(units[j], value) > 0) return j;
    return units.size();
  };
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (!can_fuse(graph, units[i]) && !is_scaled_add(graph, units[i])) continue;
    std::size_t next = only_reader(i + 1, units[i].output);
    if (next < units.size() && is_plain_add(graph, units[next]) &&
        !is_scaled_add(graph, units[i])) {
      const int other =
          units[next].input == units[i].output ? units[next].residual : units[next].input;
      // The other summand must already be computed: of two norms whose outputs are added, the later
      // one fuses.
      const bool ready =
          other == 0 || std::any_of(units.begin(), units.begin() + static_cast<long>(i),
                                    [&](const Unit& n) { return n.output == other; });
      if (!ready || other == units[i].output) continue;
      units[i].residual = other;
      units[i].output = units[next].output;
      units.erase(units.begin() + static_cast<long>(next));
      next = only_reader(i + 1, units[i].output);
    }
    if (next < units.size() && is_relu(graph, units[next])) {
      units[i].relu = true;
      units[i].output = units[next].output;
      units.erase(units.begin() + static_cast<long>(next));
    }
  }
}

}  // namespace syncnorm
