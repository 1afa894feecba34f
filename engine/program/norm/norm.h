// Emission of normalization layers. Each family of norms is one file here that contains its forward
// and backward pass; family_of() maps kinds to families. Other properties of a kind are in
// engine/config/norm_traits.h.
//
// A new norm needs: its kind and traits there, its operations in kernels/ops/, and a file and a
// case in family_of() here. CONTRIBUTING.md lists every step.
#pragma once

#include "engine/program/gradients.h"
#include "engine/program/passes.h"

namespace syncnorm {

/// The emission functions of a family. `unit` is an index of Emission::units.
struct NormFamily {
  /// Assigns a tensor to the unit's value, and fills Emission::saved.
  void (*forward)(Emission& emission, std::size_t unit);
  /// Contributes to the gradients of the unit's input and residual.
  void (*backward)(Emission& emission, Gradients& gradients, std::size_t unit);
};

const NormFamily& family_of(const NormConfig& norm);

extern const NormFamily kBatchNorms;       // batch.cpp: statistics over samples, shared by replicas
extern const NormFamily kFrozenNorms;      // frozen.cpp: statistics are constants
extern const NormFamily kGroupNorms;       // group.cpp: statistics within a sample
extern const NormFamily kChannelNorms;     // channel.cpp: statistics within a pixel
extern const NormFamily kActivatedNorms;   // activated.cpp: the norm contains its activation
extern const NormFamily kPointwiseNorms;   // pointwise.cpp: a function of each value
extern const NormFamily kSwitchableNorms;  // switchable.cpp: mixtures of the others' statistics

// Helpers of the families, in norm.cpp.

int norm_channels(const Emission& emission, const Unit& unit);
int norm_pixels(const Emission& emission, const Unit& unit);
int norm_groups(const Emission& emission, const Unit& unit);

/// Adds the tensors of the mean and inverse deviation of every sample and channel. Fills `saved`.
void add_sample_statistics(Emission& emission, const Unit& unit, Emission::Saved& saved);

/// Adds the tensors of the unit's running mean and variance, as the program's mode uses them. Fills
/// `saved`.
void add_running_pair(Emission& emission, const Unit& unit, Emission::Saved& saved);

/// Adds the total of a batch's sums to the totals over batches (ProgramMode::statistics).
void emit_accumulate(Emission& emission, const Unit& unit, int sums, std::size_t count);

/// Emits mean and inverse deviation from the running pair, once for all batches.
void emit_from_running(Emission& emission, std::size_t unit);

/// Emits y from the saved statistics, and the noise after it.
void emit_normalize(Emission& emission, std::size_t unit);

/// Returns the gradient of the norm's output before any noise, in at most two tensors.
std::vector<int> norm_gradient(Emission& emission, Gradients& gradients, std::size_t unit);

/// Returns the output as the ReLU mask for a unit with a residual, whose ReLU input cannot be
/// recomputed from x alone; -1 if no mask is needed.
int relu_mask(Emission& emission, const Unit& unit);

/// Tensors of the backward pass of a norm that reduces nothing over replicas.
struct LocalBackward {
  int dy = kAbsent, dy2 = kAbsent;  // gradient of the norm's output, in one or two tensors
  int g = kAbsent;                  // their sum after the ReLU mask, if others read it
  int dx = kAbsent;                 // written always; a norm directly on the images does not use it
};
LocalBackward local_backward(Emission& emission, Gradients& gradients, std::size_t unit);
/// Contributes dx and g to the gradients of the unit's input and residual, once they are emitted.
void contribute(Gradients& gradients, const Unit& unit, const LocalBackward& tensors);

/// Tensors of one unit's backward pass, in the batch and frozen families.
struct BatchBackward {
  int dy = kAbsent, dy2 = kAbsent;  // gradient of the norm's output, in one or two tensors
  int g = kAbsent;                  // their sum after the ReLU mask, if others read it
  int sums = kAbsent;               // sums of g and g·x̂ of this replica
  int total = kAbsent;              // the same of all replicas that share statistics
  int sample_sums = kAbsent;        // EvoNorm-B0: of each sample
  int dx = kAbsent;
};
/// Emits g, the sums, and the gradients of γ and β where they are trained.
void emit_gradient_sums(Emission& emission, std::size_t unit, const BatchBackward& tensors);
/// Emits dx. `frozen`: the statistics are constants.
void emit_input_gradient(Emission& emission, std::size_t unit, const BatchBackward& tensors,
                         bool frozen);

// moving.cpp and cross_iteration.cpp: batch norms whose statistics are of several updates.

/// Emit the statistics from the group's sums, of momentum and of moving average batch norm.
void emit_momentum_finalize(Emission& emission, std::size_t unit);
void emit_moving_finalize(Emission& emission, std::size_t unit);
/// Emits the statistics of cross-iteration batch norm from the group's sums and the kept updates.
void emit_cross_iteration_finalize(Emission& emission, std::size_t unit);
/// Emits what it keeps of this update: from the input of the layer before and its output, which is
/// the norm's input. Two more messages where replicas share statistics.
void emit_cross_iteration_keep(Emission& emission, std::size_t unit);
/// Emit the sums that the input gradient takes in place of `total`; return their tensor.
int emit_momentum_gradient(Emission& emission, std::size_t unit, int total);
int emit_moving_gradient(Emission& emission, std::size_t unit, int total);

// evonorm_batch.cpp: EvoNorm-B0.

/// Emits the group's and the samples' sums; without a tensor for the former, the samples' only.
void emit_evonorm_moments(Emission& emission, std::size_t unit);
/// Emits y from the saved statistics, and the noise after it.
void emit_evonorm_apply(Emission& emission, std::size_t unit);
/// Emits g, the sums, and the gradients of its parameters. Fills tensors.sample_sums.
void emit_evonorm_sums(Emission& emission, std::size_t unit, BatchBackward& tensors);
void emit_evonorm_input_gradient(Emission& emission, std::size_t unit,
                                 const BatchBackward& tensors);

// noise.cpp

/// Emits the noise, if the norm has any, and makes its output the value of the unit.
void emit_noise(Emission& emission, std::size_t unit);
/// Emits the backward pass of the noise; returns the gradient before it.
int emit_noise_backward(Emission& emission, Gradients& gradients, std::size_t unit);

// weights.cpp: weights of conv and linear layers that are computed from parameters.

/// Fills `saved` and returns the tensor of the weight.
int emit_weight(Emission& emission, const Unit& unit, Emission::Saved& saved);
/// Returns true if that weight is computed; otherwise it is the parameter itself.
inline bool computed_weight(const Emission::Saved& saved) { return saved.weight_scale >= 0; }
/// Returns the tensor for the gradient of that weight; emit_weight_backward() emits what follows
/// the instruction that wrote it.
int weight_gradient(Emission& emission, const Unit& unit, const Emission::Saved& saved);
void emit_weight_backward(Emission& emission, const Unit& unit, const Emission::Saved& saved,
                          int gradient);

}  // namespace syncnorm
