// What the CPU kernels share: the loops of this processor, the oneDNN engine, one scratch area.
//
// One file per kind of operation specializes compile() below; device.cpp only
// forwards. Kernels of one context run one at a time, so one scratch area of the largest size
// serves them all.
#pragma once

#include <memory>

#include <dnnl.hpp>

#include "kernels/cpu/loops.h"
#include "kernels/device.h"
#include "kernels/make_kernel.h"

namespace syncnorm::cpu {

/// Memory that kernels share; they run one at a time. Asked for while compiling, used later.
class Scratch {
 public:
  void need(std::size_t bytes);
  std::byte* data() const { return buffer_.data(); }

 private:
  Buffer buffer_;
};

/// How this processor computes on bf16: not at all, until Device::use_storage() has been asked.
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
  Scratch scratch;  // oneDNN's
  Scratch wide;     // of emulated bf16 kernels, which call oneDNN

  /// The type that oneDNN computes on. Throws InputError when bf16 was not asked for.
  dnnl::memory::data_type onednn_type(Storage storage) const;
  bool emulates(Storage storage) const {
    return storage == Storage::bf16 && bf16 == BFloat16Arithmetic::emulated;
  }
};

Buffer allocate_host(std::size_t bytes);

/// Whether a tensor of `values` is too large to be found in a cache by who reads it next.
constexpr bool past_caches(std::size_t values, Storage storage) {
  return values * storage_bytes(storage) >= std::size_t{16} << 20;
}

/// Calls body<S>() for the type S that values stored as `storage` have in memory.
template <class Body>
auto with_storage(Storage storage, const Body& body) {
  return storage == Storage::f32 ? body.template operator()<float>()
                                 : body.template operator()<BFloat16>();
}

/// Defined for every operation in the file that knows it.
template <class O>
KernelPtr compile(Context&, const O&);

std::size_t packed_bytes(Context&, const ConvPack&);
std::size_t workspace_bytes(Context&, const PoolForward&);

}  // namespace syncnorm::cpu
