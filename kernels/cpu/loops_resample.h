// The passes over memory of resampling; see loops.h for what they compute and vectors.h for how
// this file is compiled.
#pragma once

#include "kernels/cpu/loops.h"
#include "kernels/cpu/vectors.h"

namespace syncnorm::cpu {
namespace {

template <int L, class S>
struct Resample {
  static_assert(L <= static_cast<int>(kResamplePadding));

  static void blend(const S* lower, const S* upper, float weight, float* y, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      const F<W> from = get<W>(lower + i);
      store(y + i, from + (get<W>(upper + i) - from) * weight);
    });
  }

  static void add_weighted(const S* x, float weight, float* sum, size_t count) {
    for_each_value<L>(count, [&]<int W>(size_t i) {
      store(sum + i, load<F<W>>(sum + i) + get<W>(x + i) * weight);
    });
  }

  static void row(const ResampleRowArgs& args, S* y) {
    const ResampleRowArgs a = args;  // a copy: a store to y might alias `args`
    const size_t channels = static_cast<size_t>(a.channels);
    for_each_pixel(a.pixels, a.channels, [&](size_t pixel) {
      const ResampleSource source = a.sources[pixel];
      const float* lower = a.row + static_cast<size_t>(source.lower) * channels;
      const float* upper = a.row + static_cast<size_t>(source.upper) * channels;
      return [=]<int W>(size_t c) {
        const F<W> from = load<F<W>>(lower + c);
        put<W>(y + pixel * channels + c, from + (load<F<W>>(upper + c) - from) * source.weight);
      };
    });
  }

  static void row_gradient(const ResampleRowGradientArgs& args, S* dx) {
    const ResampleRowGradientArgs a = args;  // a copy, as above
    const size_t channels = static_cast<size_t>(a.channels);
    const float* next = a.weights;
    for_each_pixel(a.pixels, a.channels, [&](size_t pixel) {
      const ResampleReaders readers = a.readers[pixel];
      const int count = readers.end - readers.begin;
      const float* first = a.row + static_cast<size_t>(readers.begin) * channels;
      const float* weights = next;
      next += count;
      return [=]<int W>(size_t c) {
        F<W> sum{};
        for (int o = 0; o < count; ++o)
          sum += load<F<W>>(first + static_cast<size_t>(o) * channels + c) * weights[o];
        put<W>(dx + pixel * channels + c, sum);
      };
    });
  }

 private:
  /// Calls at(pixel), which returns what writes W channels from a channel on. Vectors are written
  /// past the end of a pixel, too: the next pixel overwrites what is too much. Only the end of the
  /// row is written value by value.
  template <class At>
  static void for_each_pixel(int pixels, int width, const At& at) {
    const size_t channels = static_cast<size_t>(width);
    const size_t end = static_cast<size_t>(pixels) * channels;
    for (size_t pixel = 0; pixel < static_cast<size_t>(pixels); ++pixel) {
      const auto write = at(pixel);
      size_t c = 0;
      for (; c < channels && pixel * channels + c + L <= end; c += L)
        write.template operator()<L>(c);
      for (; c < channels; ++c) write.template operator()<1>(c);
    }
  }
};

}  // namespace
}  // namespace syncnorm::cpu
