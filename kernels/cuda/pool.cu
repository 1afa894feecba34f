// Pooling on CUDA, channels last. Max pooling keeps the position of each maximum in its window, in
// one byte or four. The backward pass gathers: an input value visits the windows that contain it,
// in order, which needs no atomics.
#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

/// Windows of at most 256 positions need one byte per maximum.
__host__ __device__ inline bool small_window(const PoolShape& s) {
  return s.kernel_height * s.kernel_width <= 256;
}

__device__ __forceinline__ int position_at(const PoolShape& s, const void* kept, std::size_t i) {
  return small_window(s) ? static_cast<const std::uint8_t*>(kept)[i]
                         : static_cast<const std::int32_t*>(kept)[i];
}

__device__ __forceinline__ void keep_position(const PoolShape& s, void* kept, std::size_t i,
                                              int position) {
  if (small_window(s))
    static_cast<std::uint8_t*>(kept)[i] = static_cast<std::uint8_t>(position);
  else
    static_cast<std::int32_t*>(kept)[i] = position;
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

/// The indices of value i in [samples, height, width, channels].
struct Place {
  int c, w, h;
  std::size_t n;
};
__device__ __forceinline__ Place place_of(std::size_t i, int height, int width, int channels) {
  const auto c = static_cast<int>(i % channels);
  i /= channels;
  const auto w = static_cast<int>(i % width);
  i /= width;
  return {c, w, static_cast<int>(i % height), i / height};
}

template <class T>
struct Forward {
  static constexpr int kWidth = 1;
  PoolShape s;
  int out_height, out_width;
  const T* x;
  T* y;
  void* kept;

  template <int>
  __device__ void at(std::size_t i) const {
    const Place o = place_of(i, out_height, out_width, s.channels);
    const int top = o.h * s.stride - s.padding, left = o.w * s.stride - s.padding;
    const Range rows = inside(top, s.kernel_height, s.height);
    const Range columns = inside(left, s.kernel_width, s.width);
    float best = 0.0f, sum = 0.0f;
    int position = -1;
    for (int h = rows.begin; h < rows.end; ++h)
      for (int w = columns.begin; w < columns.end; ++w) {
        const float value = as_float(x[((o.n * s.height + h) * s.width + w) * s.channels + o.c]);
        sum += value;
        if (position < 0 || value > best || value != value) {  // a nan counts as the largest
          best = value;
          position = (h - top) * s.kernel_width + (w - left);
        }
      }
    const int count = (rows.end - rows.begin) * (columns.end - columns.begin);
    const float average = sum / static_cast<float>(count);
    y[i] = as_stored<T>(s.kind == PoolKind::max ? best : average);
    if (kept != nullptr) keep_position(s, kept, i, position);
  }
};

template <class T>
struct Backward {
  static constexpr int kWidth = 1;
  PoolShape s;
  int out_height, out_width;
  const T* dy;
  const void* kept;
  T* dx;

  template <int>
  __device__ void at(std::size_t i) const {
    const Place p = place_of(i, s.height, s.width, s.channels);
    const Range down = windows_of(p.h, s.kernel_height, s.stride, s.padding, out_height);
    const Range across = windows_of(p.w, s.kernel_width, s.stride, s.padding, out_width);
    float sum = 0.0f;
    for (int h = down.begin; h < down.end; ++h)
      for (int w = across.begin; w < across.end; ++w) {
        const std::size_t o = ((p.n * out_height + h) * out_width + w) * s.channels + p.c;
        const int top = h * s.stride - s.padding, left = w * s.stride - s.padding;
        const float gradient = as_float(dy[o]);
        if (s.kind == PoolKind::max) {
          if (position_at(s, kept, o) == (p.h - top) * s.kernel_width + (p.w - left))
            sum += gradient;
        } else {
          const Range rows = inside(top, s.kernel_height, s.height);
          const Range columns = inside(left, s.kernel_width, s.width);
          const int count = (rows.end - rows.begin) * (columns.end - columns.begin);
          sum += gradient / static_cast<float>(count);
        }
      }
    dx[i] = as_stored<T>(sum);
  }
};

std::size_t count_of(int samples, int height, int width, int channels) {
  return values(samples, height) * values(width, channels);
}

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
    const auto run = [&]<class T>(const T* x, T* y) {
      run_flat(context.stream,
               Forward<T>{s, s.out_height(), s.out_width(), x, y,
                          op.training && s.kind == PoolKind::max ? a.workspace : nullptr},
               count_of(op.samples, s.out_height(), s.out_width(), s.channels));
    };
    if (op.storage == Storage::f32)
      run(typed<float>(a.x), typed<float>(a.y));
    else
      run(typed<BFloat16>(a.x), typed<BFloat16>(a.y));
  });
}

template <>
KernelPtr compile(Context& context, const PoolBackward& op) {
  return make_kernel<PoolBackward>([op, &context](const auto& a, const StepState&) {
    const PoolShape& s = op.shape;
    const auto run = [&]<class T>(const T* dy, T* dx) {
      run_flat(context.stream, Backward<T>{s, s.out_height(), s.out_width(), dy, a.workspace, dx},
               count_of(op.samples, s.height, s.width, s.channels));
    };
    if (op.storage == Storage::f32)
      run(typed<float>(a.dy), typed<float>(a.dx));
    else
      run(typed<BFloat16>(a.dy), typed<BFloat16>(a.dx));
  });
}

}  // namespace syncnorm::cuda
