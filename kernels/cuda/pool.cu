// Pooling on CUDA, channels last, 16 bytes of channels per thread. Max pooling keeps the position
// of each maximum in its window, in one byte or four. The backward pass gathers: an input value
// visits the windows that contain it, in order, which needs no atomics.
#include "kernels/cuda/pixels.h"

namespace syncnorm::cuda {
namespace {

/// Windows of at most 256 positions need one byte per maximum.
__host__ __device__ inline bool small_window(const PoolShape& s) {
  return s.kernel_height * s.kernel_width <= 256;
}

/// Reads or writes the kept positions of V neighbouring channels, from value `i` on.
template <int V>
__device__ __forceinline__ void load_positions(const PoolShape& s, const void* kept, std::size_t i,
                                               int (&position)[V]) {
  const auto read = [&]<class Kept>(const Kept* from) {
    const auto pack = *reinterpret_cast<const Pack<Kept, V>*>(from + i);
#pragma unroll
    for (int v = 0; v < V; ++v) position[v] = pack.value[v];
  };
  if (small_window(s))
    read(static_cast<const std::uint8_t*>(kept));
  else
    read(static_cast<const std::int32_t*>(kept));
}

template <int V>
__device__ __forceinline__ void keep_positions(const PoolShape& s, void* kept, std::size_t i,
                                               const int (&position)[V]) {
  const auto write = [&]<class Kept>(Kept* to) {
    Pack<Kept, V> pack;
#pragma unroll
    for (int v = 0; v < V; ++v) pack.value[v] = static_cast<Kept>(position[v]);
    *reinterpret_cast<Pack<Kept, V>*>(to + i) = pack;
  };
  if (small_window(s))
    write(static_cast<std::uint8_t*>(kept));
  else
    write(static_cast<std::int32_t*>(kept));
}

/// The part [begin, end) of a window of `size` positions starting at `first` that is not padding.
struct Range {
  int begin, end;
};
__device__ __forceinline__ Range inside(int first, int size, int length) {
  return {first < 0 ? 0 : first, first + size < length ? first + size : length};
}

/// Returns the windows [begin, end) that contain input position `at`.
__device__ __forceinline__ Range windows_of(int at, int kernel, int stride, int padding,
                                            int outputs) {
  const int moved = at + padding;
  const int begin = moved < kernel ? 0 : (moved - kernel) / stride + 1;
  const int end = moved / stride + 1;
  return {begin, end < outputs ? end : outputs};
}

template <class T, int V>
struct Forward {
  PoolShape s;
  int out_height, out_width;
  const T* x;
  T* y;
  void* kept;

  __device__ void at(std::size_t vector) const {
    const PixelPlace o = place_of<V>(vector, out_height, out_width, s.channels);
    const int top = o.h * s.stride - s.padding, left = o.w * s.stride - s.padding;
    const Range rows = inside(top, s.kernel_height, s.height);
    const Range columns = inside(left, s.kernel_width, s.width);
    float best[V] = {}, sum[V] = {};
    int position[V];
#pragma unroll
    for (int v = 0; v < V; ++v) position[v] = -1;
    for (int h = rows.begin; h < rows.end; ++h)
      for (int w = columns.begin; w < columns.end; ++w) {
        float value[V];
        load(x + ((o.n * s.height + h) * s.width + w) * s.channels + o.c, value);
        const int here = (h - top) * s.kernel_width + (w - left);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          sum[v] += value[v];
          // A nan counts as the largest.
          if (position[v] < 0 || value[v] > best[v] || value[v] != value[v]) {
            best[v] = value[v];
            position[v] = here;
          }
        }
      }
    if (s.kind == PoolKind::average) {
      const int count = (rows.end - rows.begin) * (columns.end - columns.begin);
#pragma unroll
      for (int v = 0; v < V; ++v) best[v] = sum[v] / static_cast<float>(count);
    }
    store(y + vector * V, best);
    if (kept != nullptr) keep_positions(s, kept, vector * V, position);
  }
};

template <class T, int V>
struct Backward {
  PoolShape s;
  int out_height, out_width;
  const T* dy;
  const void* kept;
  T* dx;

  __device__ void at(std::size_t vector) const {
    const PixelPlace p = place_of<V>(vector, s.height, s.width, s.channels);
    const Range down = windows_of(p.h, s.kernel_height, s.stride, s.padding, out_height);
    const Range across = windows_of(p.w, s.kernel_width, s.stride, s.padding, out_width);
    float sum[V] = {};
    for (int h = down.begin; h < down.end; ++h)
      for (int w = across.begin; w < across.end; ++w) {
        const std::size_t o = ((p.n * out_height + h) * out_width + w) * s.channels + p.c;
        const int top = h * s.stride - s.padding, left = w * s.stride - s.padding;
        float gradient[V];
        load(dy + o, gradient);
        if (s.kind == PoolKind::max) {
          const int here = (p.h - top) * s.kernel_width + (p.w - left);
          int position[V];
          load_positions(s, kept, o, position);
#pragma unroll
          for (int v = 0; v < V; ++v) sum[v] += position[v] == here ? gradient[v] : 0.0f;
        } else {
          const Range rows = inside(top, s.kernel_height, s.height);
          const Range columns = inside(left, s.kernel_width, s.width);
          const int count = (rows.end - rows.begin) * (columns.end - columns.begin);
#pragma unroll
          for (int v = 0; v < V; ++v) sum[v] += gradient[v] / static_cast<float>(count);
        }
      }
    store(dx + vector * V, sum);
  }
};

}  // namespace

std::size_t workspace_bytes(const PoolForward& op) {
  const PoolShape& s = op.shape;
  if (!op.training || s.kind != PoolKind::max) return 0;
  const std::size_t bytes = small_window(s) ? 1 : sizeof(std::int32_t);
  return bytes * count_of(op.samples, s.out_height(), s.out_width(), s.channels);
}

template <>
KernelPtr compile(Context& context, const PoolForward& op) {
  return make_kernel<PoolForward>([op, &context](const auto& a, const StepState&) {
    const PoolShape& s = op.shape;
    void* kept = op.training && s.kind == PoolKind::max ? a.workspace : nullptr;
    with_storage(op.storage, aligned(a.x, a.y, kept), static_cast<std::size_t>(s.channels),
                 [&]<class T, int V>() {
                   run_vectors(context,
                               Forward<T, V>{s, s.out_height(), s.out_width(), typed<T>(a.x),
                                             typed<T>(a.y), kept},
                               count_of(op.samples, s.out_height(), s.out_width(), s.channels), V);
                 });
  });
}

template <>
KernelPtr compile(Context& context, const PoolBackward& op) {
  return make_kernel<PoolBackward>([op, &context](const auto& a, const StepState&) {
    const PoolShape& s = op.shape;
    with_storage(op.storage, aligned(a.dy, a.dx, a.workspace), static_cast<std::size_t>(s.channels),
                 [&]<class T, int V>() {
                   run_vectors(context,
                               Backward<T, V>{s, s.out_height(), s.out_width(), typed<T>(a.dy),
                                              a.workspace, typed<T>(a.dx)},
                               count_of(op.samples, s.height, s.width, s.channels), V);
                 });
  });
}

}  // namespace syncnorm::cuda
