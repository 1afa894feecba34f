// Fully connected layers: oneDNN's sgemm on row-major matrices, and the bias by our own loops.
#include <cstring>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {
namespace {

/// C[m,n] = op(A)·op(B), row-major, plain leading dimensions.
void gemm(char ta, char tb, int m, int n, int k, const float* a, int lda, const float* b, int ldb,
          float* c, int ldc) {
  dnnl::error::wrap_c_api(dnnl_sgemm(ta, tb, m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc),
                          "oneDNN could not multiply two matrices");
}

}  // namespace

KernelPtr compile(Context&, const LinearForward& op) {
  return make_kernel([op](std::span<void* const> a, const StepState&) {
    const auto *x = arg<const float>(a, 0), *w = arg<const float>(a, 1);
    const auto* bias = arg<const float>(a, 2);
    auto* y = arg<float>(a, 3);
    gemm('N', 'T', op.samples, op.out, op.in, x, op.in, w, op.in, y, op.out);
    if (bias == nullptr) return;
    for (int n = 0; n < op.samples; ++n)
      for (int o = 0; o < op.out; ++o) y[static_cast<std::ptrdiff_t>(n) * op.out + o] += bias[o];
  });
}

KernelPtr compile(Context&, const LinearDgrad& op) {
  return make_kernel([op](std::span<void* const> a, const StepState&) {
    gemm('N', 'N', op.samples, op.in, op.out, arg<const float>(a, 0), op.out,
         arg<const float>(a, 1), op.in, arg<float>(a, 2), op.in);
  });
}

KernelPtr compile(Context&, const LinearWgrad& op) {
  return make_kernel([op](std::span<void* const> a, const StepState&) {
    const auto *x = arg<const float>(a, 0), *dy = arg<const float>(a, 1);
    gemm('T', 'N', op.out, op.in, op.samples, dy, op.out, x, op.in, arg<float>(a, 2), op.in);
    auto* dbias = arg<float>(a, 3);
    if (dbias == nullptr) return;
    std::memset(dbias, 0, sizeof(float) * static_cast<std::size_t>(op.out));
    for (int n = 0; n < op.samples; ++n)
      for (int o = 0; o < op.out; ++o) dbias[o] += dy[static_cast<std::ptrdiff_t>(n) * op.out + o];
  });
}

}  // namespace syncnorm::cpu
