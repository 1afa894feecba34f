// Folds the values of a tree reduction. Reductions on the CPU fold their messages in place
// (comm/reduction.cpp); this operation is for programs whose reductions are queued on a device.
#include <array>
#include <cassert>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {
namespace {

constexpr std::size_t kMostSlots = 64;  // stack slots; a fold of n values needs about log2 n

template <class T>
void fold(const TreeFold& op, const T* subtrees, T* out) {
  std::array<T, kMostSlots> stack;
  for (std::size_t i = 0; i < op.count; ++i) {
    std::size_t height = 0;
    for (std::size_t n = 0; n < op.merges.size(); ++n) {
      assert(height < kMostSlots);
      stack[height++] = subtrees[n * op.stride + i];
      for (int m = 0; m < op.merges[n]; ++m, --height) {
        T& to = stack[height - 2];
        const T from = stack[height - 1];
        to = op.maximum ? (from > to ? from : to) : to + from;
      }
    }
    for (std::size_t n = 0; n < height; ++n) out[n * op.count + i] = stack[n];
  }
}

}  // namespace

template <>
KernelPtr compile(Context&, const TreeFold& op) {
  return make_kernel<TreeFold>([op](const auto& a, const StepState&) {
    if (op.doubles)
      fold(op, typed<double>(a.subtrees), typed<double>(a.left));
    else
      fold(op, typed<float>(a.subtrees), typed<float>(a.left));
  });
}

}  // namespace syncnorm::cpu
