// Weights that other programs wrote, as PyTorch's users save them, made fit for a model.
#pragma once

#include <string>
#include <vector>

#include "engine/state/safetensors.h"

namespace syncnorm {

/// The bytes of model.safetensors, from a checkpoint folder (verified) or a file. Throws
/// CheckpointError for what cannot be read, and by name for what is no safetensors file: a pickle,
/// a pointer of Git LFS, a web page, an index of several files, an archive.
std::string read_weights(const std::string& path);

/// Whether a tensor of this type can be one of a model: F32, F16, BF16, F64.
bool is_floating(const std::string& dtype);

/// The values in f32, rounded to nearest. The tensor's type must be one of the above.
std::vector<float> values_in_f32(const TensorView& tensor);

/// Throws CheckpointError, naming the tensor, when a value is not finite, or negative in a running
/// variance.
void check_values(const std::string& tensor, const std::vector<float>& values,
                  const std::string& file);

/// Takes the prefix from all names that wrappers put before all of them ("module." of
/// DistributedDataParallel, "_orig_mod." of torch.compile, "model." of trainers), if the names that
/// the model wants are there without it. Returns the prefix; empty: there is none.
std::string strip_prefix(std::vector<TensorView>& tensors, const std::vector<std::string>& wanted);

}  // namespace syncnorm
