// Fully connected layers: oneDNN's sgemm on row-major matrices, with our own loops for the bias.
#include <cstring>

#include "kernels/cpu/context.h"

namespace syncnorm::cpu {
namespace {

/// C[m,n] = op(A)·op(B), row-major.
void gemm(char ta, char tb, int m, int n, int k, const float* a, int lda, const float* b, int ldb,
          float* c, int ldc) {
  dnnl::error::wrap_c_api(dnnl_sgemm(ta, tb, m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc),
                          "oneDNN could not multiply two matrices");
}

}  // namespace

template <>
KernelPtr compile(Context&, const LinearForward& op) {
  return make_kernel<LinearForward>([op](const auto& a, const StepState&) {
    const auto *x = a.x, *w = a.weight;
    const auto* bias = a.bias;
    auto* y = a.y;
    gemm('N', 'T', op.samples, op.out, op.in, x, op.in, w, op.in, y, op.out);
    if (bias == nullptr) return;
    for (int n = 0; n < op.samples; ++n)
      for (int o = 0; o < op.out; ++o) y[static_cast<std::ptrdiff_t>(n) * op.out + o] += bias[o];
  });
}

template <>
KernelPtr compile(Context&, const LinearDgrad& op) {
  return make_kernel<LinearDgrad>([op](const auto& a, const StepState&) {
    gemm('N', 'N', op.samples, op.in, op.out, a.dy, op.out, a.weight, op.in, a.dx, op.in);
  });
}

template <>
KernelPtr compile(Context&, const LinearWgrad& op) {
  return make_kernel<LinearWgrad>([op](const auto& a, const StepState&) {
    const auto *x = a.x, *dy = a.dy;
    gemm('T', 'N', op.out, op.in, op.samples, dy, op.out, x, op.in, a.dweight, op.in);
    auto* dbias = a.dbias;
    if (dbias == nullptr) return;
    std::memset(dbias, 0, sizeof(float) * static_cast<std::size_t>(op.out));
    for (int n = 0; n < op.samples; ++n)
      for (int o = 0; o < op.out; ++o) dbias[o] += dy[static_cast<std::ptrdiff_t>(n) * op.out + o];
  });
}

}  // namespace syncnorm::cpu
