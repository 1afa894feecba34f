// Resampling on the CPU: rows are blended first, into one row of f32, then its pixels. The backward
// pass goes the same way: it adds up the rows that read an input row, then their pixels.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/resample_math.h"

namespace syncnorm::cpu {
namespace {

/// All sources of an axis.
std::vector<ResampleSource> sources_of(const ResampleAxis& axis) {
  std::vector<ResampleSource> sources;
  for (int o = 0; o < static_cast<int>(axis.out); ++o) sources.push_back(source_of(axis, o));
  return sources;
}

/// The readers of all input pixels of an axis, and their weights one after another.
struct Readers {
  std::vector<ResampleReaders> readers;
  std::vector<float> weights;

  explicit Readers(const ResampleAxis& axis) {
    for (int i = 0; i < static_cast<int>(axis.in); ++i) {
      readers.push_back(readers_of(axis, i));
      for (int o = readers.back().begin; o < readers.back().end; ++o)
        weights.push_back(source_of(axis, o).factor(i));
    }
  }
};

std::size_t row_values(int width, int channels) {
  return static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
}

/// Copies pixels, and whole rows where several have the same source.
template <class S>
KernelPtr make_nearest(const UpsampleForward& op) {
  const UpsampleShape& s = op.shape;
  const std::size_t in = row_values(s.width, s.channels), out = row_values(s.out_width, s.channels);
  return make_kernel<UpsampleForward, S>(
      [=, samples = op.samples, s = op.shape, rows = sources_of(rows_axis(op.shape)),
       columns = sources_of(columns_axis(op.shape))](const auto& a, const StepState&) {
        const std::size_t channels = static_cast<std::size_t>(s.channels);
        const S* x = a.x;
        S* y = a.y;
        for (int n = 0; n < samples; ++n, x += static_cast<std::size_t>(s.height) * in)
          for (std::size_t r = 0; r < rows.size(); ++r, y += out) {
            if (r > 0 && rows[r].lower == rows[r - 1].lower) {
              std::memcpy(y, y - out, out * sizeof(S));
              continue;
            }
            const S* row = x + static_cast<std::size_t>(rows[r].lower) * in;
            for (std::size_t c = 0; c < columns.size(); ++c)
              std::memcpy(y + c * channels,
                          row + static_cast<std::size_t>(columns[c].lower) * channels,
                          channels * sizeof(S));
          }
      });
}

template <class S>
KernelPtr make_bilinear(Context& context, const UpsampleForward& op) {
  const auto& loops = context.loops.of<S>();
  const UpsampleShape& s = op.shape;
  const std::size_t in = row_values(s.width, s.channels), out = row_values(s.out_width, s.channels);
  std::vector<float> blended(in + kResamplePadding);
  return make_kernel<UpsampleForward, S>(
      [=, &loops, samples = op.samples, s = op.shape, rows = sources_of(rows_axis(op.shape)),
       columns = sources_of(columns_axis(op.shape))](const auto& a, const StepState&) mutable {
        const S* x = a.x;
        S* y = a.y;
        for (int n = 0; n < samples; ++n, x += static_cast<std::size_t>(s.height) * in)
          for (const ResampleSource& row : rows) {
            loops.blend(x + static_cast<std::size_t>(row.lower) * in,
                        x + static_cast<std::size_t>(row.upper) * in, row.weight, blended.data(),
                        in);
            loops.resample_row({blended.data(), columns.data(), s.out_width, s.channels}, y);
            y += out;
          }
      });
}

template <class S>
KernelPtr make_backward(Context& context, const UpsampleBackward& op) {
  const auto& loops = context.loops.of<S>();
  const UpsampleShape& s = op.shape;
  const std::size_t in = row_values(s.width, s.channels), out = row_values(s.out_width, s.channels);
  std::vector<float> sum(out + kResamplePadding);
  return make_kernel<UpsampleBackward, S>([=, &loops, samples = op.samples, s = op.shape,
                                           rows = Readers(rows_axis(op.shape)),
                                           columns = Readers(columns_axis(op.shape))](
                                              const auto& a, const StepState&) mutable {
    const S* dy = a.dy;
    S* dx = a.dx;
    for (int n = 0; n < samples; ++n, dy += static_cast<std::size_t>(s.out_height) * out) {
      const float* weight = rows.weights.data();
      for (const ResampleReaders& readers : rows.readers) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (int o = readers.begin; o < readers.end; ++o)
          loops.add_weighted(dy + static_cast<std::size_t>(o) * out, *weight++, sum.data(), out);
        loops.resample_row_gradient(
            {sum.data(), columns.readers.data(), columns.weights.data(), s.width, s.channels}, dx);
        dx += in;
      }
    }
  });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const UpsampleForward& op) {
  return with_storage(op.storage, [&]<class S>() {
    return op.shape.mode == UpsampleMode::nearest ? make_nearest<S>(op)
                                                  : make_bilinear<S>(context, op);
  });
}

template <>
KernelPtr compile(Context& context, const UpsampleBackward& op) {
  return with_storage(op.storage, [&]<class S>() { return make_backward<S>(context, op); });
}

}  // namespace syncnorm::cpu
