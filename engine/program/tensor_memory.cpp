// See tensor_memory.h.
#include "engine/program/tensor_memory.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <type_traits>

#include "kernels/bfloat16.h"

namespace syncnorm {

LocalReplicas::LocalReplicas(const Program& program, Interval own, int group_size)
    : count(own.size()) {
  const ProgramOptions& options = program.options;
  for (int r = own.begin; r < own.end; ++r) {
    samples.push_back(options.replica_samples.empty()
                          ? options.batch_per_replica
                          : options.replica_samples[static_cast<std::size_t>(r)]);
    const int group = r / group_size - own.begin / group_size;
    groups_of.push_back(group);
    if (group == static_cast<int>(members.size()))
      members.push_back({r - own.begin, r - own.begin});
    members.back().end = r - own.begin + 1;
  }
  compute_together(least_wave(program, count));
}

int LocalReplicas::least_wave(const Program& program, int count) {
  return program.statistics_cross_replicas || program.options.merge_replicas ? count : 1;
}

void LocalReplicas::compute_together(int replicas) {
  wave = replicas;
  groups_in_wave = replicas == count ? static_cast<int>(members.size()) : replicas;
}

bool LocalReplicas::equal_samples() const {
  return count > 0 && samples[0] > 0 &&
         std::all_of(samples.begin(), samples.end(), [&](int s) { return s == samples[0]; });
}

std::byte* TensorMemory::at(int index, int replica) const {
  const Tensor& t = tensor(index);
  std::byte* base = nullptr;
  // Casts away const: batches are only read, but kernels take one type of pointer for all
  // arguments.
  const auto batch = [](const auto* data) {
    return reinterpret_cast<std::byte*>(
        const_cast<std::remove_const_t<std::remove_pointer_t<decltype(data)>>*>(data));
  };
  switch (t.space) {
    case Space::arena:
      base = memory_.arena.data();
      break;
    case Space::packed:
      base = memory_.packed.data();
      break;
    case Space::parameter:
      base = memory_.parameters.device<std::byte>();
      break;
    case Space::gradient:
      return reinterpret_cast<std::byte*>(
          gradient(static_cast<std::size_t>(fold_.slot[static_cast<std::size_t>(replica)]),
                   t.offset / sizeof(float)));
    case Space::running:
      base = memory_.running.device<std::byte>();
      break;
    case Space::averaged:
      base = memory_.averaged.device<std::byte>();
      break;
    case Space::history:
      base = memory_.history.device<std::byte>();
      break;
    case Space::image:
      base = batch(batch_.images);
      break;
    case Space::label:
      base = batch(batch_.labels);
      break;
    case Space::mask:
      base = batch(batch_.masks);
      break;
    case Space::sample_id:
      base = batch(batch_.sample_ids);
      break;
  }
  int copy = 0;
  switch (t.per) {
    case Per::once:
      break;
    case Per::wave_replica:
      copy = replica - wave_;
      break;
    case Per::wave_group:
      copy = replicas_.group_of(replica) - replicas_.group_of(wave_);
      break;
    case Per::replica:
      copy = replica;
      break;
    case Per::group:
      copy = replicas_.group_of(replica);
      break;
  }
  return base + t.offset + static_cast<std::size_t>(copy) * t.stride;
}

float* TensorMemory::gradient(std::size_t slot, std::size_t offset) const {
  return memory_.gradients.as<float>().data() + slot * program_.parameter_floats + offset;
}

std::vector<std::byte> TensorMemory::bytes(int index, int replica) const {
  std::vector<std::byte> copy(tensor(index).bytes);
  device_.copy(copy.data(), at(index, replica), copy.size());
  device_.synchronize();
  return copy;
}

std::vector<double> TensorMemory::doubles(int index, int replica) const {
  assert(tensor(index).element == 'd');
  const std::vector<std::byte> copy = bytes(index, replica);
  const auto* values = reinterpret_cast<const double*>(copy.data());
  return {values, values + copy.size() / sizeof(double)};
}

std::vector<float> TensorMemory::floats(int index, int replica) const {
  assert(tensor(index).element == 'f' || tensor(index).element == 'h');
  const std::vector<std::byte> copy = bytes(index, replica);
  if (tensor(index).element == 'f') {
    const auto* values = reinterpret_cast<const float*>(copy.data());
    return {values, values + copy.size() / sizeof(float)};
  }
  const auto* narrow = reinterpret_cast<const BFloat16*>(copy.data());
  std::vector<float> values(copy.size() / sizeof(BFloat16));
  std::transform(narrow, narrow + values.size(), values.begin(),
                 [](BFloat16 value) { return to_float(value); });
  return values;
}

void TensorMemory::zero(int index, int replica) const {
  device_.zero(at(index, replica), tensor(index).bytes);
}

void TensorMemory::put_nan(int index) const {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr auto kNarrow = static_cast<float>(kNan);
  if (tensor(index).element == 'd')
    device_.write(at(index, wave_), &kNan, sizeof kNan);
  else
    device_.write(at(index, wave_), &kNarrow, sizeof kNarrow);
}

void TensorMemory::put_nan(const ReductionSpec& reduction) const {
  if (reduction.kind != ReductionKind::gradient) return put_nan(reduction.leaf);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  device_.write(gradient(0, reduction.offset), &kNan, sizeof kNan);
}

}  // namespace syncnorm
