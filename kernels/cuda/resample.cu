// Resampling on CUDA, channels last, 16 bytes of channels per thread. The backward pass gathers: an
// input value visits the output pixels that read it, in order, which needs no atomics.
#include "kernels/cuda/pixels.h"
#include "kernels/resample_math.h"

namespace syncnorm::cuda {
namespace {

template <class T, int V>
struct Forward {
  UpsampleShape s;
  const T* x;
  T* y;

  __device__ void at(std::size_t vector) const {
    const PixelPlace o = place_of<V>(vector, s.out_height, s.out_width, s.channels);
    const ResampleSource row = source_of(rows_axis(s), o.h),
                         column = source_of(columns_axis(s), o.w);
    const auto read = [&](int h, int w, float(&value)[V]) {
      load(x + ((o.n * s.height + h) * s.width + w) * s.channels + o.c, value);
    };
    float left[V], right[V], below[V];
    read(row.lower, column.lower, left);
    if (row.upper != row.lower) {
      read(row.upper, column.lower, below);
      blend(left, below, row.weight);
    }
    if (column.upper != column.lower) {
      read(row.lower, column.upper, right);
      if (row.upper != row.lower) {
        read(row.upper, column.upper, below);
        blend(right, below, row.weight);
      }
      blend(left, right, column.weight);
    }
    store(y + vector * V, left);
  }

  __device__ static void blend(float (&value)[V], const float (&other)[V], float weight) {
#pragma unroll
    for (int v = 0; v < V; ++v) value[v] = fmaf(other[v] - value[v], weight, value[v]);
  }
};

template <class T, int V>
struct Backward {
  UpsampleShape s;
  const T* dy;
  T* dx;

  __device__ void at(std::size_t vector) const {
    const PixelPlace p = place_of<V>(vector, s.height, s.width, s.channels);
    const ResampleAxis rows = rows_axis(s), columns = columns_axis(s);
    const ResampleReaders down = readers_of(rows, p.h), across = readers_of(columns, p.w);
    float sum[V] = {};
    for (int h = down.begin; h < down.end; ++h) {
      float line[V] = {};
      for (int w = across.begin; w < across.end; ++w) {
        const float factor = source_of(columns, w).factor(p.w);
        float gradient[V];
        load(dy + ((p.n * s.out_height + h) * s.out_width + w) * s.channels + p.c, gradient);
#pragma unroll
        for (int v = 0; v < V; ++v) line[v] = fmaf(gradient[v], factor, line[v]);
      }
      const float factor = source_of(rows, h).factor(p.h);
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] = fmaf(line[v], factor, sum[v]);
    }
    store(dx + vector * V, sum);
  }
};

}  // namespace

template <>
KernelPtr compile(Context& context, const UpsampleForward& op) {
  return make_kernel<UpsampleForward>([op, &context](const auto& a, const StepState&) {
    const UpsampleShape& s = op.shape;
    with_storage(op.storage, aligned(a.x, a.y), static_cast<std::size_t>(s.channels),
                 [&]<class T, int V>() {
                   run_vectors(context, Forward<T, V>{s, typed<T>(a.x), typed<T>(a.y)},
                               count_of(op.samples, s.out_height, s.out_width, s.channels), V);
                 });
  });
}

template <>
KernelPtr compile(Context& context, const UpsampleBackward& op) {
  return make_kernel<UpsampleBackward>([op, &context](const auto& a, const StepState&) {
    const UpsampleShape& s = op.shape;
    with_storage(op.storage, aligned(a.dy, a.dx), static_cast<std::size_t>(s.channels),
                 [&]<class T, int V>() {
                   run_vectors(context, Backward<T, V>{s, typed<T>(a.dy), typed<T>(a.dx)},
                               count_of(op.samples, s.height, s.width, s.channels), V);
                 });
  });
}

}  // namespace syncnorm::cuda
