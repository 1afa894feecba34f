// The type in which activations and their gradients are stored.
#pragma once

#include <cstddef>

namespace syncnorm {

/// Arithmetic is in f32 or better with either storage; a value is rounded to nearest, ties to even,
/// when it is stored. Parameters, statistics, sums, weight gradients and all per-channel values are
/// f32 or f64 whatever the storage.
enum class Storage { f32, bf16 };
constexpr std::size_t storage_bytes(Storage storage) { return storage == Storage::f32 ? 4 : 2; }

}  // namespace syncnorm
