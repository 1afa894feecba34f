// The passes over memory of which every normalization consists: reductions over the rows of a
// matrix [rows, channels], per channel, and maps over its values with per-channel constants.
//
// A block of threads is `across` vectors of V channels wide and `down` rows deep. It processes one
// chunk of rows, kUnroll rows per thread at a time, so that enough bytes are in flight. A reduction
// has two phases: each block sums its chunk, then a small kernel adds the chunks. A thread sums in
// float, and adds that to its sums in double every kFoldRows rows: conversions to double are a
// GPU's slowest arithmetic. The order of every sum depends only on the shape; there are no atomics.
//
// A Body defines the computation on the values; its members are listed at the kernels.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "kernels/cuda/context.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/memory.h"

namespace syncnorm::cuda {

constexpr int kThreads = 256;
constexpr int kFoldRows = 32;

/// [replicas, samples, rows, channels]: statistics are per replica, sample and channel. Batch norm
/// is one sample; a call for many replicas has the bits of one call for each.
struct Columns {
  int samples = 1;
  std::size_t rows = 0;
  int channels = 0;
  int replicas = 1;

  int matrices() const { return replicas * samples; }
};

/// The partition of a matrix into blocks. It depends on the shape of one replica, never on the
/// device.
struct Tiling {
  int across, down;  // threads of a block
  int column_blocks, chunks;
  std::size_t chunk_rows;

  dim3 grid(int matrices) const {
    return {static_cast<unsigned>(column_blocks), static_cast<unsigned>(chunks),
            static_cast<unsigned>(matrices)};
  }
  dim3 block() const { return {static_cast<unsigned>(across), static_cast<unsigned>(down)}; }
};

/// Partitions into about `blocks` blocks, with at least `least` rows per thread.
inline Tiling tile(const Columns& shape, int width, int blocks, int least) {
  const int vectors = (shape.channels + width - 1) / width;
  Tiling t{};
  for (t.across = 1; t.across < vectors && t.across < 32;) t.across *= 2;
  t.down = kThreads / t.across;
  t.column_blocks = (vectors + t.across - 1) / t.across;
  const std::size_t rows = std::max<std::size_t>(shape.rows, 1);
  const std::size_t group = static_cast<std::size_t>(t.down) * static_cast<std::size_t>(least);
  const int wanted = std::max(1, blocks / (t.column_blocks * shape.samples));
  const std::size_t chunks =
      std::min<std::size_t>(static_cast<std::size_t>(wanted), (rows + group - 1) / group);
  const auto down = static_cast<std::size_t>(t.down);
  t.chunk_rows = ((rows + chunks - 1) / chunks + down - 1) / down * down;
  t.chunks = static_cast<int>((rows + t.chunk_rows - 1) / t.chunk_rows);
  return t;
}

constexpr int kReductionBlocks = 1024, kMapBlocks = 2048;

/// The most doubles that a reduction keeps between its phases.
inline std::size_t partial_doubles(const Columns& shape) {
  std::size_t most = 0;
  for (const int width : {1, kWide<float>, kWide<BFloat16>}) {
    const Tiling t = tile(shape, width, kReductionBlocks, 4);
    most = std::max(most, static_cast<std::size_t>(t.chunks));
  }
  return most * 2 * static_cast<std::size_t>(shape.matrices()) *
         static_cast<std::size_t>(shape.channels);
}

/// Visits this thread's rows of the block's chunk: calls walk.operator()<U>(offset of the first
/// value, distance between rows) for U rows at a time.
template <int kUnroll, class Walk>
__device__ __forceinline__ void for_rows(const Columns& shape, std::size_t chunk_rows, int channel,
                                         const Walk& walk) {
  const std::size_t first = blockIdx.y * chunk_rows;
  const std::size_t last = first + chunk_rows < shape.rows ? first + chunk_rows : shape.rows;
  const auto channels = static_cast<std::size_t>(shape.channels);
  const std::size_t down = blockDim.y, step = down * channels;
  std::size_t r = first + threadIdx.y;
  std::size_t at = (blockIdx.z * shape.rows + r) * channels + static_cast<std::size_t>(channel);
  for (; r + (kUnroll - 1) * down < last; r += kUnroll * down, at += kUnroll * step)
    walk.template operator()<kUnroll>(at, step);
  for (; r < last; r += down, at += step) walk.template operator()<1>(at, step);
}

template <class Body>
__device__ __forceinline__ int first_channel() {
  return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * Body::kWidth;
}

/// Combines the values of all threads with the same x, in a fixed tree over y. The result is valid
/// for y = 0.
template <class Body, int V>
__device__ __forceinline__ void combine_down(double (&value)[V]) {
  __shared__ double shared[V][kThreads];
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int v = 0; v < V; ++v) shared[v][thread] = value[v];
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) {
#pragma unroll
      for (int v = 0; v < V; ++v)
        shared[v][thread] = Body::combine(shared[v][thread], shared[v][thread + half * blockDim.x]);
    }
  }
#pragma unroll
  for (int v = 0; v < V; ++v) value[v] = shared[v][thread];
  __syncthreads();
}

/// Computes the per-channel constants (lines) of this thread's channels: one thread of the block
/// computes each channel's in double, and all share them. All threads must call this.
template <class Body>
__device__ __forceinline__ void share_lines(const Body& body, int channels,
                                            typename Body::Line (&own)[Body::kWidth]) {
  if constexpr (!std::is_empty_v<typename Body::Line>) {
    __shared__ typename Body::Line lines[kThreads];  // at most kThreads channels per block
    const int width = static_cast<int>(blockDim.x) * Body::kWidth;
    const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    const int c = static_cast<int>(blockIdx.x) * width + thread;
    if (thread < width && c < channels) lines[thread] = body.line(static_cast<int>(blockIdx.z), c);
    __syncthreads();
    if (first_channel<Body>() >= channels) return;
#pragma unroll
    for (int v = 0; v < Body::kWidth; ++v)
      own[v] = lines[static_cast<int>(threadIdx.x) * Body::kWidth + v];
  }
}

/// The Partial of reductions that add: two sums per channel.
template <int V>
struct TwoSums {
  float first[V], second[V];

  __device__ void fold(int, double (&totals)[2][V]) const {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      totals[0][v] += first[v];
      totals[1][v] += second[v];
    }
  }
};

/// First phase of a reduction. Body: kWidth, kUnroll; Line and line(sample, channel); Partial, a
/// thread's sums in float, such as TwoSums; take<U>(offset, step, lines, rows, partial), where
/// `rows` are in `partial` already; combine(a, b); finish(sample, channel, a, b). Two totals per
/// channel start at 0. With a single chunk there is no second phase, and the block calls finish()
/// itself.
template <class Body>
__global__ void __launch_bounds__(kThreads, 2)
    reduce_columns(Body body, Columns shape, std::size_t chunk_rows, double* partial) {
  constexpr int V = Body::kWidth;
  const int c = first_channel<Body>();
  const int sample = static_cast<int>(blockIdx.z);
  double totals[2][V] = {};
  typename Body::Line lines[V] = {};
  share_lines(body, shape.channels, lines);
  if (c < shape.channels) {
    typename Body::Partial sums{};
    int rows = 0;
    const auto fold = [&] {
      sums.fold(rows, totals);
      sums = {};
      rows = 0;
    };
    for_rows<Body::kUnroll>(shape, chunk_rows, c, [&]<int U>(std::size_t at, std::size_t step) {
      body.template take<U>(at, step, lines, rows, sums);
      rows += U;
      if (rows >= kFoldRows) fold();
    });
    if (rows > 0) fold();
  }
  combine_down<Body>(totals[0]);
  combine_down<Body>(totals[1]);
  if (threadIdx.y != 0 || c >= shape.channels) return;
  const auto channels = static_cast<std::size_t>(shape.channels);
  double* chunk = partial + (blockIdx.z * gridDim.y + blockIdx.y) * 2 * channels;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (gridDim.y == 1) {
      body.finish(sample, c + v, totals[0][v], totals[1][v]);
    } else {
      chunk[static_cast<std::size_t>(c + v)] = totals[0][v];
      chunk[channels + static_cast<std::size_t>(c + v)] = totals[1][v];
    }
  }
}

/// Second phase: 8 channels by 32 lanes, each of which combines every 32nd chunk.
template <class Body>
__global__ void __launch_bounds__(kThreads, 2)
    finish_columns(Body body, int channels, int chunks, const double* partial) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const auto width = static_cast<std::size_t>(channels);
  const double* from = partial + blockIdx.z * static_cast<std::size_t>(chunks) * 2 * width;
  double first[1] = {}, second[1] = {};
  if (c < channels) {
#pragma unroll 8
    for (int chunk = static_cast<int>(threadIdx.y); chunk < chunks;
         chunk += static_cast<int>(blockDim.y)) {
      const double* at = from + static_cast<std::size_t>(chunk) * 2 * width + c;
      first[0] = Body::combine(first[0], at[0]);
      second[0] = Body::combine(second[0], at[width]);
    }
  }
  combine_down<Body>(first);
  combine_down<Body>(second);
  if (threadIdx.y == 0 && c < channels)
    body.finish(static_cast<int>(blockIdx.z), c, first[0], second[0]);
}

/// Maps all values. Body: kWidth, kUnroll, Line, line, and take<U>(offset, step, lines).
template <class Body>
__global__ void __launch_bounds__(kThreads, 2)
    map_columns(Body body, Columns shape, std::size_t chunk_rows) {
  const int c = first_channel<Body>();
  typename Body::Line lines[Body::kWidth] = {};
  share_lines(body, shape.channels, lines);
  if (c >= shape.channels) return;
  for_rows<Body::kUnroll>(shape, chunk_rows, c, [&]<int U>(std::size_t at, std::size_t step) {
    body.template take<U>(at, step, lines);
  });
}

/// Combines `chunks` partial sums per sample and channel, [samples, chunks, 2, channels].
template <class Body>
void run_finish(cudaStream_t stream, const Body& body, int samples, int channels, int chunks,
                const double* partial) {
  constexpr unsigned kAcross = 8;
  launch(finish_columns<Body>,
         dim3((static_cast<unsigned>(channels) + kAcross - 1) / kAcross, 1,
              static_cast<unsigned>(samples)),
         dim3(kAcross, kThreads / kAcross), 0, stream, body, channels, chunks, partial);
}

/// `partial` holds at least partial_doubles(shape) doubles.
template <class Body>
void run_reduction(cudaStream_t stream, const Body& body, const Columns& shape, double* partial) {
  const Tiling t = tile(shape, Body::kWidth, kReductionBlocks, 4);
  launch(reduce_columns<Body>, t.grid(shape.matrices()), t.block(), 0, stream, body, shape,
         t.chunk_rows, partial);
  if (t.chunks > 1) run_finish(stream, body, shape.matrices(), shape.channels, t.chunks, partial);
}

template <class Body>
void run_map(cudaStream_t stream, const Body& body, const Columns& shape) {
  if (shape.rows == 0) return;
  const Tiling t = tile(shape, Body::kWidth, kMapBlocks, 2);
  launch(map_columns<Body>, t.grid(shape.matrices()), t.block(), 0, stream, body, shape,
         t.chunk_rows);
}

}  // namespace syncnorm::cuda
