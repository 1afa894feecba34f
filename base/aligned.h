// Memory aligned for vector instructions and for copies to devices.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace syncnorm {

inline constexpr std::size_t kBufferAlignment = 64;  // bytes

struct AlignedDelete {
  void operator()(std::byte* p) const {
    ::operator delete[](p, std::align_val_t{kBufferAlignment});
  }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

/// Returns `bytes` uninitialized bytes at a multiple of kBufferAlignment.
inline AlignedBytes allocate_aligned(std::size_t bytes) {
  return AlignedBytes(
      static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kBufferAlignment})));
}

/// Rounds up to a multiple of kBufferAlignment.
constexpr std::size_t to_alignment(std::size_t bytes) {
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace syncnorm
