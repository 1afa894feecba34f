// Values joined along the channels, and their products, on CUDA.
#include <array>
#include <numeric>

#include "kernels/cuda/pixels.h"
#include "kernels/cuda/rows.h"

namespace syncnorm::cuda {
namespace {

/// Copies `count` values of each row.
template <class T, int V>
struct CopyRows {
  const T* from;
  T* to;
  int count;
  std::size_t from_step, to_step;  // from row to row, values

  __device__ void at(std::size_t vector) const {
    const auto vectors = static_cast<std::size_t>(count / V);
    const std::size_t row = vector / vectors, c = vector % vectors * V;
    float value[V];
    load(from + row * from_step + c, value);
    store(to + row * to_step + c, value);
  }
};

/// A channel range of a matrix: its values begin at `first` of each row of `channels`.
struct ChannelRange {
  int first, channels;
};

void copy_rows(Context& context, Storage storage, std::size_t rows, int count, const void* x,
               ChannelRange from, void* y, ChannelRange to) {
  const int all = std::gcd(std::gcd(std::gcd(from.first, from.channels), count),
                           std::gcd(to.first, to.channels));
  with_storage(storage, aligned(x, y), static_cast<std::size_t>(all), [&]<class T, int V>() {
    const CopyRows<T, V> body{typed<T>(x) + from.first, typed<T>(y) + to.first, count,
                              static_cast<std::size_t>(from.channels),
                              static_cast<std::size_t>(to.channels)};
    run_vectors(context, body, rows * static_cast<std::size_t>(count), V);
  });
}

/// y = x times a factor per value or per pixel.
template <class T, int kWide>
struct Scale {
  static constexpr int kWidth = kWide;
  const T* x;
  const T* factor;
  T* y;
  std::size_t channels;  // that share a factor; 0: none do

  template <int V>
  __device__ void at(std::size_t i) const {
    float value[V], other[V];
    load(x + i, value);
    if (channels == 0) {
      load(factor + i, other);
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v) other[v] = as_float(factor[(i + v) / channels]);
    }
#pragma unroll
    for (int v = 0; v < V; ++v) value[v] *= other[v];
    store(y + i, value);
  }
};

/// y = x times a factor per sample and channel.
template <class T, int V>
struct ScaleChannels {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {
    float factor;
  };
  const T* x;
  const T* factor;
  T* y;
  int channels;

  __device__ Line line(int sample, int c) const {
    return {as_float(factor[static_cast<std::size_t>(sample) * channels + c])};
  }

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&k)[V]) const {
    float values[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) load(x + at + u * step, values[u]);
#pragma unroll
    for (int u = 0; u < U; ++u) {
#pragma unroll
      for (int v = 0; v < V; ++v) values[u][v] *= k[v].factor;
      store(y + at + u * step, values[u]);
    }
  }
};

/// sums [samples, channels] = Σ a·b over the pixels.
template <class T, int V>
struct ChannelProducts {
  static constexpr int kWidth = V, kUnroll = 4;
  struct Line {};
  using Partial = TwoSums<V>;
  const T* a;
  const T* b;
  T* sums;
  int channels;

  template <int U>
  __device__ void take(std::size_t at, std::size_t step, const Line (&)[V], int,
                       Partial& partial) const {
    float first[U][V], second[U][V];
#pragma unroll
    for (int u = 0; u < U; ++u) {
      load(a + at + u * step, first[u]);
      load(b + at + u * step, second[u]);
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
#pragma unroll
      for (int u = 0; u < U; ++u)
        partial.first[v] = fmaf(first[u][v], second[u][v], partial.first[v]);
    }
  }
  __device__ static double combine(double x, double y) { return x + y; }
  __device__ void finish(int sample, int c, double sum, double) const {
    sums[static_cast<std::size_t>(sample) * channels + c] = as_stored<T>(static_cast<float>(sum));
  }
};

/// sums [rows] = Σ a·b over the channels.
template <class T>
__global__ void __launch_bounds__(kThreads)
    row_products(const T* a, const T* b, T* sums, std::size_t rows, int channels, int lanes) {
  const RowPlace place = own_place(rows, lanes);
  const std::size_t at = place.row * static_cast<std::size_t>(channels);
  float sum = 0.0f;
  for (int c = place.lane; c < channels; c += lanes)
    sum = fmaf(as_float(a[at + c]), as_float(b[at + c]), sum);
  const double total = lanes_total(sum, lanes);
  if (place.active && place.lane == 0) sums[place.row] = as_stored<T>(static_cast<float>(total));
}

/// The samples as matrices: sums are partitioned by the shape of one sample alone.
template <class ProductOp>
Columns shape_of(const ProductOp& op) {
  return {1, static_cast<std::size_t>(op.pixels), op.channels, op.samples};
}

template <class ProductOp>
void multiply(Context& context, const ProductOp& op, const void* x, const void* factor, void* y) {
  const auto channels = static_cast<std::size_t>(op.channels);
  if (op.samples == 0) return;
  if (op.factor == Factor::per_channel) {
    with_storage(op.storage, aligned(x, y), channels, [&]<class T, int V>() {
      run_map(context.stream,
              ScaleChannels<T, V>{typed<T>(x), typed<T>(factor), typed<T>(y), op.channels},
              shape_of(op));
    });
    return;
  }
  const bool per_pixel = op.factor == Factor::per_pixel;
  const bool pointers_aligned = aligned(x, y) && (per_pixel || aligned(factor));
  with_storage(op.storage, pointers_aligned, 0, [&]<class T, int V>() {
    run_flat(context.stream,
             Scale<T, V>{typed<T>(x), typed<T>(factor), typed<T>(y), per_pixel ? channels : 0},
             values(op.samples, op.pixels * op.channels));
  });
}

void sum_products(Context& context, const MultiplyBackward& op, const void* dy, const void* a,
                  void* db) {
  const auto channels = static_cast<std::size_t>(op.channels);
  const std::size_t rows = values(op.samples, op.pixels);
  if (rows == 0) return;
  if (op.factor == Factor::full) return multiply(context, op, dy, a, db);
  with_storage(op.storage, aligned(dy, a), channels, [&]<class T, int V>() {
    if (op.factor == Factor::per_channel) {
      run_reduction(context.stream,
                    ChannelProducts<T, V>{typed<T>(dy), typed<T>(a), typed<T>(db), op.channels},
                    shape_of(op), context.scratch<double>());
      return;
    }
    const int lanes = lanes_of(op.channels);
    launch(row_products<T>, row_blocks(rows, lanes), dim3(kThreads), 0, context.stream,
           typed<T>(dy), typed<T>(a), typed<T>(db), rows, op.channels, lanes);
  });
}

}  // namespace

template <>
KernelPtr compile(Context& context, const Concat& op) {
  const int total = std::accumulate(op.channels.begin(), op.channels.end(), 0);
  return make_kernel<Concat>([op, total, &context](const auto& a, const StepState&) {
    const std::array<const void*, Concat::kMost> given = {a.first, a.second, a.third,   a.fourth,
                                                          a.fifth, a.sixth,  a.seventh, a.eighth};
    int first = 0;
    for (std::size_t i = 0; i < op.channels.size(); ++i) {
      const int count = op.channels[i];
      copy_rows(context, op.storage, values(op.samples, op.pixels), count, given[i], {0, count},
                a.y, {first, total});
      first += count;
    }
  });
}

template <>
KernelPtr compile(Context& context, const SliceChannels& op) {
  return make_kernel<SliceChannels>([op, &context](const auto& a, const StepState&) {
    copy_rows(context, op.storage, values(op.samples, op.pixels), op.count, a.x,
              {op.first, op.channels}, a.y, {0, op.count});
  });
}

template <>
KernelPtr compile(Context& context, const Multiply& op) {
  return make_kernel<Multiply>(
      [op, &context](const auto& a, const StepState&) { multiply(context, op, a.a, a.b, a.y); });
}

template <>
KernelPtr compile(Context& context, const MultiplyBackward& op) {
  if (op.factor == Factor::per_channel)
    context.need_scratch(partial_doubles(shape_of(op)) * sizeof(double));
  return make_kernel<MultiplyBackward>([op, &context](const auto& a, const StepState&) {
    if (a.da != nullptr) multiply(context, op, a.dy, a.b, a.da);
    if (a.db != nullptr) sum_products(context, op, a.dy, a.a, a.db);
  });
}

}  // namespace syncnorm::cuda
