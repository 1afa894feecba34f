// See weight_average.h.
#include "engine/train/weight_average.h"

#include <algorithm>
#include <utility>

namespace syncnorm {
namespace {

void copy(Mirror& from, Mirror& to) {
  from.pull();
  std::ranges::copy(from.host<float>(), to.host<float>().begin());
  to.push();
}

}  // namespace

WeightAverage::WeightAverage(const Program& program, const EmaConfig& config, Device& device,
                             Memory& memory)
    : memory_(memory), parameters_(device, memory.parameters.bytes(), program.weight_blocks) {
  const auto kernel = [&](const Mirror& values) {
    return device.compile(
        ExponentialAverage{1, values.bytes() / sizeof(float), config.decay, config.every});
  };
  average_parameters_ = kernel(parameters_);
  if (config.statistics != AverageStatistics::average || !program.has_batch_norms ||
      memory.running.bytes() == 0)
    return;
  running_ = Mirror(device, memory.running.bytes());
  average_running_ = kernel(running_);
}

void WeightAverage::start() {
  copy(memory_.parameters, parameters_);
  if (has_running()) copy(memory_.running, running_);
}

void WeightAverage::update(const StepState& state, const float* factor) {
  const auto run = [&](Kernel& kernel, const Mirror& values, const Mirror& average) {
    kernel.run(pointer_list<ExponentialAverage>({.value = values.device<float>(),
                                                 .factor = factor,
                                                 .average = average.device<float>()}),
               state);
  };
  run(*average_parameters_, memory_.parameters, parameters_);
  if (has_running()) run(*average_running_, memory_.running, running_);
}

void WeightAverage::exchange() {
  std::swap(memory_.parameters, parameters_);
  if (has_running()) std::swap(memory_.running, running_);
}

}  // namespace syncnorm
