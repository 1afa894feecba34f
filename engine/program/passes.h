// The passes that turn a graph into a program, in the order in which compile.cpp runs them.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/program/program.h"
#include "kernels/device.h"

namespace syncnorm {

/// One or several fused layers before they become instructions. A value is the output of a layer.
struct Unit {
  int layer = 0;                 // the graph layer that names it and holds its parameters
  int input = -1;                // value
  int residual = -1;             // value added, for Add and for fused norms
  int output = -1;               // value
  bool relu = false;             // norm: fused activation
  int message = -1;              // norm: the message of its statistics, see share()
  std::vector<int> others = {};  // concat, multiply: the values read beside `input`
};

/// Returns how often the unit reads a value.
inline int times_read(const Unit& unit, int value) {
  return (unit.input == value ? 1 : 0) + (unit.residual == value ? 1 : 0) +
         static_cast<int>(std::count(unit.others.begin(), unit.others.end(), value));
}

/// Batch norms that send their sums together, in a reduction that starts when the last sums are
/// ready.
struct Message {
  std::vector<std::size_t> units;  // ascending
  int leaf = -1, result = -1;      // sums of all units, in the forward pass
};

/// lower.cpp: makes one unit per layer that computes something. A layer that does not, such as the
/// flatten of a 1×1 map, shares the value of its input: `alias[v]` replaces v. Throws InputError if
/// a batch norm has one value per channel.
std::vector<Unit> lower(const Graph& graph, const ProgramOptions& options, std::vector<int>& alias);

/// fuse.cpp: fuses norm + residual add + ReLU into one unit if the norm can, and nothing else reads
/// the values between.
void fuse(const Graph& graph, std::vector<Unit>& units);

/// share.cpp: gives every batch norm a message; norms whose sums are ready together share one.
std::vector<Message> share(const Graph& graph, const Program& program, std::vector<Unit>& units);

/// State of the emitting passes: the growing program, and the tensor of each value.
struct Emission {
  const Graph& graph;
  Device& device;
  Program& program;
  std::vector<Unit> units;
  std::vector<int> value;             // tensor of each value, or -1
  std::vector<int> converted;         // the same in the other storage, if something reads it
  std::vector<int> parameter_tensor;  // per graph parameter
  std::vector<int> gradient_tensor;

  // The bf16 copies of parameters that convolutions read (Device::channels_last_weights), and the
  // parameters.
  std::vector<std::pair<int, int>> narrowed_weights;

  std::vector<Message> messages;

  // Tensors that the forward pass keeps for the backward pass, per unit. Batch norm has: its own
  // sums (`moments`), the group's (`total`), the correction of batch renormalization, the totals of
  // an L1 or L∞ deviation; those with a memory of earlier updates the values they keep, and what
  // the gradient needs of them.
  struct Saved {
    int running_mean = -1, running_var = -1;
    int mean = -1, inv_std = -1, moments = -1, total = -1, correction = -1;
    int deviation = -1, maxima = -1;
    int layer = -1, batch = -1;  // of switchable norm
    std::vector<int> kept;
    int mixing = -1;
    int sample_mean = -1, sample_deviation = -1;  // EvoNorm-B0
    int workspace = -1, sample_ids = -1;
    int packed_dgrad = -1;  // weights for the input gradient
    int weight = -1, weight_mean = -1, weight_scale = -1;
  };
  std::vector<Saved> saved;
  int logits_gradient = -1;

  int add_tensor(std::string name, std::size_t bytes, Per per, Space space = Space::arena,
                 char element = 'f');
  /// Adds an arena tensor that never shares its memory.
  int add_persistent(std::string name, std::size_t bytes, Per per, char element);
  /// Adds a view of tensor `whole` that starts at byte `within`; it has no memory of its own.
  int add_view(int whole, std::string name, std::size_t bytes, std::size_t within);
  /// Adds a tensor for value `v` of one replica's samples, or for its gradient.
  int add_values(std::string name, int v, Storage storage);
  /// Returns the storage of value `v`.
  Storage storage(int v) const;
  /// Returns the tensor of value `v` in storage `wanted`; the forward pass converts it at first
  /// use.
  int value_in(int v, Storage wanted);
  int stored_value(int v) { return v < 0 ? -1 : value_in(v, program.options.storage); }
  /// The tensors that a unit reads, and a new one for its output, in the storage of activations.
  int input(const Unit& unit) { return stored_value(unit.input); }
  int residual(const Unit& unit) { return stored_value(unit.residual); }
  int output(const Unit& unit);
  int sample_ids();
  /// Returns the floats that a parameter occupies in the flat buffers, for the device's alignment.
  std::size_t padded(std::size_t count) const;
  /// Returns `op` for the storage of this program's activations.
  template <class ActivationOp>
  ActivationOp stored(ActivationOp op) const {
    op.storage = program.options.storage;
    return op;
  }
  void emit_conversion(Pass pass, int v, Storage from, int source, int target);
  template <class O>
  Instruction& emit(Pass pass, Scope scope, const std::string& layer, const O& op,
                    const TensorsOf<O>& operands) {
    const auto list = tensor_list<O>(operands);
    return append(pass, scope, layer, op, {list.begin(), list.end()}, kInputs<O>);
  }
  /// Emits the sum of `leaf` over the replicas that share statistics: a start and a wait, or
  /// nothing if each replica has its own. Returns the tensor of the sum.
  int emit_statistics_reduction(Pass pass, const std::string& layer, int leaf, std::size_t count,
                                Combine combine = Combine::sum);
  const NormConfig& norm(const Unit& unit) const { return graph.norm(unit.layer); }
  /// Returns true if this program computes the statistics of the norm over the batch.
  bool batch_statistics(const Unit& unit) const;
  const Layer& layer(int v) const { return graph.layers[static_cast<std::size_t>(v)]; }
  const Shape& shape(int v) const { return layer(v).shape; }
  const std::string& name(const Unit& unit) const { return layer(unit.layer).name; }
  int parameter(const Unit& unit, ParameterRole role) const;
  int parameter_gradient(const Unit& unit, ParameterRole role) const;
  Scope scope() const;  // of operations that may merge replicas
  int samples() const;
  /// The shape of a convolution; of a transposed one the convolution that it mirrors, from its
  /// output to its input.
  ConvShape conv_shape(const Unit& unit) const;
  PoolShape pool_shape(const Unit& unit) const;
  UpsampleShape upsample_shape(const Unit& unit) const;
  Factor factor_of(const Unit& unit) const;
  bool trained(int parameter) const;  // true if the graph parameter gets a gradient

 private:
  Instruction& append(Pass pass, Scope scope, const std::string& layer, const Op& op,
                      std::vector<int> args, std::size_t inputs);
};

void emit_forward(Emission& emission);   // forward.cpp
void emit_backward(Emission& emission);  // backward.cpp

/// overlap.cpp: moves instructions that do not depend on a forward statistics reduction before its
/// wait.
void overlap_forward(Program& program);

/// schedule.cpp: moves weight gradients under statistics reductions, lays out the parameters in the
/// order in which their gradients are complete, and starts each bucket after its last gradient.
void schedule(Emission& emission);

/// allocate.cpp: assigns offsets to arena tensors for `wave` replicas and `groups` groups computed
/// together, out of `replicas` local replicas; tensors with overlapping lifetimes do not overlap.
/// Returns the size of the arena in bytes.
std::size_t allocate(Program& program, int wave, int groups, int replicas);

}  // namespace syncnorm
