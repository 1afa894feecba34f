// See norm_table.h.
#include "engine/model/norm_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "engine/config/names.h"

namespace syncnorm {
namespace {

std::string batch_text(const NormConfig& norm) {
  std::string text = norm.synced_replicas == 1
                         ? ", statistics of each replica"
                         : fmt::format(", statistics of {} replicas", norm.synced_replicas);
  if (norm.deviation != Deviation::l2)
    text += fmt::format(", deviation {}", name_of(norm.deviation));
  if (norm.renormalize) text += ", renormalized";
  return text;
}

}  // namespace

std::string norm_text(const NormConfig& norm, int channels) {
  std::string text(name_of(norm.kind));
  if (norm.kind == NormKind::frozen)
    text +=
        fmt::format(", {}", norm.frozen == FrozenParts::both ? "statistics and affine"
                                                             : std::string(name_of(norm.frozen)));
  if (norm.over_batch()) text += batch_text(norm);
  if (norm.traits().groups == ChannelGroups::configured) {
    const int groups = norm.groups_of(channels);
    text += fmt::format(", {} group{} of channels", groups, groups == 1 ? "" : "s");
  }
  if (norm.over == LayerNormOver::channels) text += ", over channels";
  if (norm.tlu) text += ", with TLU";
  if (!norm.affine) text += ", without γ and β";
  if (norm.noise) text += ", with noise";
  return text;
}

std::string norm_table(const Graph& graph) {
  std::size_t width = 0;
  for (const int index : graph.norms)
    width = std::max(width, graph.layers[static_cast<std::size_t>(index)].name.size());
  std::string text;
  for (const int index : graph.norms) {
    const Layer& layer = graph.layers[static_cast<std::size_t>(index)];
    const std::string shape =
        fmt::format("{}x{}x{}", layer.shape.height, layer.shape.width, layer.shape.channels);
    text += fmt::format("{:<{}}  {:>12}  {}\n", layer.name, width, shape,
                        norm_text(graph.norm(index), layer.shape.channels));
  }
  return text;
}

}  // namespace syncnorm
