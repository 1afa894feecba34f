// See weight_layout.h.
#include "kernels/weight_layout.h"

#include <algorithm>
#include <cassert>

namespace syncnorm {
namespace {

/// Transposes matrices [rows, columns], one per filter, in place.
void transpose(std::span<float> matrices, int filters, int rows, int columns) {
  const auto r = static_cast<std::size_t>(rows), c = static_cast<std::size_t>(columns);
  std::vector<float> copy(r * c);
  for (std::size_t f = 0; f < static_cast<std::size_t>(filters); ++f) {
    const std::span<float> matrix = matrices.subspan(f * r * c, r * c);
    std::copy(matrix.begin(), matrix.end(), copy.begin());
    for (std::size_t i = 0; i < r; ++i)
      for (std::size_t j = 0; j < c; ++j) matrix[j * r + i] = copy[i * c + j];
  }
}

std::span<float> values_of(const WeightBlock& block, std::span<float> flat) {
  const std::size_t count = static_cast<std::size_t>(block.filters) *
                            static_cast<std::size_t>(block.channels) *
                            static_cast<std::size_t>(block.window);
  assert(block.offset + count <= flat.size());
  return flat.subspan(block.offset, count);
}

}  // namespace

void to_channels_first(std::span<const WeightBlock> blocks, std::span<float> flat) {
  for (const WeightBlock& block : blocks)
    if (block.window > 1)
      transpose(values_of(block, flat), block.filters, block.window, block.channels);
}

void to_channels_last(std::span<const WeightBlock> blocks, std::span<float> flat) {
  for (const WeightBlock& block : blocks)
    if (block.window > 1)
      transpose(values_of(block, flat), block.filters, block.channels, block.window);
}

}  // namespace syncnorm
