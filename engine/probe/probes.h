// What `probes:` asks for: every N updates, how activations are distributed and what the update
// does to them, how large gradients and updates are, and how the loss looks along its gradient.
//
// All of it is measured in passes of its own after a step, on the step's batch, at the parameters
// before and behind the update and others made from them; then everything is put back, so training
// keeps its bits. What is measured is added in tree order over the replicas: its bits do not depend
// on the number of ranks either.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/probe/landscape.h"
#include "engine/probe/results.h"
#include "engine/program/executor.h"

namespace syncnorm {

class Probes {
 public:
  /// `executor` runs the whole global batch. Collective over `comm`.
  Probes(const Graph& graph, const ProbesConfig& config, Executor& executor, Device& device,
         Communicator& comm, const Placement& placement, Memory& memory);

  bool due(std::int64_t step) const { return step % config_.every_steps == 0; }

  /// Before a step: keeps the parameters.
  void remember();

  /// Behind the update. `state`, `batch`, `samples` and `loss` are those of the step. Collective.
  ProbeEvent measure(StepState state, const BatchView& batch, double samples, double loss);

 private:
  /// The input of a convolution or linear layer that is no image.
  struct Input {
    std::string layer;
    std::size_t instruction = 0;
    int tensor = -1;
    std::size_t channels = 0;
    bool saturates = false, dies = false;  // by the activation function that makes it
    double low = 0.0, high = 0.0;          // values beyond are saturated
    std::size_t offset = 0;  // in a leaf: sums, bins, values that are not 0 by channel
  };
  /// The input of a norm layer.
  struct NormInput {
    std::string layer;
    std::size_t instruction = 0;
    int tensor = -1;
    std::size_t channels = 0;
    std::size_t offset = 0;  // in a leaf: replicas, count, then the vectors of ReplicaSums
  };
  /// The parameters of one conv or linear layer and of the norms that read from it.
  struct Layer {
    std::string name;
    std::vector<Range> ranges;
  };
  using Leaf = std::vector<double>;

  void find_inputs(const Graph& graph);
  void find_norm_inputs();
  void find_layers(const Graph& graph);
  void set_parameters(std::span<const float> values);
  LossAndGradient evaluate(std::span<const float> parameters);
  std::vector<float> gradient() const;
  Leaf distributions(std::span<const float> parameters);
  void add_values(const Input& input, int replica, Leaf& leaf) const;
  void add_norm_values(const NormInput& input, int replica, Leaf& leaf) const;
  Leaf reduced(std::vector<Leaf>& leaves);
  ActivationProbe compare(const Input& input, const Leaf& before, const Leaf& after) const;
  std::vector<GradientProbe> gradients(std::span<const float> after) const;
  LandscapeProbe landscape(double loss);
  std::vector<std::vector<Range>> layer_ranges() const;
  std::vector<CovariateShiftProbe> covariate_shift(std::span<const float> after);
  std::vector<float> gradient_of_half(std::int64_t which, double samples);
  std::vector<SignalToNoiseProbe> signal_to_noise();
  std::vector<ReplicaSpreadProbe> replica_spread(Leaf& sums) const;

  ProbesConfig config_;
  Executor& executor_;
  Device& device_;
  Memory& memory_;
  std::int64_t first_position_ = 0;  // of this rank's samples in the global batch
  std::vector<Input> inputs_;
  std::vector<NormInput> norm_inputs_;
  std::vector<Layer> layers_;
  std::size_t leaf_size_ = 0;
  std::unique_ptr<Reduction<double>> reduction_;

  std::vector<float> before_, gradient_;  // of the step
  StepState state_;
  BatchView batch_;
  double samples_ = 1.0;
};

}  // namespace syncnorm
