// State shared by the CPU kernels: the loops for this processor, the oneDNN engine, and scratch
// memory.
//
// One file per kind of operation specializes compile() below; device.cpp only forwards. The kernels
// of a context run one at a time, so they can share one scratch area of the largest size.
#pragma once

#include <memory>

#include <dnnl.hpp>

#include "kernels/cpu/loops.h"
#include "kernels/device.h"
#include "kernels/make_kernel.h"

namespace syncnorm::cpu {

/// Memory that kernels share, since they run one at a time. Kernels request it when compiled and
/// use it when run.
class Scratch {
 public:
  void need(std::size_t bytes);
  std::byte* data() const { return buffer_.data(); }

 private:
  Buffer buffer_;
};

/// The way in which this processor computes on bf16; `none` until Device::use_storage() is called
/// for it.
enum class BFloat16Arithmetic { none, native, emulated };

class Context {
 public:
  explicit Context(const Loops& chosen);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Loops& loops;
  dnnl::engine engine;
  dnnl::stream stream;

  BFloat16Arithmetic bf16 = BFloat16Arithmetic::none;
  Scratch scratch;  // for oneDNN
  Scratch wide;     // for emulated bf16 kernels, which themselves call oneDNN

  /// The type on which oneDNN computes. Throws InputError for bf16 without Device::use_storage().
  dnnl::memory::data_type onednn_type(Storage storage) const;
  bool emulates(Storage storage) const {
    return storage == Storage::bf16 && bf16 == BFloat16Arithmetic::emulated;
  }
};

Buffer allocate_host(std::size_t bytes);

/// Returns true for a tensor of `values` that is too large to be still in a cache at its next read.
constexpr bool past_caches(std::size_t values, Storage storage) {
  return values * storage_bytes(storage) >= std::size_t{16} << 20;
}

/// Calls body<S>(), where S is the in-memory type of values of this storage.
template <class Body>
auto with_storage(Storage storage, const Body& body) {
  return storage == Storage::f32 ? body.template operator()<float>()
                                 : body.template operator()<BFloat16>();
}

/// A stored value as a float, and back.
inline float read(float value) { return value; }
inline float read(BFloat16 value) { return to_float(value); }
inline void write(float& place, float value) { place = value; }
inline void write(BFloat16& place, float value) { place = to_bfloat16(value); }

/// Specialized for every operation in the file of its kind.
template <class O>
KernelPtr compile(Context&, const O&);

std::size_t packed_bytes(Context&, const ConvPack&);
std::size_t workspace_bytes(Context&, const PoolForward&);

}  // namespace syncnorm::cpu
