// Names and texts of operations, which `syncnorm plan` prints and ranks compare.
#include "kernels/ops.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>

namespace syncnorm {
namespace {

const char* value_text(Activation kind) {
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
    case Activation::silu:
      return "silu";
    case Activation::hard_swish:
      return "hard_swish";
  }
  return "?";
}

const char* value_text(Deviation kind) {
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

const char* value_text(DeviationPart part) {
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

const char* value_text(WeightForm form) {
  switch (form) {
    case WeightForm::normalized:
      return "normalized";
    case WeightForm::standardized:
      return "standardized";
    case WeightForm::scaled:
      return "scaled";
    case WeightForm::centered:
      break;
  }
  return "centered";
}
const char* value_text(NormActivation activation) {
  return activation == NormActivation::threshold ? "threshold" : "swish";
}
const char* value_text(PointwiseFunction function) {
  return function == PointwiseFunction::tanh ? "tanh" : "erf";
}
const char* value_text(PoolKind kind) { return kind == PoolKind::max ? "max" : "average"; }
const char* value_text(UpsampleMode mode) {
  return mode == UpsampleMode::nearest ? "nearest" : "bilinear";
}
const char* value_text(Factor factor) {
  switch (factor) {
    case Factor::full:
      return "full";
    case Factor::per_channel:
      return "per channel";
    case Factor::per_pixel:
      break;
  }
  return "per pixel";
}
const char* value_text(Storage storage) { return storage == Storage::f32 ? "f32" : "bf16"; }

template <class T>
requires std::is_arithmetic_v<T> T value_text(T value) { return value; }
std::string value_text(const std::vector<int>& values) {
  return fmt::format("{}", fmt::join(values, " "));
}

template <class T>
std::string fields_text(const T& described) {
  std::string text;
  T::fields([&](const char* format, auto member, const char* otherwise = "") {
    const auto& value = std::invoke(member, described);
    using Value = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, bool>)
      text += value ? format : otherwise;
    else if constexpr (std::is_class_v<Value> && !std::is_same_v<Value, std::vector<int>>)
      text += fields_text(value);
    else if (*otherwise == '\0' || fmt::format("{}", value_text(value)) != otherwise)
      text += fmt::format(fmt::runtime(format), value_text(value));
  });
  return text;
}

template <class... Ops>
consteval bool all_fields_listed(const std::variant<Ops...>*) {
  return (lists_all_fields<Ops>() && ...);
}
static_assert(all_fields_listed(static_cast<const Op*>(nullptr)),
              "a field that fields() leaves out: two operations would share one kernel");
static_assert(lists_all_fields<ConvShape>() && lists_all_fields<PoolShape>() &&
              lists_all_fields<UpsampleShape>() && lists_all_fields<ActivatedNormShape>() &&
              lists_all_fields<Renormalization>());

}  // namespace

std::string op_name(const Op& op) {
  return std::visit([]<class O>(const O&) { return O::kName; }, op);
}

bool per_sample(const Op& op) {
  return std::visit(
      []<class O>(const O&) {
        constexpr auto kIs = []<class... Kinds>() { return (std::is_same_v<O, Kinds> || ...); };
        return kIs.template
        operator()<PoolForward, PoolBackward, UpsampleForward, UpsampleBackward, Concat,
                   SliceChannels, Multiply, MultiplyBackward, BatchNormalize, BatchInputGradient,
                   PointwiseNormForward, ActivationForward, ActivationBackward, Add, AddBias,
                   ScaledAddForward, Dropout, NormNoise, ToChannelsFirst, Convert>();
      },
      op);
}

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
  const std::string fields = std::visit([](const auto& o) { return fields_text(o); }, op);
  return fmt::format("{} [{}] {}{}", op_name(op), samples, fields,
                     storage_of(op) == Storage::bf16 ? " bf16" : "");
}

}  // namespace syncnorm
