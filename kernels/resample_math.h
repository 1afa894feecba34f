// Which input pixels an output pixel reads along one axis, and the other way round, for host and
// device code. All positions are exact, in integers, so both directions agree.
#pragma once

#include "base/host_device.h"
#include "kernels/ops/resample.h"

namespace syncnorm {

/// The largest height and width of resampled maps: products of two stay below 2³².
inline constexpr int kLargestResampled = 1 << 15;

/// One axis: `in` pixels become `out`.
struct ResampleAxis {
  unsigned in = 1, out = 1;
  UpsampleMode mode = UpsampleMode::nearest;
  bool corners = false;
};

SYNCNORM_HOST_DEVICE inline ResampleAxis rows_axis(const UpsampleShape& s) {
  return {static_cast<unsigned>(s.height), static_cast<unsigned>(s.out_height), s.mode, s.corners};
}
SYNCNORM_HOST_DEVICE inline ResampleAxis columns_axis(const UpsampleShape& s) {
  return {static_cast<unsigned>(s.width), static_cast<unsigned>(s.out_width), s.mode, s.corners};
}

/// The value that an output pixel reads: x[lower] + weight·(x[upper] − x[lower]).
struct ResampleSource {
  int lower, upper;
  float weight;

  /// The factor of input pixel i.
  SYNCNORM_HOST_DEVICE float factor(int i) const {
    return (i == lower ? 1.0f - weight : 0.0f) + (i == upper ? weight : 0.0f);
  }
};

SYNCNORM_HOST_DEVICE inline ResampleSource source_of(const ResampleAxis& a, int output) {
  const auto o = static_cast<unsigned>(output);
  unsigned position = 0, unit = 1;  // the place is position / unit
  if (a.mode == UpsampleMode::nearest) {
    position = o * a.in / a.out;
  } else if (a.corners) {
    if (a.out > 1) {
      position = o * (a.in - 1);
      unit = a.out - 1;
    }
  } else {
    const unsigned doubled = (2 * o + 1) * a.in;
    position = doubled < a.out ? 0 : doubled - a.out;
    unit = 2 * a.out;
  }
  const auto lower = static_cast<int>(position / unit);
  if (lower + 1 >= static_cast<int>(a.in)) return {lower, lower, 0.0f};
  const unsigned rest = position % unit;
  return {lower, lower + 1, static_cast<float>(rest) / static_cast<float>(unit)};
}

/// Returns the first output pixel whose lower source is input pixel `i` or a later one; `out` if
/// there is none.
SYNCNORM_HOST_DEVICE inline int first_reader_from(const ResampleAxis& a, int i) {
  if (i <= 0) return 0;
  const auto from = static_cast<unsigned>(i);
  unsigned first = a.out;
  if (from < a.in) {
    if (a.mode == UpsampleMode::nearest)
      first = (from * a.out + a.in - 1) / a.in;
    else if (a.corners)  // in > 1
      first = a.out > 1 ? (from * (a.out - 1) + a.in - 2) / (a.in - 1) : a.out;
    else  // the first o with (2·o + 1)·in ≥ (2·i + 1)·out
      first = ((2 * from + 1) * a.out + a.in - 1) / a.in / 2;
  }
  return static_cast<int>(first < a.out ? first : a.out);
}

/// The output pixels [begin, end) that may read input pixel i.
struct ResampleReaders {
  int begin, end;
};

SYNCNORM_HOST_DEVICE inline ResampleReaders readers_of(const ResampleAxis& a, int i) {
  const int reach = a.mode == UpsampleMode::nearest ? 0 : 1;
  return {first_reader_from(a, i - reach), first_reader_from(a, i + 1)};
}

}  // namespace syncnorm
