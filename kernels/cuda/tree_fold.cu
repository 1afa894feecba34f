// Folds the values of a tree reduction, and writes a few bytes passed as a launch argument.
#include <cstring>

#include "base/error.h"
#include "kernels/cuda/flat.h"

namespace syncnorm::cuda {
namespace {

constexpr int kMostSlots = 32;  // stack slots; a fold of n values needs about log2 n

/// Folds one value per thread, with the stack in the thread's local memory.
template <class T>
__global__ void __launch_bounds__(kThreads)
    fold_subtrees(const std::uint8_t* merges, int subtrees, std::size_t count, std::size_t stride,
                  bool maximum, const T* from, T* to) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  T stack[kMostSlots];
  int height = 0;
  for (int n = 0; n < subtrees; ++n) {
    stack[height++] = from[static_cast<std::size_t>(n) * stride + i];
    for (int m = merges[n]; m > 0; --m, --height) {
      const T a = stack[height - 2], b = stack[height - 1];
      stack[height - 2] = maximum ? (b > a ? b : a) : a + b;
    }
  }
  for (int n = 0; n < height; ++n) to[static_cast<std::size_t>(n) * count + i] = stack[n];
}

struct Bytes {
  unsigned char value[Device::kMostWritten];
};

__global__ void put_bytes(Bytes bytes, int count, unsigned char* to) {
  for (int i = 0; i < count; ++i) to[i] = bytes.value[i];
}

}  // namespace

void write_bytes(cudaStream_t stream, void* to, const void* from, std::size_t bytes) {
  Bytes value{};
  if (bytes > sizeof value) throw std::logic_error("CUDA: too many bytes for a write");
  std::memcpy(&value, from, bytes);
  launch(put_bytes, dim3(1), dim3(1), 0, stream, value, static_cast<int>(bytes),
         static_cast<unsigned char*>(to));
}

template <>
KernelPtr compile(Context& context, const TreeFold& op) {
  std::vector<std::uint8_t> merges;
  int height = 0, highest = 0;
  for (const int m : op.merges) {
    highest = std::max(highest, ++height);
    height -= m;
    merges.push_back(static_cast<std::uint8_t>(m));
  }
  if (highest > kMostSlots)
    throw InputError(
        "device: cuda: this placement of replicas folds over too many places; use a "
        "number of ranks that divides the replicas");
  // Shared, because a closure can be copied.
  auto list = std::make_shared<Buffer>(allocate_device(merges.size(), context.stream));
  if (!merges.empty())
    check(cudaMemcpyAsync(list->data(), merges.data(), merges.size(), cudaMemcpyDefault,
                          context.stream),
          "could not copy");
  check(cudaStreamSynchronize(context.stream), "could not copy");
  return make_kernel<TreeFold>([op, list, &context](const auto& a, const StepState&) {
    const auto run = [&]<class T>(T*) {
      launch(fold_subtrees<T>, dim3(static_cast<unsigned>((op.count + kThreads - 1) / kThreads)),
             dim3(kThreads), 0, context.stream, reinterpret_cast<const std::uint8_t*>(list->data()),
             static_cast<int>(op.merges.size()), op.count, op.stride, op.maximum,
             typed<T>(a.subtrees), typed<T>(a.left));
    };
    if (op.count == 0 || op.merges.empty()) return;
    if (op.doubles)
      run(static_cast<double*>(nullptr));
    else
      run(static_cast<float*>(nullptr));
  });
}

}  // namespace syncnorm::cuda
