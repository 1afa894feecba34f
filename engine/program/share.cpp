// Sharing: batch norms whose sums are ready together send them in one message.
//
// If the outputs of two norms are added (the last norm of a residual block and the norm of its
// projection shortcut), the later norm is fused with the addition (fuse.cpp) and needs the output
// of the earlier one, but its statistics do not. The earlier norm then waits for the later one's
// sums in both passes, at no cost: nothing between them reads its output.
#include <algorithm>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

/// Returns true if the value `wanted` is computed from `from` by units before `end`.
bool depends_on(const std::vector<Unit>& units, std::size_t end, int wanted, int from) {
  std::vector<int> reached = {from};
  for (std::size_t i = 0; i < end; ++i)
    if (std::any_of(reached.begin(), reached.end(),
                    [&](int value) { return times_read(units[i], value) > 0; }))
      reached.push_back(units[i].output);
  return std::find(reached.begin(), reached.end(), wanted) != reached.end();
}

bool read_between(const std::vector<Unit>& units, std::size_t first, std::size_t last, int value) {
  return std::any_of(units.begin() + static_cast<long>(first) + 1,
                     units.begin() + static_cast<long>(last),
                     [&](const Unit& unit) { return times_read(unit, value) > 0; });
}

}  // namespace

std::vector<Message> share(const Graph& graph, const Program& program, std::vector<Unit>& units) {
  std::vector<Message> messages;
  const auto may_share = [&](std::size_t unit) {
    return program.reduces_statistics() && graph.norm(units[unit].layer).deviation == Deviation::l2;
  };
  for (std::size_t j = 0; j < units.size(); ++j) {
    const auto* norm =
        std::get_if<NormLayer>(&graph.layers[static_cast<std::size_t>(units[j].layer)].kind);
    if (norm == nullptr || !norm->norm.over_batch() || norm->norm.kind == NormKind::switchable)
      continue;
    int joined = -1;
    if (may_share(j) && units[j].residual >= 0)
      for (std::size_t m = 0; m < messages.size(); ++m) {
        const std::vector<std::size_t>& members = messages[m].units;
        if (!may_share(members.back())) continue;
        if (units[members.back()].output != units[j].residual) continue;
        const bool apart = std::none_of(members.begin(), members.end(), [&](std::size_t i) {
          return depends_on(units, j, units[j].input, units[i].output) ||
                 read_between(units, members.back(), j, units[i].output);
        });
        if (apart) joined = static_cast<int>(m);
      }
    if (joined < 0) {
      joined = static_cast<int>(messages.size());
      messages.emplace_back();
    }
    messages[static_cast<std::size_t>(joined)].units.push_back(j);
    units[j].message = joined;
  }
  return messages;
}

}  // namespace syncnorm
