// The closed set of operations that a training step is made of.
//
// An operation says what is computed on one call, for `samples` samples; a Device compiles it to a
// Kernel once. Tensors are f32 and channels last, [samples, height, width, channels], unless its
// description (kernels/ops/) says otherwise; where an operation has a `storage`, its activations
// and their gradients are stored so. Sums over samples cover exactly this call's samples.
//
// An operation is described once: its struct has the fields, kName, fields() (field.h) and Operands
// (operand.h); variant, name, text, cache key and arity follow, and both back ends' compile().
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <variant>

#include "kernels/ops/batch_norm.h"
#include "kernels/ops/conv.h"
#include "kernels/ops/group_norm.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/pointwise.h"
#include "kernels/ops/update.h"

namespace syncnorm {

using Op =
    std::variant<ConvPack, ConvForward, ConvDgrad, ConvWgrad, LinearForward, LinearDgrad,
                 LinearWgrad, WeightNormalize, WeightNormalizeBackward, PoolForward, PoolBackward,
                 BatchMoments, BatchFinalize, BatchDeviation, BatchFinalizeDeviation, Accumulate,
                 BatchFromRunning, BatchNormalize, BatchGradientSums, BatchInputGradient,
                 GroupNormForward, GroupNormBackward, ActivationForward, ActivationBackward, Add,
                 Dropout, NormNoise, ToChannelsFirst, Convert, SoftmaxCrossEntropy, SgdUpdate,
                 AdamUpdate, SumOfSquares, GradientFactor, TreeFold, MakeImages>;

/// The largest number of operands.
template <class>
inline constexpr std::size_t kMostOperandsOf = 0;
template <class... Ops>
inline constexpr std::size_t kMostOperandsOf<std::variant<Ops...>> = std::max({kArity<Ops>...});
inline constexpr std::size_t kMostOperands = kMostOperandsOf<Op>;

/// The operands of the operation in order.
inline std::span<const Operand> operands(const Op& op) {
  return std::visit([]<class O>(const O&) -> std::span<const Operand> { return kOperands<O>; }, op);
}

/// The same operation on another number of samples.
inline Op with_samples(Op op, int samples) {
  std::visit([samples](auto& o) { o.samples = samples; }, op);
  return op;
}

/// The storage of the operation's activations; f32 where it has none of its own.
Storage storage_of(const Op& op);

/// Name of the operation's kind, such as "conv dgrad".
std::string op_name(const Op& op);

/// All fields as text, for `syncnorm plan`, for the fingerprint that ranks compare, and as a cache
/// key.
std::string op_text(const Op& op);

}  // namespace syncnorm
