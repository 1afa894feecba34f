// Replaces the program's operator new by one that can count. Included by exactly one source file of
// a test program. Calls that oneDNN, CUDA and its libraries make for themselves are left out.
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string_view>
#include <vector>

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

bool is_of_a_library(const void* caller) {
  Dl_info info{};
  if (dladdr(caller, &info) == 0 || info.dli_fname == nullptr) return false;
  const std::string_view file = info.dli_fname;
  for (const char* library : {"libdnnl", "libcuda.", "libcudnn", "libcublas", "libnccl", "libnv"})
    if (file.find(library) != std::string_view::npos) return true;
  return false;
}

void* counted_allocation(std::size_t bytes, const void* caller) noexcept {
  if (counting.load(std::memory_order_relaxed)) {
    if (!is_of_a_library(caller)) allocations.fetch_add(1, std::memory_order_relaxed);
  }
  return std::malloc(bytes > 0 ? bytes : 1);
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  void* const data = counted_allocation(bytes, __builtin_return_address(0));
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
[[gnu::noinline]] void* operator new[](std::size_t bytes) {
  void* const data = counted_allocation(bytes, __builtin_return_address(0));
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted_allocation(bytes, __builtin_return_address(0));
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted_allocation(bytes, __builtin_return_address(0));
}
[[gnu::noinline]] void operator delete(void* data) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete[](void* data) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete(void* data, std::size_t) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete[](void* data, std::size_t) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete(void* data, const std::nothrow_t&) noexcept {
  std::free(data);
}
[[gnu::noinline]] void operator delete[](void* data, const std::nothrow_t&) noexcept {
  std::free(data);
}

namespace syncnorm::test {

/// Runs `body` and returns how often it allocated.
template <class Body>
int allocations_in(const Body& body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

/// What allocations_in() must see: an allocation that no compiler may leave out.
inline void allocate_visibly() {
  std::vector<int> values(100);
  asm volatile("" : : "r"(values.data()) : "memory");
}

}  // namespace syncnorm::test
