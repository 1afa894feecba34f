// Changes of layout, channels last to channels first and back: a transposed matrix [rows, columns]
// per sample, tile by tile.
#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

constexpr int kTile = 32, kDeep = 8;

template <class T>
__global__ void __launch_bounds__(kTile* kDeep)
    transpose_tiles(const T* from, T* to, int rows, int columns) {
  __shared__ T tile[kTile][kTile + 1];  // the extra column avoids bank conflicts
  const std::size_t base = blockIdx.z * static_cast<std::size_t>(rows) * columns;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int first_row = static_cast<int>(blockIdx.y) * kTile;
  const int first_column = static_cast<int>(blockIdx.x) * kTile;
  for (int r = y; r < kTile; r += kDeep)
    if (first_row + r < rows && first_column + x < columns)
      tile[r][x] =
          from[base + static_cast<std::size_t>(first_row + r) * columns + first_column + x];
  __syncthreads();
  for (int c = y; c < kTile; c += kDeep)
    if (first_column + c < columns && first_row + x < rows)
      to[base + static_cast<std::size_t>(first_column + c) * rows + first_row + x] = tile[x][c];
}

template <class T>
void transpose(Context& context, const T* from, T* to, int count, int rows, int columns) {
  constexpr int kMostAtOnce = 32768;  // a grid is at most 65,535 deep
  const auto tiles = [](int n) { return static_cast<unsigned>((n + kTile - 1) / kTile); };
  const std::size_t size = static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  for (int first = 0; first < count; first += kMostAtOnce) {
    const std::size_t offset = static_cast<std::size_t>(first) * size;
    launch(transpose_tiles<T>,
           dim3(tiles(columns), tiles(rows),
                static_cast<unsigned>(std::min(kMostAtOnce, count - first))),
           dim3(kTile, kDeep), 0, context.stream, from + offset, to + offset, rows, columns);
  }
}

}  // namespace

template <>
KernelPtr compile(Context& context, const ToChannelsFirst& op) {
  return make_kernel<ToChannelsFirst>([op, &context](const auto& a, const StepState&) {
    const int rows = op.inverse ? op.channels : op.pixels;
    const int columns = op.inverse ? op.pixels : op.channels;
    if (op.storage == Storage::f32)
      transpose(context, typed<float>(a.x), typed<float>(a.y), op.samples, rows, columns);
    else
      transpose(context, typed<BFloat16>(a.x), typed<BFloat16>(a.y), op.samples, rows, columns);
  });
}

}  // namespace syncnorm::cuda
