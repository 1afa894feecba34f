// The closed set of operations that make up a training step.
//
// An operation describes the computation of one call on `samples` samples; a Device compiles it
// once to a Kernel. Tensors are f32 and channels last, [samples, height, width, channels], unless
// the description in kernels/ops/ says otherwise; where an operation has a `storage`, its
// activations and their gradients have that type. Sums over samples cover exactly this call's
// samples.
//
// An operation is described once, by a struct with its fields, kName, fields() (field.h) and
// Operands (operand.h), which the variant Op lists. Name, text, cache key, arity and both back
// ends' compile() follow from that.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <variant>

#include "kernels/ops/activated_norm.h"
#include "kernels/ops/batch_norm.h"
#include "kernels/ops/bias.h"
#include "kernels/ops/channel_norm.h"
#include "kernels/ops/channels.h"
#include "kernels/ops/conv.h"
#include "kernels/ops/cross_iteration.h"
#include "kernels/ops/evonorm_batch.h"
#include "kernels/ops/group_norm.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/moving_norm.h"
#include "kernels/ops/pointwise.h"
#include "kernels/ops/pointwise_norm.h"
#include "kernels/ops/resample.h"
#include "kernels/ops/residual.h"
#include "kernels/ops/switchable_norm.h"
#include "kernels/ops/update.h"

namespace syncnorm {

using Op = std::variant<
    ConvPack, ConvForward, ConvDgrad, ConvWgrad, AddBias, BiasGradient, LinearForward, LinearDgrad,
    LinearWgrad, WeightNormalize, WeightNormalizeBackward, PoolForward, PoolBackward,
    UpsampleForward, UpsampleBackward, Concat, SliceChannels, Multiply, MultiplyBackward,
    BatchMoments, BatchFinalize, BatchDeviation, BatchFinalizeDeviation, Accumulate,
    BatchFromRunning, BatchMix, BatchNormalize, BatchGradientSums, BatchInputGradient,
    MomentumFinalize, MomentumGradient, MovingFinalize, MovingGradient, CrossIterationSums,
    CrossIterationFinalize, CrossIterationKeep, EvoNormMoments, EvoNormApply, EvoNormGradientSums,
    EvoNormInputGradient, GroupNormForward, GroupNormBackward, ChannelNormForward,
    ChannelNormBackward, PointwiseNormForward, PointwiseNormBackward, ActivatedNormForward,
    ActivatedNormBackward, SwitchableMoments, SwitchableFinalize, SwitchableForward,
    SwitchableGradientSums, SwitchableInputGradient, ActivationForward, ActivationBackward, Add,
    ScaledAddForward, ScaledAddBackward, Dropout, NormNoise, ToChannelsFirst, Convert,
    SoftmaxCrossEntropy, SgdUpdate, AdamUpdate, ExponentialAverage, SumOfSquares, GradientFactor,
    AdaptiveClip, TreeFold, MakeImages>;

/// The largest number of operands of any operation.
template <class>
inline constexpr std::size_t kMostOperandsOf = 0;
template <class... Ops>
inline constexpr std::size_t kMostOperandsOf<std::variant<Ops...>> = std::max({kArity<Ops>...});
inline constexpr std::size_t kMostOperands = kMostOperandsOf<Op>;

/// Lists the operands of the operation in order.
inline std::span<const Operand> operands(const Op& op) {
  return std::visit([]<class O>(const O&) -> std::span<const Operand> { return kOperands<O>; }, op);
}

/// Returns the same operation for another number of samples.
inline Op with_samples(Op op, int samples) {
  std::visit([samples](auto& o) { o.samples = samples; }, op);
  return op;
}

/// Returns true when the results of a sample depend only on that sample and on operands that all
/// samples share, by the same arithmetic for any number of samples. Sums in f64 are shared.
bool per_sample(const Op& op);

/// The storage of the operation's activations; f32 where it has no field for it.
Storage storage_of(const Op& op);

/// The name of the operation's kind, such as "conv dgrad".
std::string op_name(const Op& op);

/// Formats all fields as text: for `syncnorm plan`, for the fingerprint that ranks compare, and as
/// a cache key.
std::string op_text(const Op& op);

}  // namespace syncnorm
