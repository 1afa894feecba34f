// Allocation: computes lifetimes, then gives every arena tensor the lowest offset that is free
// during its whole lifetime, largest tensors first.
#include <algorithm>
#include <numeric>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

struct Life {
  std::size_t first = SIZE_MAX, last = 0;
  bool meets(const Life& other) const { return first <= other.last && other.first <= last; }
};

std::size_t align(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

std::size_t allocate(Program& program, int wave, int groups, int replicas) {
  std::vector<Life> lives(program.tensors.size());
  for (std::size_t i = 0; i < program.instructions.size(); ++i)
    for (const int tensor : program.instructions[i].args) {
      if (tensor < 0) continue;
      const int whole = program.tensors[static_cast<std::size_t>(tensor)].whole;
      Life& life = lives[static_cast<std::size_t>(whole < 0 ? tensor : whole)];
      life.first = std::min(life.first, i);
      life.last = std::max(life.last, i);
    }
  std::vector<std::size_t> sizes(program.tensors.size(), 0), order;
  for (std::size_t t = 0; t < program.tensors.size(); ++t) {
    Tensor& tensor = program.tensors[t];
    if (tensor.space != Space::arena || tensor.whole >= 0 || lives[t].first == SIZE_MAX) continue;
    if (tensor.persistent) lives[t] = {0, SIZE_MAX};
    // Merged operations process all replicas as one batch, so copies must be adjacent.
    tensor.stride = program.options.merge_replicas ? tensor.bytes : align(tensor.bytes);
    const int copies = tensor.per == Per::once           ? 1
                       : tensor.per == Per::wave_replica ? wave
                       : tensor.per == Per::wave_group   ? groups
                                                         : replicas;
    sizes[t] = align(tensor.stride * static_cast<std::size_t>(copies));
    order.push_back(t);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::size_t> placed;  // by ascending offset
  std::size_t total = 0;
  for (const std::size_t t : order) {
    std::size_t at = 0;
    for (const std::size_t other : placed) {
      if (!lives[other].meets(lives[t])) continue;
      if (program.tensors[other].offset >= at + sizes[t]) break;
      at = std::max(at, program.tensors[other].offset + sizes[other]);
    }
    program.tensors[t].offset = at;
    total = std::max(total, at + sizes[t]);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), t,
                                   [&](std::size_t a, std::size_t b) {
                                     return program.tensors[a].offset < program.tensors[b].offset;
                                   }),
                  t);
  }
  for (Tensor& tensor : program.tensors) {
    if (tensor.whole < 0) continue;
    const Tensor& whole = program.tensors[static_cast<std::size_t>(tensor.whole)];
    tensor.offset = whole.offset + tensor.within;
    tensor.stride = whole.stride;
  }
  return total;
}

}  // namespace syncnorm
