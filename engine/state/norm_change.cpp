// See norm_change.h.
#include "engine/state/norm_change.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace syncnorm {
namespace {

/// Names of layers: of the norms, and of those whose output a norm reads.
struct NormNames {
  std::set<std::string> norms, before;
};

NormNames names_of(const Graph& graph) {
  NormNames names;
  for (const int index : graph.norms) {
    const Layer& norm = graph.layers[static_cast<std::size_t>(index)];
    names.norms.insert(norm.name);
    names.before.insert(graph.layers[static_cast<std::size_t>(norm.inputs[0])].name);
  }
  return names;
}

/// Returns true if the tensor exists, or not, according to the kind of the norm.
bool depends_on_norm(const NormNames& names, const std::string& tensor) {
  const std::size_t dot = tensor.rfind('.');
  if (dot == std::string::npos) return false;
  const std::string layer = tensor.substr(0, dot);
  return names.norms.contains(layer) ||
         (tensor.substr(dot) == ".bias" && names.before.contains(layer));
}

std::string counted(const std::vector<std::string>& tensors) {
  std::map<std::string, int> counts;
  for (const std::string& tensor : tensors) ++counts[tensor.substr(tensor.rfind('.') + 1)];
  std::vector<std::string> texts;
  for (const auto& [suffix, count] : counts)
    texts.push_back(fmt::format("{} of {} layer{}", suffix, count, count == 1 ? "" : "s"));
  return fmt::format("{}", fmt::join(texts, ", "));
}

void check_frozen(const Graph& graph, const std::vector<std::string>& anew,
                  const std::string& name) {
  for (const int index : graph.norms) {
    if (graph.norm(index).traits().statistics != StatisticsOver::running) continue;
    const std::string tensor = graph.layers[static_cast<std::size_t>(index)].name + ".running_mean";
    if (std::find(anew.begin(), anew.end(), tensor) != anew.end())
      throw CheckpointError(
          fmt::format("{}: has no {}, and norm.kind: frozen needs statistics; give weights of a "
                      "model with batch normalization",
                      name, tensor));
  }
}

}  // namespace

NormChange norm_change(const Graph& graph, const std::vector<std::string>& wants,
                       const std::vector<TensorView>& file, const std::string& name) {
  const NormNames names = names_of(graph);
  const std::set<std::string> wanted(wants.begin(), wants.end());
  std::set<std::string> there;
  NormChange change;
  for (const TensorView& tensor : file) {
    there.insert(tensor.name);
    if (!wanted.contains(tensor.name) && !tensor.name.ends_with(".num_batches_tracked") &&
        depends_on_norm(names, tensor.name))
      change.left_out.push_back(tensor.name);
  }
  for (const std::string& tensor : wants)
    if (!there.contains(tensor) && depends_on_norm(names, tensor)) change.anew.push_back(tensor);
  check_frozen(graph, change.anew, name);
  if (!change.left_out.empty())
    change.notes.push_back(fmt::format("the norms differ; left out, as this model has none: {}",
                                       counted(change.left_out)));
  if (!change.anew.empty())
    change.notes.push_back(fmt::format("the norms differ; not in the file, so they start anew: {}",
                                       counted(change.anew)));
  return change;
}

}  // namespace syncnorm
