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
/// Rounds as to_bfloat16() does. The GPU's instruction rounds two values at once; a nan becomes its
/// canonical nan.
__device__ __forceinline__ BFloat16 narrowed(float value) {
#ifdef __CUDA_ARCH__
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return static_cast<BFloat16>(bits);
#else
  return to_bfloat16(value);
#endif
}
__device__ __forceinline__ void narrow_two(const float* from, BFloat16* to) {
#ifdef __CUDA_ARCH__
  std::uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(from[1]), "f"(from[0]));
  *reinterpret_cast<std::uint32_t*>(to) = bits;
#else
  to[0] = to_bfloat16(from[0]);
  to[1] = to_bfloat16(from[1]);
#endif
}

template <class T>
__device__ __forceinline__ T as_stored(float value) {
  if constexpr (sizeof(T) == 2)
    return narrowed(value);
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
__device__ __forceinline__ Pack<T, V> packed(const float (&values)[V]) {
  Pack<T, V> pack;
  if constexpr (sizeof(T) == 2 && V % 2 == 0) {
#pragma unroll
    for (int v = 0; v < V; v += 2) narrow_two(values + v, pack.value + v);
  } else {
#pragma unroll
    for (int v = 0; v < V; ++v) pack.value[v] = as_stored<T>(values[v]);
  }
  return pack;
}

template <class T, int V>
__device__ __forceinline__ void store(T* to, const float (&values)[V]) {
  *reinterpret_cast<Pack<T, V>*>(to) = packed<T>(values);
}

/// Stores, and replaces the values by what was stored: sums of them agree with what others read.
template <class T, int V>
__device__ __forceinline__ void store_rounded(T* to, float (&values)[V]) {
  const Pack<T, V> pack = packed<T>(values);
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
#pragma unroll
  for (int v = 0; v < V; ++v) values[v] = as_float(pack.value[v]);
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
