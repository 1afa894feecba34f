// Values that meet in one layer: joined along the channels, or multiplied.
#pragma once

#include <vector>

#include "kernels/ops/field.h"
#include "kernels/ops/operand.h"
#include "kernels/ops/storage.h"

namespace syncnorm {

/// y [samples, pixels, Σ channels] has the channels of the first value, then of the second, and so
/// on; value i is [samples, pixels, channels[i]].
struct Concat {
  static constexpr std::size_t kMost = 8;  // values
  int samples = 1;
  int pixels = 1;
  std::vector<int> channels;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "concat";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Concat::pixels);
    field("x {}", &Concat::channels);
  }
  template <class As>
  struct Operands {
    In<As, Stored> first;
    OptionalIn<As, Stored> second, third, fourth, fifth, sixth, seventh, eighth;
    Out<As, Stored> y;
  };
};

/// y [samples, pixels, count] = the channels of x [samples, pixels, channels] from `first` on: the
/// gradient of one value of a Concat.
struct SliceChannels {
  int samples = 1;
  int pixels = 1, channels = 0;
  int first = 0, count = 0;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "slice channels";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &SliceChannels::pixels);
    field("x{}", &SliceChannels::channels);
    field(" from {}", &SliceChannels::first);
    field(" {}", &SliceChannels::count);
  }
  template <class As>
  struct Operands {
    In<As, Stored> x;
    Out<As, Stored> y;
  };
};

/// The shape of a factor: that of the value, [samples, channels] for all pixels, or
/// [samples, pixels] for all channels.
enum class Factor { full, per_channel, per_pixel };

/// y = a·b; a and y [samples, pixels, channels].
struct Multiply {
  int samples = 1;
  int pixels = 1, channels = 0;
  Factor factor = Factor::full;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "multiply";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Multiply::pixels);
    field("x{}", &Multiply::channels);
    field(" {}", &Multiply::factor);
  }
  template <class As>
  struct Operands {
    In<As, Stored> a, b;
    Out<As, Stored> y;
  };
};

/// da = dy·b and db = dy·a, summed in f64 over the pixels or channels that share a factor. Each is
/// written where it is asked for.
struct MultiplyBackward {
  int samples = 1;
  int pixels = 1, channels = 0;
  Factor factor = Factor::full;
  Storage storage = Storage::f32;

  static constexpr const char* kName = "multiply backward";
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &MultiplyBackward::pixels);
    field("x{}", &MultiplyBackward::channels);
    field(" {}", &MultiplyBackward::factor);
  }
  template <class As>
  struct Operands {
    In<As, Stored> dy, a, b;
    OptionalOut<As, Stored> da, db;
  };
};

}  // namespace syncnorm
