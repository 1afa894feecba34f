// Names and texts of operations: what `syncnorm plan` prints and ranks compare.
#include "kernels/ops.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace syncnorm {
namespace {

const char* kind_text(Activation kind) {
  switch (kind) {
    case Activation::relu:
      return "relu";
    case Activation::sigmoid:
      return "sigmoid";
    case Activation::tanh:
      return "tanh";
    case Activation::elu:
      return "elu";
    case Activation::selu:
      return "selu";
    case Activation::gelu:
      return "gelu";
  }
  return "?";
}

const char* kind_text(Deviation kind) {
  switch (kind) {
    case Deviation::l2:
      return "l2";
    case Deviation::l1:
      return "l1";
    case Deviation::linf:
      return "linf";
  }
  return "?";
}

const char* kind_text(DeviationPart part) {
  switch (part) {
    case DeviationPart::absolute:
      return "absolute";
    case DeviationPart::largest:
      return "largest";
    case DeviationPart::maxima:
      return "maxima";
  }
  return "?";
}

std::string shape_text(const ConvShape& s) {
  return fmt::format("{}x{}x{} -> {}x{}x{} k{} s{} p{}{} w{}", s.height, s.width, s.channels,
                     s.out_height(), s.out_width(), s.filters, s.kernel, s.stride, s.padding,
                     s.bias ? " bias" : "", s.pack_samples);
}

std::string shape_text(const PoolShape& s) {
  return fmt::format("{} {}x{}x{} -> {}x{} k{}x{} s{} p{}",
                     s.kind == PoolKind::max ? "max" : "average", s.height, s.width, s.channels,
                     s.out_height(), s.out_width(), s.kernel_height, s.kernel_width, s.stride,
                     s.padding);
}

struct Name {
  const char* operator()(const ConvPack&) { return "conv pack"; }
  const char* operator()(const ConvForward&) { return "conv"; }
  const char* operator()(const ConvDgrad&) { return "conv dgrad"; }
  const char* operator()(const ConvWgrad&) { return "conv wgrad"; }
  const char* operator()(const LinearForward&) { return "linear"; }
  const char* operator()(const LinearDgrad&) { return "linear dgrad"; }
  const char* operator()(const LinearWgrad&) { return "linear wgrad"; }
  const char* operator()(const WeightNormalize&) { return "weight norm"; }
  const char* operator()(const WeightNormalizeBackward&) { return "weight norm backward"; }
  const char* operator()(const PoolForward&) { return "pool"; }
  const char* operator()(const PoolBackward&) { return "pool backward"; }
  const char* operator()(const BatchMoments&) { return "bn statistics"; }
  const char* operator()(const BatchFinalize&) { return "bn finalize"; }
  const char* operator()(const BatchDeviation&) { return "bn deviation"; }
  const char* operator()(const BatchFinalizeDeviation&) { return "bn finalize deviation"; }
  const char* operator()(const Accumulate&) { return "accumulate"; }
  const char* operator()(const BatchFromRunning&) { return "bn from running"; }
  const char* operator()(const BatchNormalize&) { return "bn apply"; }
  const char* operator()(const BatchGradientSums&) { return "bn sums"; }
  const char* operator()(const BatchInputGradient&) { return "bn dgrad"; }
  const char* operator()(const GroupNormForward&) { return "group norm"; }
  const char* operator()(const GroupNormBackward&) { return "group norm backward"; }
  const char* operator()(const ActivationForward&) { return "activation"; }
  const char* operator()(const ActivationBackward&) { return "activation backward"; }
  const char* operator()(const Add&) { return "add"; }
  const char* operator()(const Dropout&) { return "dropout"; }
  const char* operator()(const NormNoise&) { return "norm noise"; }
  const char* operator()(const ToChannelsFirst&) { return "flatten"; }
  const char* operator()(const Convert&) { return "convert"; }
  const char* operator()(const SoftmaxCrossEntropy&) { return "softmax cross-entropy"; }
  const char* operator()(const SgdUpdate&) { return "sgd"; }
  const char* operator()(const AdamUpdate&) { return "adam"; }
  const char* operator()(const SumOfSquares&) { return "sum of squares"; }
  const char* operator()(const GradientFactor&) { return "gradient factor"; }
  const char* operator()(const TreeFold&) { return "tree fold"; }
  const char* operator()(const MakeImages&) { return "make images"; }
};

struct Text {
  std::string operator()(const ConvPack& o) {
    return shape_text(o.shape) + (o.for_dgrad ? " for dgrad" : "");
  }
  std::string operator()(const ConvForward& o) { return shape_text(o.shape); }
  std::string operator()(const ConvDgrad& o) { return shape_text(o.shape); }
  std::string operator()(const ConvWgrad& o) { return shape_text(o.shape); }
  std::string operator()(const LinearForward& o) { return fmt::format("{} -> {}", o.in, o.out); }
  std::string operator()(const LinearDgrad& o) { return fmt::format("{} <- {}", o.in, o.out); }
  std::string operator()(const LinearWgrad& o) { return fmt::format("{} x {}", o.out, o.in); }
  std::string operator()(const WeightNormalize& o) {
    return fmt::format("{} x {} {} eps {}", o.outputs, o.inputs,
                       o.standardize ? "standardized" : "normalized", o.eps);
  }
  std::string operator()(const WeightNormalizeBackward& o) {
    return fmt::format("{} x {} {}", o.outputs, o.inputs,
                       o.standardize ? "standardized" : "normalized");
  }
  std::string operator()(const PoolForward& o) {
    return shape_text(o.shape) + (o.training ? "" : " evaluation");
  }
  std::string operator()(const PoolBackward& o) { return shape_text(o.shape); }
  std::string operator()(const BatchMoments& o) {
    return fmt::format("{}x{}", o.pixels, o.channels);
  }
  std::string operator()(const BatchFinalize& o) {
    const Renormalization& r = o.renormalization;
    return fmt::format("{} eps {} momentum {}", o.channels, o.eps, o.momentum) +
           (r.on ? fmt::format(" renormalized r {} d {} from {} over {}", r.r_max, r.d_max, r.start,
                               r.ramp)
                 : "");
  }
  std::string operator()(const BatchDeviation& o) {
    return fmt::format("{}x{} {}", o.pixels, o.channels, kind_text(o.part));
  }
  std::string operator()(const BatchFinalizeDeviation& o) {
    return fmt::format("{} {} factor {} eps {} momentum {}", o.channels, kind_text(o.deviation),
                       o.factor, o.eps, o.momentum);
  }
  std::string operator()(const Accumulate& o) { return fmt::format("{}", o.count); }
  std::string operator()(const BatchFromRunning& o) {
    return fmt::format("{} eps {}", o.channels, o.eps);
  }
  std::string operator()(const BatchNormalize& o) {
    return fmt::format("{}x{}{}", o.pixels, o.channels, o.relu ? " relu" : "");
  }
  std::string operator()(const BatchGradientSums& o) {
    return fmt::format("{}x{}{}", o.pixels, o.channels, o.relu ? " relu" : "");
  }
  std::string operator()(const BatchInputGradient& o) {
    return fmt::format("{}x{}{}{}{}", o.pixels, o.channels, o.relu ? " relu" : "",
                       o.frozen ? " frozen" : "",
                       o.deviation == Deviation::l2
                           ? ""
                           : fmt::format(" {} factor {}", kind_text(o.deviation), o.factor));
  }
  std::string operator()(const GroupNormForward& o) {
    return fmt::format("{}x{} groups {} eps {}{}{}", o.pixels, o.channels, o.groups, o.eps,
                       o.relu ? " relu" : "", o.centered ? "" : " uncentered");
  }
  std::string operator()(const GroupNormBackward& o) {
    return fmt::format("{}x{} groups {}{}{}", o.pixels, o.channels, o.groups, o.relu ? " relu" : "",
                       o.centered ? "" : " uncentered");
  }
  std::string operator()(const ActivationForward& o) {
    return fmt::format("{} {}", kind_text(o.kind), o.size);
  }
  std::string operator()(const ActivationBackward& o) {
    return fmt::format("{} {}", kind_text(o.kind), o.size);
  }
  std::string operator()(const Add& o) { return fmt::format("{}", o.size); }
  std::string operator()(const Dropout& o) {
    return fmt::format("{} p {} layer {}{}{}", o.size, o.p, o.layer, o.alpha ? " alpha" : "",
                       o.backward ? " backward" : "");
  }
  std::string operator()(const NormNoise& o) {
    return fmt::format("{}x{} mean {} {} scale {} {} layer {}{}{}", o.pixels, o.channels, o.mean,
                       o.sample_mean, o.scale, o.sample_scale, o.layer,
                       o.backward ? " backward" : "", o.expected ? " expected" : "");
  }
  std::string operator()(const ToChannelsFirst& o) {
    return fmt::format("{}x{}{}", o.pixels, o.channels, o.inverse ? " inverse" : "");
  }
  std::string operator()(const Convert& o) {
    return fmt::format("{} {}", o.size, o.from == Storage::f32 ? "f32 -> bf16" : "bf16 -> f32");
  }
  std::string operator()(const SoftmaxCrossEntropy& o) {
    return fmt::format("{} smoothing {} scale {}", o.classes, o.label_smoothing, o.gradient_scale);
  }
  std::string operator()(const SgdUpdate& o) {
    return fmt::format("{} momentum {} decay {}{}", o.count, o.momentum, o.weight_decay,
                       o.nesterov ? " nesterov" : "");
  }
  std::string operator()(const AdamUpdate& o) {
    return fmt::format("{} betas {} {} eps {} decay {}{}", o.count, o.beta1, o.beta2, o.eps,
                       o.weight_decay, o.decoupled ? " decoupled" : "");
  }
  std::string operator()(const SumOfSquares& o) { return fmt::format("{}", o.count); }
  std::string operator()(const GradientFactor& o) { return fmt::format("clip {}", o.clip_norm); }
  std::string operator()(const MakeImages& o) {
    return fmt::format("{}x{}x{}", o.height, o.width, o.channels);
  }
  std::string operator()(const TreeFold& o) {
    return fmt::format("{} {} of {} {} apart, merges {}", o.maximum ? "largest" : "sum",
                       o.doubles ? "f64" : "f32", o.count, o.stride, fmt::join(o.merges, " "));
  }
};

}  // namespace

std::string op_name(const Op& op) { return std::visit(Name{}, op); }

Storage storage_of(const Op& op) {
  return std::visit(
      [](const auto& o) {
        if constexpr (requires { o.storage; })
          return o.storage;
        else
          return Storage::f32;
      },
      op);
}

std::string op_text(const Op& op) {
  const int samples = std::visit([](const auto& o) { return o.samples; }, op);
  return fmt::format("{} [{}] {}{}", op_name(op), samples, std::visit(Text{}, op),
                     storage_of(op) == Storage::bf16 ? " bf16" : "");
}

}  // namespace syncnorm
