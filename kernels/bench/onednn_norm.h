// oneDNN's own batch normalization, for `syncnorm bench norm` to stand beside ours: same shape,
// channels last, training, scale and shift, one thread.
#pragma once

#include <memory>
#include <string>

#include "kernels/bench/norm_bench.h"

namespace syncnorm {

class OneDnnNorm {
 public:
  /// `relu`: fused into both directions, the mask kept in oneDNN's workspace.
  OneDnnNorm(const NormShape& shape, bool relu);
  ~OneDnnNorm();
  OneDnnNorm(OneDnnNorm&&) noexcept;

  void forward(const float* x, float* y);
  /// The backward pass of the last forward pass.
  void backward(const float* dy, const float* x, float* dx);
  /// oneDNN's name of what it runs, such as "bnorm_jit:avx2".
  std::string implementation() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace syncnorm
