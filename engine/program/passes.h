// The passes that turn a graph into a program, in the order in which compile.cpp runs them.
#pragma once

#include <vector>

#include "engine/program/program.h"
#include "kernels/device.h"

namespace syncnorm {

/// An operation on values (outputs of graph layers) before it becomes instructions.
struct Unit {
  int layer = 0;      // the graph layer that names it and holds its parameters
  int input = -1;     // value
  int residual = -1;  // value added, for Add and for fused norms
  int output = -1;    // value
  bool relu = false;  // norm: fused activation
  int message = -1;   // norm: the message of its statistics, see share()
};

/// Batch norms that send their sums together; the reduction stands where the last one's are ready.
struct Message {
  std::vector<std::size_t> units;  // ascending
  int leaf = -1, result = -1;      // of the forward pass: the sums of all of them
};

/// lower.cpp: one unit per layer that computes something. A flatten of a 1×1 map is the same value
/// (`alias[v]` is the value that stands for v). Checks that every batch norm has enough values.
std::vector<Unit> lower(const Graph& graph, const ProgramOptions& options, std::vector<int>& alias);

/// fuse.cpp: norm + residual add + ReLU become one unit where nothing else reads what is between.
void fuse(const Graph& graph, std::vector<Unit>& units);

/// share.cpp: gives every batch norm a message, and one message to those whose sums are ready
/// together.
std::vector<Message> share(const Graph& graph, const ProgramOptions& options,
                           std::vector<Unit>& units);

/// What the emitting passes share: the program that grows, and which tensor holds which value.
struct Emission {
  const Graph& graph;
  Device& device;
  Program& program;
  std::vector<Unit> units;
  std::vector<int> value;             // tensor of each value, or -1
  std::vector<int> converted;         // the same in the other storage, where something reads it
  std::vector<int> parameter_tensor;  // of each graph parameter
  std::vector<int> gradient_tensor;

  std::vector<Message> messages;

  // Kept by the forward pass for the backward one, per unit. Of a batch norm: its own sums, those
  // of the group, the correction of batch renormalization, the totals of an L1 or L∞ deviation.
  struct Saved {
    int running_mean = -1, running_var = -1;
    int mean = -1, inv_std = -1, moments = -1, total = -1, correction = -1;
    int deviation = -1, maxima = -1;
    int workspace = -1, sample_ids = -1;
    int packed_dgrad = -1;
    int weight = -1, weight_mean = -1, weight_scale = -1;
  };
  std::vector<Saved> saved;
  int logits_gradient = -1;

  int add_tensor(std::string name, std::size_t bytes, Per per, Space space = Space::arena,
                 char element = 'f');
  /// One that never shares its place in the arena.
  int add_persistent(std::string name, std::size_t bytes, Per per, char element);
  /// A part of tensor `whole`, from byte `within`; it has no place of its own.
  int add_view(int whole, std::string name, std::size_t bytes, std::size_t within);
  /// A tensor for the samples of a replica of `v` or of its gradient.
  int add_values(std::string name, int v, Storage storage);
  /// How value `v` is stored.
  Storage storage(int v) const;
  /// The tensor of value `v` as it is stored in `wanted`; forward pass: converts it at first use.
  int value_in(int v, Storage wanted);
  int stored_value(int v) { return v < 0 ? -1 : value_in(v, program.options.storage); }
  /// The tensors that a unit reads, and a new one for what it writes, as activations are stored.
  int input(const Unit& unit) { return stored_value(unit.input); }
  int residual(const Unit& unit) { return stored_value(unit.residual); }
  int output(const Unit& unit);
  int sample_ids();
  /// `op` on activations as this program stores them.
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
  /// Sums `leaf` over the replicas that share statistics: a start and a wait, or nothing at all.
  /// Returns the tensor that holds the sum.
  int emit_statistics_reduction(Pass pass, const std::string& layer, int leaf, std::size_t count,
                                Combine combine = Combine::sum);
  bool batch_statistics() const;  // are taken by this program
  const Layer& layer(int v) const { return graph.layers[static_cast<std::size_t>(v)]; }
  const Shape& shape(int v) const { return layer(v).shape; }
  const std::string& name(const Unit& unit) const { return layer(unit.layer).name; }
  int parameter(const Unit& unit, ParameterRole role) const;
  int parameter_gradient(const Unit& unit, ParameterRole role) const;
  Scope scope() const;  // of operations that know no replicas
  int samples() const;
  ConvShape conv_shape(const Unit& unit) const;
  PoolShape pool_shape(const Unit& unit) const;
  bool trained(int parameter) const;  // a graph parameter that gets a gradient

 private:
  Instruction& append(Pass pass, Scope scope, const std::string& layer, const Op& op,
                      std::vector<int> args, std::size_t inputs);
};

void emit_forward(Emission& emission);   // forward.cpp
void emit_backward(Emission& emission);  // backward.cpp

/// overlap.cpp: moves what does not depend on a forward statistics reduction in front of its wait.
void overlap_forward(Program& program);

/// schedule.cpp: moves weight gradients under statistics reductions, lays the parameters out in the
/// order in which their gradients become complete, and starts each bucket behind its last gradient.
void schedule(Emission& emission);

/// allocate.cpp: gives arena tensors places for `wave` replicas and `groups` groups computed
/// together, out of `replicas` local replicas; tensors whose lives overlap do not. Returns the
/// size.
std::size_t allocate(Program& program, int wave, int groups, int replicas);

}  // namespace syncnorm
