// The measurements of `probes:`: every N updates, the distribution of activations and its change by
// the update, the size of gradients and updates, and the loss along its gradient.
//
// They run in separate passes after a step, on the step's batch, with the parameters before and
// after the update and others derived from them. All state is then restored, so training stays
// bit-identical. Results are added over replicas in tree order, so they do not depend on the number
// of ranks.
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

  /// Copies the parameters before a step.
  void remember();

  /// Measures after the update. `state`, `batch`, `samples` and `loss` are those of the step.
  /// Collective.
  ProbeEvent measure(StepState state, const BatchView& batch, double samples, double loss);

 private:
  /// The input of a convolution or linear layer, unless it is an image.
  struct Input {
    std::string layer;
    std::size_t instruction = 0;
    int tensor = -1;
    std::size_t channels = 0;
    bool saturates = false, dies = false;  // depending on the activation function that produces it
    double low = 0.0, high = 0.0;          // values outside are saturated
    std::size_t offset = 0;  // in a leaf: sums, bins, count of nonzero values per channel
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
  std::vector<std::uint8_t> masks_where(const std::vector<std::int32_t>& labels) const;
  std::vector<SignalToNoiseProbe> signal_to_noise();
  std::vector<ReplicaSpreadProbe> replica_spread(Leaf& sums) const;

  ProbesConfig config_;
  Executor& executor_;
  Device& device_;
  Memory& memory_;
  std::int64_t first_position_ = 0;  // of this rank's first sample in the global batch
  std::vector<Input> inputs_;
  std::vector<NormInput> norm_inputs_;
  std::vector<Layer> layers_;
  std::size_t leaf_size_ = 0;
  std::unique_ptr<Reduction<double>> reduction_;

  std::vector<float> before_, gradient_;  // for the step
  StepState state_;
  BatchView batch_;
  double samples_ = 1.0;
};

}  // namespace syncnorm
