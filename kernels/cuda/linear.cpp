// Fully connected layers with cuBLASLt: f32 without TF32, an algorithm chosen by its heuristics
// alone with a fixed workspace limit, and our own kernels for the bias.
//
// cuBLASLt uses column-major matrices: a row-major matrix [r, c] is its column-major [c, r], so a
// product is computed with its factors exchanged.
#include <memory>
#include <stdexcept>

#include "kernels/cuda/bias.h"
#include "kernels/cuda/libraries.h"

namespace syncnorm::cuda {
namespace {

/// C = op(A)·op(B), all column-major: C is [m, n] and the sum runs over k.
struct Product {
  cublasOperation_t transpose_a, transpose_b;
  int m, n, k;
};

struct Release {
  void operator()(cublasLtMatmulDescOpaque_t* p) const { cublasLtMatmulDescDestroy(p); }
  void operator()(cublasLtMatrixLayoutOpaque_t* p) const { cublasLtMatrixLayoutDestroy(p); }
  void operator()(cublasLtMatmulPreferenceOpaque_t* p) const { cublasLtMatmulPreferenceDestroy(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Release>;

class Matmul {
 public:
  Matmul(CudaLibraries& libraries, const Product& p) : libraries_(&libraries) {
    cublasLtMatmulDesc_t product = nullptr;
    check(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    product_.reset(product);
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b);
    a_ = make_layout(p.transpose_a == CUBLAS_OP_N, p.m, p.k);
    b_ = make_layout(p.transpose_b == CUBLAS_OP_N, p.k, p.n);
    c_ = make_layout(true, p.m, p.n);
    choose();
  }
  std::size_t workspace_bytes() const { return algorithm_.workspaceSize; }

  void run(const void* a, const void* b, void* c, void* workspace, cudaStream_t stream) const {
    const float one = 1.0f, zero = 0.0f;
    check(cublasLtMatmul(libraries_->cublas, product_.get(), &one, a, a_.get(), b, b_.get(), &zero,
                         c, c_.get(), c, c_.get(), &algorithm_.algo, workspace,
                         algorithm_.workspaceSize, stream),
          "could not multiply two matrices");
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t name, const T& value) {
    check(cublasLtMatmulDescSetAttribute(product_.get(), name, &value, sizeof value),
          "an attribute");
  }

  static Owned<cublasLtMatrixLayoutOpaque_t> make_layout(bool as_is, int rows, int columns) {
    const auto r = static_cast<std::uint64_t>(as_is ? rows : columns);
    const auto c = static_cast<std::uint64_t>(as_is ? columns : rows);
    cublasLtMatrixLayout_t layout = nullptr;
    check(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, r, c, static_cast<std::int64_t>(r)),
          "a matrix");
    return Owned<cublasLtMatrixLayoutOpaque_t>(layout);
  }

  void choose() {
    cublasLtMatmulPreference_t made = nullptr;
    check(cublasLtMatmulPreferenceCreate(&made), "a preference");
    const Owned<cublasLtMatmulPreferenceOpaque_t> preference(made);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
      check(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof value),
            "a preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceLimit});
    for (const auto name :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      prefer(name, std::uint32_t{sizeof(float)});
    // Partial sums of a split k go to the workspace and are added in order, never by atomics in
    // place.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    int found = 0;
    check(cublasLtMatmulAlgoGetHeuristic(libraries_->cublas, product_.get(), a_.get(), b_.get(),
                                         c_.get(), c_.get(), preference.get(), 1, &algorithm_,
                                         &found),
          "could not choose an algorithm");
    if (found == 0) throw std::runtime_error("cuBLASLt has no algorithm for this product");
  }

  CudaLibraries* libraries_;
  Owned<cublasLtMatmulDescOpaque_t> product_;
  Owned<cublasLtMatrixLayoutOpaque_t> a_, b_, c_;
  cublasLtMatmulHeuristicResult_t algorithm_{};
};

std::shared_ptr<Matmul> make_matmul(Context& context, const Product& product) {
  auto matmul = std::make_shared<Matmul>(libraries_of(context), product);
  context.need_scratch(matmul->workspace_bytes());
  return matmul;
}

}  // namespace

template <>
KernelPtr compile(Context& context, const LinearForward& op) {
  const auto matmul = make_matmul(context, {CUBLAS_OP_T, CUBLAS_OP_N, op.out, op.samples, op.in});
  return make_kernel<LinearForward>([op, matmul, &context](const auto& a, const StepState&) {
    matmul->run(a.weight, a.x, a.y, context.scratch<void>(), context.stream);
    if (a.bias != nullptr)
      add_bias(context, Storage::f32, static_cast<std::size_t>(op.samples), op.out, a.bias, a.y);
  });
}

template <>
KernelPtr compile(Context& context, const LinearDgrad& op) {
  const auto matmul = make_matmul(context, {CUBLAS_OP_N, CUBLAS_OP_N, op.in, op.samples, op.out});
  return make_kernel<LinearDgrad>([matmul, &context](const auto& a, const StepState&) {
    matmul->run(a.weight, a.dy, a.dx, context.scratch<void>(), context.stream);
  });
}

template <>
KernelPtr compile(Context& context, const LinearWgrad& op) {
  const auto matmul = make_matmul(context, {CUBLAS_OP_N, CUBLAS_OP_T, op.in, op.out, op.samples});
  const auto rows = static_cast<std::size_t>(op.samples);
  context.need_scratch(bias_scratch_bytes(rows, op.out));
  return make_kernel<LinearWgrad>([op, rows, matmul, &context](const auto& a, const StepState&) {
    matmul->run(a.x, a.dy, a.dweight, context.scratch<void>(), context.stream);
    if (a.dbias != nullptr)
      bias_gradient(context, Storage::f32, rows, op.out, a.dy, context.scratch<double>(), a.dbias);
  });
}

}  // namespace syncnorm::cuda
