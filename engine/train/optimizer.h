// The optimizer: state in flat buffers with the parameters' layout, one fused pass per stretch of
// parameters with the same hyperparameters.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/program/executor.h"
#include "engine/state/state_files.h"

namespace syncnorm {

class Optimizer {
 public:
  Optimizer(const Graph& graph, const Program& program, const OptimizerConfig& config,
            Device& device);

  /// Queues the update of `memory.parameters` from the reduced gradient in slot 0 of
  /// `memory.gradients`. If the gradient norm or `loss[0]`, both on the device, is not finite, no
  /// parameter is updated from then on until go_on().
  void update(const Memory& memory, const StepState& state, const double* loss);
  void go_on();
  /// Returns the squared global 2-norm of the gradient that update() computed, on the device.
  const double* squared_norm() const { return norm_.device<double>(); }
  /// Returns the factor that multiplied the gradient in update(), on the device; nan: no update.
  const float* factor() const { return factor_.as<float>().data(); }
  /// Computes the gradient's global 2-norm now.
  double gradient_norm(const Memory& memory);

  /// Returns the vectors that a checkpoint saves: "momentum", or "exp_avg" and "exp_avg_sq".
  std::vector<OptimizerVector> state();
  std::size_t bytes() const;

 private:
  void sum_squares(const Memory& memory);
  void add_clips(const Graph& graph, const Program& program);

  struct Clip {
    std::size_t offset = 0;
    std::unique_ptr<Kernel> kernel;
  };
  struct Stretch {
    std::size_t offset = 0, count = 0;
    std::unique_ptr<Kernel> kernel;
  };
  OptimizerConfig config_;
  Device* device_;
  std::size_t count_ = 0;
  Mirror first_, second_;
  Mirror norm_;
  Buffer factor_;  // for GradientFactor
  std::unique_ptr<Kernel> sum_of_squares_, gradient_factor_;
  std::vector<Clip> clips_;  // adaptive clipping: one per parameter
  std::vector<Stretch> stretches_;
};

}  // namespace syncnorm
