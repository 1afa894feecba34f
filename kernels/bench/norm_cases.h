// The kernels that `syncnorm bench norm` runs, and their tensors. Each case is one call from a
// training step, or the calls of a whole forward or backward pass.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/bench/norm_bench.h"
#include "kernels/bench/onednn_norm.h"

namespace syncnorm {

struct NormCase {
  std::string name;
  int passes = 0;
  std::function<void()> run;
  std::function<void()> onednn;  // the same by oneDNN, or empty
};

class NormCases {
 public:
  NormCases(Device& device, const NormShape& shape);
  NormCases(const NormCases&) = delete;
  NormCases& operator=(const NormCases&) = delete;

  const std::vector<NormCase>& cases() const { return cases_; }
  std::string onednn() const { return onednn_ ? onednn_->implementation() : ""; }
  /// Two tensors for a copy to read and to overwrite.
  const float* source() const { return x_.as<float>().data(); }
  float* target() const { return y_.as<float>().data(); }

 private:
  using Call = std::function<void()>;

  Buffer tensor(bool random);
  template <class T>
  void fill(const Buffer& buffer, const std::vector<T>& values);
  Buffer vector(std::size_t values, float value);
  /// Compiles the operation and binds it to its operands.
  template <class O>
  Call call(O op, const PointersOf<O>& operands);
  void add(const std::string& name, int passes, Call run, Call onednn = {});
  void add_batch();
  void add_group(const std::string& name, int groups, bool centered);
  void add_channels();
  void add_pointwise(const std::string& name, PointwiseFunction function);
  void add_activated(const std::string& name, NormActivation activation, int groups);
  void add_moving();
  void add_evonorm_batch();
  void add_switchable();
  void add_frozen();

  Device& device_;
  NormShape shape_;
  unsigned seed_ = 1;
  Buffer x_, residual_, y_, dy_, dy2_, dx_, g_;
  Buffer mean_, inv_std_, gamma_, beta_, dgamma_, dbeta_;  // mean and inv_std per sample
  Buffer scalars_, dslope_;  // gradients of α and the shift or of mixtures, and of τ or v
  Buffer sums_, gradient_sums_, constants_, mixing_, moving_mean_, moving_var_;
  Buffer correction_, history_, sample_sums_;
  Buffer sample_moments_, layer_, batch_moments_, local_, switches_;
  std::optional<OneDnnNorm> onednn_, onednn_relu_;  // on the CPU in f32
  std::vector<NormCase> cases_;
};

template <class O>
NormCases::Call NormCases::call(O op, const PointersOf<O>& operands) {
  if constexpr (requires { op.storage; }) op.storage = shape_.storage;
  const std::shared_ptr<Kernel> kernel = device_.compile(op);
  return [kernel, list = pointer_list<O>(operands)] { kernel->run(list, {}); };
}

}  // namespace syncnorm
