// oneDNN's own batch normalization, which `syncnorm bench norm` compares with ours: same shape,
// channels last, training, scale and shift, one thread.
#pragma once

#include <memory>
#include <string>

#include "kernels/bench/norm_bench.h"

namespace syncnorm {

class OneDnnNorm {
 public:
  /// `relu`: fuses ReLU into both directions; oneDNN's workspace keeps the mask.
  OneDnnNorm(const NormShape& shape, bool relu);
  ~OneDnnNorm();
  OneDnnNorm(OneDnnNorm&&) noexcept;

  void forward(const float* x, float* y);
  /// Runs the backward pass of the last forward pass.
  void backward(const float* dy, const float* x, float* dx);
  /// oneDNN's name for the implementation, such as "bnorm_jit:avx2".
  std::string implementation() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace syncnorm
