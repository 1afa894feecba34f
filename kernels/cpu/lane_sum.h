// Sums in f64 whose order depends only on their length.
#pragma once

#include <cstddef>

namespace syncnorm::cpu {

/// Σ value(i) over i < count, in eight interleaved sums: a single one would wait for every
/// addition.
template <class Value>
double lane_sum(std::size_t count, Value value) {
  constexpr std::size_t kLanes = 8;
  double lane[kLanes] = {};
  for (std::size_t i = 0; i < count; ++i) lane[i % kLanes] += static_cast<double>(value(i));
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

}  // namespace syncnorm::cpu
