// See layer_statistics.h.
#include "engine/probe/layer_statistics.h"

#include <algorithm>
#include <map>

#include "engine/probe/replica_spread.h"
#include "kernels/norm_math.h"

namespace syncnorm {
namespace {

/// Variance below this share of the squared mean is rounding error, too small to divide by.
constexpr double kTinyShare = 1e-12;

/// The sums of a norm over the batch, when the instruction has just computed them.
struct SumsTensor {
  int tensor = -1;
  int channels = 0;
};

/// Those of one replica.
SumsTensor replica_tensor(const Instruction& instruction) {
  if (const auto* moments = std::get_if<BatchMoments>(&instruction.op))
    return {named_tensors<BatchMoments>(instruction.args).sums.index, moments->channels};
  if (const auto* moments = std::get_if<EvoNormMoments>(&instruction.op))
    return {named_tensors<EvoNormMoments>(instruction.args).sums.index, moments->channels};
  return {};
}

/// Those of its group, which the instruction has read; -1 if it reads none.
int group_tensor(const Instruction& instruction) {
  if (std::holds_alternative<BatchFinalize>(instruction.op))
    return named_tensors<BatchFinalize>(instruction.args).sums.index;
  if (std::holds_alternative<MomentumFinalize>(instruction.op))
    return named_tensors<MomentumFinalize>(instruction.args).sums.index;
  if (std::holds_alternative<MovingFinalize>(instruction.op))
    return named_tensors<MovingFinalize>(instruction.args).sums.index;
  return -1;
}

}  // namespace

LayerStatistics::LayerStatistics(const Program& program, int limit)
    : layer_by_instruction_(program.instructions.size(), -1) {
  std::map<std::string, int> index;
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& instruction = program.instructions[i];
    if (instruction.kind != InstructionKind::compute) continue;
    const SumsTensor sums = replica_tensor(instruction);
    if (sums.tensor >= 0) {
      if (static_cast<int>(layers_.size()) == limit) continue;
      index[instruction.layer] = static_cast<int>(layers_.size());
      layers_.push_back({instruction.layer, sums.channels});
    } else if (group_tensor(instruction) < 0) {
      continue;
    }
    const auto found = index.find(instruction.layer);
    if (found != index.end()) layer_by_instruction_[i] = found->second;
  }
  for (const LayerInfo& info : layers_) {
    Layer layer;
    for (auto* values : {&layer.sum, &layer.square, &layer.means, &layer.means2, &layer.variances,
                         &layer.variances2})
      values->resize(static_cast<std::size_t>(info.channels));
    state_.push_back(std::move(layer));
  }
  for (Layer& layer : state_) {
    LayerSums sums;
    sums.sum = layer.sum;
    sums.square = layer.square;
    sums.means = layer.means;
    sums.means2 = layer.means2;
    sums.variances = layer.variances;
    sums.variances2 = layer.variances2;
    sums_.push_back(sums);
  }
}

void LayerStatistics::begin(Executor& executor) {
  for (Layer& layer : state_) {
    for (auto* values : {&layer.sum, &layer.square, &layer.means, &layer.means2, &layer.variances,
                         &layer.variances2})
      std::ranges::fill(*values, 0.0);
    layer.groups_seen = 0;
  }
  for (LayerSums& sums : sums_)
    sums.replicas = sums.count = sums.effective_count = sums.drift = sums.drift_terms = 0.0;
  executor.add_hook(*this);
}

std::span<const LayerSums> LayerStatistics::end(Executor& executor) {
  executor.remove_hook(*this);
  return sums_;
}

void LayerStatistics::ran(Executor& executor, std::size_t index, int replica) {
  if (layer_of(index) < 0) return;
  const Instruction& instruction = executor.program().instructions[index];
  if (const SumsTensor sums = replica_tensor(instruction); sums.tensor >= 0)
    replica_sums(index, executor.tensors().doubles(sums.tensor, replica));
  else
    group_sums(index, executor.tensors().doubles(group_tensor(instruction), replica));
}

void LayerStatistics::replica_sums(std::size_t instruction, std::span<const double> sums) {
  const int index = layer_of(instruction);
  const double n = sums[0];
  if (index < 0 || n <= 0.0) return;  // an empty replica of a smaller last batch
  Layer& layer = state_[static_cast<std::size_t>(index)];
  LayerSums& total = sums_[static_cast<std::size_t>(index)];
  total.replicas += 1.0;
  total.count += n;
  add_replica(sums, {layer.sum, layer.square, layer.means, layer.means2, layer.variances,
                     layer.variances2});
}

void LayerStatistics::group_sums(std::size_t instruction, std::span<const double> sums) {
  const int index = layer_of(instruction);
  if (index < 0) return;
  Layer& layer = state_[static_cast<std::size_t>(index)];
  LayerSums& total = sums_[static_cast<std::size_t>(index)];
  const std::size_t channels = layer.sum.size();
  const std::size_t group = layer.groups_seen++;
  const double n = sums[0];
  if (n <= 0.0) return;
  if (layer.last.size() <= group) layer.last.resize(group + 1);
  std::vector<double>& last = layer.last[group];
  const bool first = last.empty();
  last.resize(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const MeanVariance m = from_sums(n, sums[1 + c], sums[1 + channels + c]);
    const double change = m.mean - last[c];
    last[c] = m.mean;
    if (first || m.variance <= kTinyShare * m.mean * m.mean) continue;
    total.drift += change * change / m.variance;
    total.drift_terms += 1.0;
  }
  total.effective_count = total.effective_count == 0.0 ? n : std::min(total.effective_count, n);
}

}  // namespace syncnorm
