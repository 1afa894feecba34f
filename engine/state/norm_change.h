// Weights of a model with other norms: what is taken over, what is left out, what starts anew.
#pragma once

#include <string>
#include <vector>

#include "engine/model/graph.h"
#include "engine/state/safetensors.h"

namespace syncnorm {

/// Tensors in which a file and a model differ only because their norms differ: parameters and
/// statistics of norm layers, and biases of the layers before them.
struct NormChange {
  std::vector<std::string> left_out;  // tensors of the file
  std::vector<std::string> anew;      // tensors of the model
  std::vector<std::string> notes;     // both, for the user
};

/// Compares the tensors of `file` with the names that the model `wants`. Throws CheckpointError if
/// statistics that the model freezes are missing; `name` is the file's.
NormChange norm_change(const Graph& graph, const std::vector<std::string>& wants,
                       const std::vector<TensorView>& file, const std::string& name);

}  // namespace syncnorm
