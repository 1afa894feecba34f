// Reads weights as PyTorch's users save them, and adapts them to a model.
#pragma once

#include <string>
#include <vector>

#include "engine/state/safetensors.h"

namespace syncnorm {

/// Returns the bytes of model.safetensors, from a checkpoint folder (verified) or a file. Throws
/// CheckpointError for anything unreadable, and says what a file is that is not safetensors: a
/// pickle, a pointer of Git LFS, a web page, an index of several files, an archive.
std::string read_weights(const std::string& path);

/// Returns true for types that a model's tensor can have: F32, F16, BF16, F64.
bool is_floating(const std::string& dtype);

/// Returns the values in f32, rounded to nearest. The type must satisfy is_floating().
std::vector<float> values_in_f32(const TensorView& tensor);

/// Throws CheckpointError, naming the tensor, if a value is not finite, or is negative in a running
/// variance.
void check_values(const std::string& tensor, const std::vector<float>& values,
                  const std::string& file);

/// Removes the prefix that wrappers put before all names ("module." of DistributedDataParallel,
/// "_orig_mod." of torch.compile, "model." of trainers), if names that the model wants exist
/// without it. Returns the prefix, or "".
std::string strip_prefix(std::vector<TensorView>& tensors, const std::vector<std::string>& wanted);

/// Puts the prefix of a network's encoder ("backbone.", "encoder.") before all names, if the model
/// has names of the file with that prefix only: the file is of a classifier. Returns the prefix, or
/// "".
std::string add_encoder_prefix(std::vector<TensorView>& tensors,
                               const std::vector<std::string>& wanted);

}  // namespace syncnorm
