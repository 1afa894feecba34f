// Reads and writes activations as f32 or bf16, V values at a time: in one 16-byte access where V is
// kWide, as single values otherwise. Arithmetic is always in float.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/bfloat16.h"
#include "kernels/ops.h"

namespace syncnorm::cuda {

/// The number of values of type T in a 16-byte access.
template <class T>
constexpr int kWide = static_cast<int>(16 / sizeof(T));

template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T value[V];
};

__device__ __forceinline__ float as_float(float value) { return value; }
__device__ __forceinline__ float as_float(BFloat16 value) { return to_float(value); }
template <class T>
__device__ __forceinline__ T as_stored(float value) {
  if constexpr (sizeof(T) == 2)
    return to_bfloat16(value);
  else
    return value;
}

template <class T, int V>
__device__ __forceinline__ void load(const T* from, float (&values)[V]) {
  const auto pack = *reinterpret_cast<const Pack<T, V>*>(from);
#pragma unroll
  for (int v = 0; v < V; ++v) values[v] = as_float(pack.value[v]);
}

template <class T, int V>
__device__ __forceinline__ void store(T* to, const float (&values)[V]) {
  Pack<T, V> pack;
#pragma unroll
  for (int v = 0; v < V; ++v) pack.value[v] = as_stored<T>(values[v]);
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

/// Returns true when all non-null pointers are 16-byte aligned.
template <class... Pointers>
bool aligned(Pointers... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) | ...) % 16) == 0;
}

/// Calls run.operator()<T, V>() for the storage. V values are 16 bytes where the pointers'
/// alignment and the row length allow it, else V is 1.
template <class Run>
void with_storage(Storage storage, bool pointers_aligned, std::size_t row, const Run& run) {
  if (storage == Storage::f32) {
    if (pointers_aligned && row % kWide<float> == 0)
      run.template operator()<float, kWide<float>>();
    else
      run.template operator()<float, 1>();
  } else {
    if (pointers_aligned && row % kWide<BFloat16> == 0)
      run.template operator()<BFloat16, kWide<BFloat16>>();
    else
      run.template operator()<BFloat16, 1>();
  }
}

}  // namespace syncnorm::cuda
