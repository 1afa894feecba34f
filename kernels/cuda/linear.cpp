// Fully connected layers with cuBLASLt: f32 without TF32, an algorithm by the heuristics alone with
// a fixed workspace, and the bias by our own kernels.
//
// cuBLASLt thinks in columns: a row-major matrix [r, c] is its column-major [c, r], so a product is
// asked for with its factors exchanged.
#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/layout.h"
#include "kernels/cuda/libraries.h"

namespace syncnorm::cuda {
namespace {

/// C = op(A)·op(B), all column-major: C is [m, n] and the sum runs over k.
struct Product {
  cublasOperation_t transpose_a, transpose_b;
  int m, n, k;
};

class Matmul {
 public:
  Matmul(CudaLibraries& libraries, const Product& p) : libraries_(&libraries) {
    check(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b);
    make_layout(a_, p.transpose_a == CUBLAS_OP_N, p.m, p.k);
    make_layout(b_, p.transpose_b == CUBLAS_OP_N, p.k, p.n);
    make_layout(c_, true, p.m, p.n);
    choose();
  }
  ~Matmul() {
    for (cublasLtMatrixLayout_t layout : {a_, b_, c_})
      if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    if (product_ != nullptr) cublasLtMatmulDescDestroy(product_);
  }
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  std::size_t workspace_bytes() const { return algorithm_.workspaceSize; }

  void run(const void* a, const void* b, void* c, void* workspace, cudaStream_t stream) const {
    const float one = 1.0f, zero = 0.0f;
    check(cublasLtMatmul(libraries_->cublas, product_, &one, a, a_, b, b_, &zero, c, c_, c, c_,
                         &algorithm_.algo, workspace, algorithm_.workspaceSize, stream),
          "could not multiply two matrices");
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t name, const T& value) {
    check(cublasLtMatmulDescSetAttribute(product_, name, &value, sizeof value), "an attribute");
  }

  static void make_layout(cublasLtMatrixLayout_t& layout, bool as_is, int rows, int columns) {
    const auto r = static_cast<std::uint64_t>(as_is ? rows : columns);
    const auto c = static_cast<std::uint64_t>(as_is ? columns : rows);
    check(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, r, c, static_cast<std::int64_t>(r)),
          "a matrix");
  }

  void choose() {
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "a preference");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
      return cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof value);
    };
    // Partial sums of a split k in the workspace, added in order; never by atomics in place.
    const std::uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const std::uint32_t alignment = sizeof(float);
    cublasStatus_t status =
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceLimit});
    for (const auto name :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      if (status == CUBLAS_STATUS_SUCCESS) status = prefer(name, alignment);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
    int found = 0;
    if (status == CUBLAS_STATUS_SUCCESS)
      status = cublasLtMatmulAlgoGetHeuristic(libraries_->cublas, product_, a_, b_, c_, c_,
                                              preference, 1, &algorithm_, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    check(status, "could not choose an algorithm");
    if (found == 0) throw std::runtime_error("cuBLASLt has no algorithm for this product");
  }

  CudaLibraries* libraries_;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulHeuristicResult_t algorithm_{};
};

std::shared_ptr<Matmul> make_matmul(Context& context, const Product& product) {
  auto matmul = std::make_shared<Matmul>(libraries_of(context), product);
  context.need_scratch(matmul->workspace_bytes());
  return matmul;
}

}  // namespace

KernelPtr compile(Context& context, const LinearForward& op) {
  const auto matmul = make_matmul(context, {CUBLAS_OP_T, CUBLAS_OP_N, op.out, op.samples, op.in});
  return make_kernel([op, matmul, &context](std::span<void* const> args, const StepState&) {
    matmul->run(args[1], args[0], args[3], context.scratch<void>(), context.stream);
    if (args[2] != nullptr)
      add_bias(context, Storage::f32, static_cast<std::size_t>(op.samples), op.out,
               arg<const float>(args, 2), args[3]);
  });
}

KernelPtr compile(Context& context, const LinearDgrad& op) {
  const auto matmul = make_matmul(context, {CUBLAS_OP_N, CUBLAS_OP_N, op.in, op.samples, op.out});
  return make_kernel([matmul, &context](std::span<void* const> args, const StepState&) {
    matmul->run(args[1], args[0], args[2], context.scratch<void>(), context.stream);
  });
}

KernelPtr compile(Context& context, const LinearWgrad& op) {
  const auto matmul = make_matmul(context, {CUBLAS_OP_N, CUBLAS_OP_T, op.in, op.out, op.samples});
  const auto rows = static_cast<std::size_t>(op.samples);
  context.need_scratch(bias_scratch_bytes(rows, op.out));
  return make_kernel([op, rows, matmul, &context](std::span<void* const> args, const StepState&) {
    matmul->run(args[0], args[1], args[2], context.scratch<void>(), context.stream);
    if (args[3] != nullptr)
      bias_gradient(context, Storage::f32, rows, op.out, args[1], context.scratch<double>(),
                    arg<float>(args, 3));
  });
}

}  // namespace syncnorm::cuda
