// The exponential moving average of the weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017),
// and with ema.statistics: average also of the running statistics of every group of replicas.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/config/experiment.h"
#include "engine/program/executor.h"

namespace syncnorm {

class WeightAverage {
 public:
  /// `program` is the training program. Its memory, and what update() is given, must outlive this.
  WeightAverage(const Program& program, const EmaConfig& config, Device& device, Memory& memory);

  /// Sets the averages to the present weights and running statistics.
  void start();
  /// Queues the update that follows the optimizer's. `factor` is Optimizer::factor(): nothing
  /// changes where the optimizer updates nothing.
  void update(const StepState& state, const float* factor);
  /// Exchanges the averages with memory.parameters and, where they are averaged, memory.running. No
  /// step may be queued.
  void exchange();
  /// Returns true if running statistics are averaged, too.
  bool has_running() const { return running_.bytes() > 0; }
  std::size_t bytes() const { return parameters_.bytes() + running_.bytes(); }

 private:
  Memory& memory_;
  Mirror parameters_, running_;
  std::unique_ptr<Kernel> average_parameters_, average_running_;
};

/// Exchanges the averages with the memory for as long as this lives.
class WithAverage {
 public:
  explicit WithAverage(WeightAverage& average) : average_(average) { average_.exchange(); }
  ~WithAverage() { average_.exchange(); }
  WithAverage(const WithAverage&) = delete;
  WithAverage& operator=(const WithAverage&) = delete;

 private:
  WeightAverage& average_;
};

}  // namespace syncnorm
