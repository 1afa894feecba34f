// Emission of normalization layers. A family of norms is a file here, with its forward and its
// backward pass together; family_of() says which kinds belong to which. What others ask about a
// kind stands in engine/config/norm_traits.h.
//
// To add a norm: its kind and traits there, its operations in kernels/ops/, a file here and a case
// in family_of(). CONTRIBUTING.md lists every step.
#pragma once

#include "engine/program/gradients.h"
#include "engine/program/passes.h"

namespace syncnorm {

/// How the norms of a family are emitted. `unit` is an index of Emission::units.
struct NormFamily {
  /// Gives the value of the unit a tensor, and fills Emission::saved.
  void (*forward)(Emission& emission, std::size_t unit);
  /// Contributes to the gradients of the unit's input and residual.
  void (*backward)(Emission& emission, Gradients& gradients, std::size_t unit);
};

const NormFamily& family_of(NormKind kind);

extern const NormFamily kBatchNorms;   // batch.cpp: statistics over samples, shared by replicas
extern const NormFamily kFrozenNorms;  // frozen.cpp: statistics are constants
extern const NormFamily kGroupNorms;   // group.cpp: statistics within a sample

// Helpers of the families, in norm.cpp.

int norm_channels(const Emission& emission, const Unit& unit);
int norm_pixels(const Emission& emission, const Unit& unit);

/// The unit's running pair, as the program's mode reads it. Fills `saved`.
void add_running_pair(Emission& emission, const Unit& unit, Emission::Saved& saved);

/// Mean and inverse deviation from the running pair, once, for all that follows.
void emit_from_running(Emission& emission, std::size_t unit);

/// y from the saved statistics, and the noise behind it.
void emit_normalize(Emission& emission, std::size_t unit);

/// The gradient of what the norm gave, in at most two tensors: behind noise it passes that first.
std::vector<int> norm_gradient(Emission& emission, Gradients& gradients, std::size_t unit);

/// With a residual the ReLU's input cannot be recomputed from x alone: its output tells. -1: no
/// need.
int relu_mask(Emission& emission, const Unit& unit);

/// Tensors of one unit's backward pass, in the batch family and the frozen one.
struct BatchBackward {
  int dy = kAbsent, dy2 = kAbsent;  // the gradient of what the norm gave, in one or two tensors
  int g = kAbsent;                  // their sum behind the ReLU, where others read it
  int sums = kAbsent;               // of g and g·x̂, this replica's
  int total = kAbsent;              // the same of all replicas that share statistics
  int dx = kAbsent;
};
/// Writes g and the sums. `frozen`: γ, β and the statistics are constants.
void emit_gradient_sums(Emission& emission, std::size_t unit, const BatchBackward& tensors,
                        bool frozen);
/// Writes dx.
void emit_input_gradient(Emission& emission, std::size_t unit, const BatchBackward& tensors,
                         bool frozen);

// noise.cpp

/// Where the norm has noise, the value of the unit becomes what the noise makes of its tensor.
void emit_noise(Emission& emission, std::size_t unit);
/// The gradient before the noise.
int emit_noise_backward(Emission& emission, Gradients& gradients, std::size_t unit);

// weights.cpp: what a conv or linear layer computes with where it is not a parameter itself.

/// Fills `saved` and returns the tensor of the weight.
int emit_weight(Emission& emission, const Unit& unit, Emission::Saved& saved);
/// The tensor for the gradient of that weight, and what follows the instruction that wrote it.
int weight_gradient(Emission& emission, const Unit& unit, const Emission::Saved& saved);
void emit_weight_backward(Emission& emission, const Unit& unit, const Emission::Saved& saved,
                          int gradient);

}  // namespace syncnorm
