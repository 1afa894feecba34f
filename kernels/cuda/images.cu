// Makes augmented and normalized images from stored ones, one thread per value.
#include "kernels/cuda/flat.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads)
    make_images(MakeImages op, const std::uint8_t* stored, const ImageMap* maps, const float* table,
                T* out) {
  const int size = op.height * op.width * op.channels;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= size) return;
  const std::size_t first = blockIdx.y * static_cast<std::size_t>(size);
  const int pixel = i / op.channels;
  out[first + static_cast<std::size_t>(i)] =
      as_stored<T>(image_value(op, maps[blockIdx.y], stored + first, table, pixel / op.width,
                               pixel % op.width, i % op.channels));
}

}  // namespace

template <>
KernelPtr compile(Context& context, const MakeImages& op) {
  return make_kernel<MakeImages>([op, &context](const auto& a, const StepState&) {
    const int size = op.height * op.width * op.channels;
    const dim3 grid(static_cast<unsigned>((size + kThreads - 1) / kThreads),
                    static_cast<unsigned>(op.samples));
    const auto run = [&]<class T>(T* images) {
      launch(make_images<T>, grid, dim3(kThreads), 0, context.stream, op, a.stored, a.maps, a.table,
             images);
    };
    if (op.storage == Storage::f32)
      run(typed<float>(a.images));
    else
      run(typed<BFloat16>(a.images));
  });
}

}  // namespace syncnorm::cuda
