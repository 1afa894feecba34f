// See norm_table.h.
#include "engine/model/norm_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "engine/config/names.h"
#include "engine/model/zoo.h"

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

Shape image_shape(const DataConfig& data) {
  switch (data.dataset) {
    case DatasetKind::fashion_mnist:
    case DatasetKind::mnist:
      return {28, 28, 1};
    case DatasetKind::cifar10:
    case DatasetKind::cifar100:
      return {32, 32, 3};
    case DatasetKind::synthetic:
      return {data.synthetic.height, data.synthetic.width, data.synthetic.channels};
    case DatasetKind::image_folder:
    case DatasetKind::packed:
      break;
  }
  return {data.images.height, data.images.width, 3};
}

/// Returns a number of classes that suits the model: a folder's is not known before it is listed.
int class_count(const Experiment& experiment) {
  for (auto layer = experiment.model.layers.rbegin(); layer != experiment.model.layers.rend();
       ++layer)
    if (layer->out > 0) return layer->out;
  return 10;
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

std::string norm_table(const Experiment& experiment) {
  return norm_table(build_model(experiment, image_shape(experiment.data), class_count(experiment)));
}

}  // namespace syncnorm
