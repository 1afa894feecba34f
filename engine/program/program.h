// A training step or an evaluation as a flat list of instructions over named tensors.
//
// The list is the same on every rank. Only the number of replicas for which an instruction is
// repeated, and thus the size of the arena, depends on the placement. Instructions refer to tensors
// by index, tensors lie in spaces, and a space gets its base address when the program runs: the
// same program can run on the live parameters or on a copy.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "comm/tree.h"
#include "engine/model/graph.h"
#include "kernels/ops.h"
#include "kernels/weight_layout.h"

namespace syncnorm {

enum class Space {
  arena,      // activations, their gradients, statistics; offsets from allocate.cpp
  packed,     // convolution weights in the device's layout
  parameter,  // f32, flat
  gradient,   // f32, flat, one copy per slot of the fold plan
  running,    // running statistics, one set per group of replicas
  averaged,   // running statistics for evaluation, one set
  history,    // what norms keep of earlier updates, one set per group of replicas
  image,      // the batch
  label,
  mask,  // the class of each pixel
  sample_id,
};

/// Number of copies of a tensor. `replica` and `group` copies persist; `wave_*` copies live during
/// one pass over the replicas that are computed together.
enum class Per { once, wave_replica, wave_group, replica, group };

struct Tensor {
  std::string name;
  Space space = Space::arena;
  std::size_t bytes = 0;  // per copy
  Per per = Per::wave_replica;
  std::size_t offset = 0;   // in the space, bytes
  std::size_t stride = 0;   // from one copy to the next, bytes
  bool persistent = false;  // arena: never shares its memory
  char element = 'f';       // 'f' f32, 'h' bf16, 'd' f64, 'o' other
  int whole = -1;           // arena: the tensor of which this one is a view,
  std::size_t within = 0;   // starting at this byte
};

enum class InstructionKind { compute, reduce_start, reduce_wait };
/// Repetition of a compute instruction: once per program, for each replica, for each group of
/// replicas that share statistics, or once for the samples of all the rank's replicas together.
enum class Scope { once, replica, group, merged };
enum class Pass { prepare, forward, backward };

struct Instruction {
  InstructionKind kind = InstructionKind::compute;
  Scope scope = Scope::replica;
  Pass pass = Pass::forward;
  std::string layer;
  Op op;                    // for a full replica
  std::vector<int> args;    // tensor indices in the order of ops.h; -1: absent
  int first_output = 0;     // args from this index on are written
  int reduction = -1;       // reduce_start, reduce_wait
  bool deferrable = false;  // wgrad: may run later, under a reduction
};

enum class ReductionKind { forward_statistics, backward_statistics, gradient, loss };

struct ReductionSpec {
  ReductionKind kind = ReductionKind::forward_statistics;
  std::string name;
  int leaf = -1;           // tensor with one copy per replica (not for gradients)
  int result = -1;         // tensor that receives the sum
  std::size_t count = 0;   // values per leaf: f64, or f32 for gradients
  std::size_t offset = 0;  // gradients: first value of the bucket in the flat buffer
  Combine combine = Combine::sum;
};

/// Values that a norm layer keeps from update to update beside its running pair, and that its
/// evaluation does not read. They start at 0.
struct KeptValues {
  std::string suffix;  // of the tensor's name, behind the layer's
  std::size_t offset = 0;
  std::vector<std::int64_t> shape;

  std::size_t count() const {
    std::size_t values = 1;
    for (const std::int64_t extent : shape) values *= static_cast<std::size_t>(extent);
    return values;
  }
};

/// Offsets of a norm layer's running mean and variance in `running` and `averaged`, in floats.
struct RunningSlot {
  int layer = 0;
  int channels = 0;
  std::size_t mean = 0, variance = 0;
  std::vector<KeptValues> kept;
  std::vector<KeptValues> history;  // in the space of that name, in training only
  int totals = -1;  // with batch statistics outside training: f64 [2C+1] per group, the sums over
                    // all batches so far
};

/// `statistics` runs only the forward pass, with batch statistics, and sums them over the batches
/// (RunningSlot::totals). `batch_evaluation` does the same as an evaluation: without dropout, with
/// noise at its mean, and with a loss. `mixed_evaluation` mixes the statistics of a replica's only
/// sample with the averaged running ones (BatchMix).
enum class ProgramMode { training, evaluation, statistics, batch_evaluation, mixed_evaluation };

/// Returns true for the modes that evaluate: on one rank, without any reduction.
constexpr bool evaluates(ProgramMode mode) {
  return mode != ProgramMode::training && mode != ProgramMode::statistics;
}

struct ProgramOptions {
  ProgramMode mode = ProgramMode::training;
  int replicas = 1;
  int batch_per_replica = 1;
  int global_samples = 1;            // the gradient is the mean over these samples
  std::vector<int> replica_samples;  // per replica, for a smaller last batch; empty: all full
  int synced_replicas = 1;           // replicas that share the statistics of batch norms
  int total_updates = 0;             // of the whole training
  LossConfig loss;
  bool per_pixel = false;       // the network classifies every pixel; else the image
  bool merge_replicas = false;  // reduction: fastest
  // Reduce everything through the communicator, on one rank too, and the statistics of a single
  // replica as SyncBN's. For devices with their own memory; to measure the cost.
  bool force_reductions = false;
  // Storage of activations and their gradients. Inputs of linear layers and logits are f32, and so
  // are images but for Program::image_storage.
  Storage storage = Storage::f32;
  bool stored_images = false;  // the device makes the images (BatchInput::make_images)
  std::size_t first_bucket_bytes = std::size_t{1} << 20;
  std::size_t bucket_bytes = std::size_t{25} << 20;
};

struct Program {
  ProgramOptions options;
  std::vector<std::size_t> parameter_counts;  // per graph parameter
  std::vector<Tensor> tensors;
  std::vector<Instruction> instructions;
  std::vector<ReductionSpec> reductions;
  std::vector<std::size_t> parameter_offset;  // per graph parameter, in floats
  std::size_t parameter_floats = 0;
  std::size_t trained_floats = 0;  // the first ones; the others are frozen
  std::vector<RunningSlot> running;
  std::size_t running_floats = 0;  // per set
  std::size_t history_floats = 0;
  std::size_t packed_bytes = 0;
  std::vector<WeightBlock> weight_blocks;   // Device::channels_last_weights(); else empty
  std::vector<WeightBlock> history_blocks;  // of a set
  // Storage of the batch's images: f32, or that of activations where the device makes the images
  // and nothing reads them in f32.
  Storage image_storage = Storage::f32;
  int loss_reduction = -1;
  int loss_tensor = -1;  // f64 [kLossValues] per replica
  int logits_tensor = -1;
  // In an evaluation: i32 [samples, pixels], the predicted classes; and f64 [2, classes] with a
  // Dice loss per pixel, whose counts are those of the masks.
  int predictions_tensor = -1, dice_tensor = -1;
  bool statistics_cross_replicas = false;
  bool has_batch_norms = false;  // there is a norm with statistics over the batch

  int group_size() const {  // replicas that share statistics
    return has_batch_norms ? options.synced_replicas : 1;
  }
  /// Returns true if the sums of batch norms are reduced over replicas.
  bool reduces_statistics() const {
    return has_batch_norms &&
           (options.synced_replicas > 1 || (options.force_reductions && options.replicas == 1));
  }
};

/// The values of a loss leaf.
inline constexpr std::size_t kLossValues = kLossTotals;

/// Returns the mean loss, and the share of correct samples or pixels, from these values; 0 where
/// nothing counts.
template <class Values>
double mean_loss(const Values& values) {
  return values[4] != 0.0 ? values[0] / values[4] : values[0];
}
template <class Values>
double correct_share(const Values& values) {
  return values[3] > 0.0 ? values[1] / values[3] : 0.0;
}

}  // namespace syncnorm
