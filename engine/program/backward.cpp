// Emits the backward pass from the fused units, last to first.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

class Backward {
 public:
  explicit Backward(Emission& e) : e_(e), gradients_(e) {}

  void run() {
    const int logits = e_.units.back().output;
    gradients_.contribute(logits, gradients_.narrowed(logits, e_.logits_gradient));
    for (std::size_t i = e_.units.size(); i-- > 0;) {
      const Unit& unit = e_.units[i];
      if (!gradients_.needed(unit.output) || !gradients_.arrived(unit.output)) continue;
      saved_ = &e_.saved[i];
      index_ = i;
      std::visit([&](const auto& layer) { emit(unit, layer); }, e_.layer(unit.layer).kind);
    }
  }

 private:
  void emit(const Unit&, const InputLayer&) {}

  void emit(const Unit& unit, const ConvLayer&) {
    const int dy = gradients_.of(unit);
    const ConvShape conv = e_.conv_shape(unit);
    if (gradients_.needed(unit.input)) {
      const int dx = gradients_.make(unit.input);
      e_.emit(Pass::backward, e_.scope(), e_.name(unit), e_.stored(ConvDgrad{e_.samples(), conv}),
              {.dy = dy, .packed = saved_->packed_dgrad, .dx = dx});
      gradients_.contribute(unit.input, dx);
    }
    const int dw = weight_gradient(e_, unit, *saved_);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit), e_.stored(ConvWgrad{e_.samples(), conv}),
            {.x = e_.input(unit),
             .dy = dy,
             .dweight = dw,
             .dbias = e_.parameter_gradient(unit, ParameterRole::bias)})
        .deferrable = true;
    emit_weight_backward(e_, unit, *saved_, dw);
  }

  /// The convolution that it mirrors reads dy, and x is the gradient of that one's output.
  void emit(const Unit& unit, const ConvTransposeLayer& layer) {
    const int dy = gradients_.of(unit);
    const ConvShape mirrored = e_.conv_shape(unit);
    if (gradients_.needed(unit.input)) {
      const int dx = gradients_.make(unit.input);
      e_.emit(Pass::backward, e_.scope(), e_.name(unit),
              e_.stored(ConvForward{e_.samples(), mirrored}),
              {.x = dy, .packed = saved_->packed_dgrad, .bias = kAbsent, .y = dx});
      gradients_.contribute(unit.input, dx);
    }
    e_.emit(Pass::backward, e_.scope(), e_.name(unit), e_.stored(ConvWgrad{e_.samples(), mirrored}),
            {.x = dy,
             .dy = e_.input(unit),
             .dweight = e_.parameter_gradient(unit, ParameterRole::weight),
             .dbias = kAbsent})
        .deferrable = true;
    if (!layer.bias) return;
    const Shape& out = e_.shape(unit.output);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(BiasGradient{e_.samples(), out.pixels(), out.channels}),
            {.dy = dy, .dbias = e_.parameter_gradient(unit, ParameterRole::bias)})
        .deferrable = true;
  }

  void emit(const Unit& unit, const LinearLayer& layer) {
    const int dy = gradients_.widened(unit.output, gradients_.of(unit));
    const int in = e_.shape(unit.input).size();
    if (gradients_.needed(unit.input)) {
      const int dx =
          e_.add_values(e_.name(unit) + " input gradient in f32", unit.input, Storage::f32);
      e_.emit(Pass::backward, e_.scope(), e_.name(unit), LinearDgrad{e_.samples(), in, layer.out},
              {.dy = dy, .weight = saved_->weight, .dx = dx});
      gradients_.contribute(unit.input, gradients_.narrowed(unit.input, dx));
    }
    const int dw = weight_gradient(e_, unit, *saved_);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit), LinearWgrad{e_.samples(), in, layer.out},
            {.x = e_.value_in(unit.input, Storage::f32),
             .dy = dy,
             .dweight = dw,
             .dbias = e_.parameter_gradient(unit, ParameterRole::bias)})
        .deferrable = true;
    emit_weight_backward(e_, unit, *saved_, dw);
  }

  void emit(const Unit& unit, const PoolLayer&) {
    const int dy = gradients_.of(unit);
    if (!gradients_.needed(unit.input)) return;
    const int dx = gradients_.make(unit.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(PoolBackward{e_.samples(), e_.pool_shape(unit)}),
            {.dy = dy, .workspace = saved_->workspace, .dx = dx});
    gradients_.contribute(unit.input, dx);
  }

  void emit(const Unit&, const NormLayer& layer) {
    family_of(layer.norm).backward(e_, gradients_, index_);
  }

  void emit(const Unit& unit, const ActivationLayer& layer) {
    const int dy = gradients_.of(unit), dx = gradients_.make(unit.input);
    const bool from_input = slope_from_x(layer.kind);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(ActivationBackward{e_.samples(), e_.shape(unit.output).size(), layer.kind}),
            {.dy = dy,
             .x = from_input ? e_.input(unit) : kAbsent,
             .y = from_input ? kAbsent : e_.stored_value(unit.output),
             .dx = dx});
    gradients_.contribute(unit.input, dx);
  }

  void emit(const Unit& unit, const DropoutLayer& layer) {
    const int dy = gradients_.of(unit), dx = gradients_.make(unit.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(Dropout{e_.samples(), e_.shape(unit.output).size(), layer.p, unit.layer,
                              layer.alpha, layer.alpha}),
            {.x = dy, .sample_ids = saved_->sample_ids, .y = dx});
    gradients_.contribute(unit.input, dx);
  }

  void emit_scaled_add(const Unit& unit, double alpha) {
    const std::vector<int> dy = gradients_.gathered(unit, 2);
    const bool keeps = dy.size() > 1 || unit.relu;
    const int g = keeps ? gradients_.like(unit.output, " masked gradient") : kAbsent;
    const int dx = gradients_.make(unit.input);
    e_.emit(Pass::backward, Scope::replica, e_.name(unit),
            e_.stored(ScaledAddBackward{e_.samples(), e_.shape(unit.output).pixels(),
                                        e_.shape(unit.output).channels, alpha, unit.relu}),
            {.dy = dy[0],
             .dy2 = dy.size() > 1 ? dy[1] : kAbsent,
             .x = e_.input(unit),
             .gain = e_.parameter(unit, ParameterRole::branch_gain),
             .y = relu_mask(e_, unit),
             .dx = dx,
             .dgain = e_.parameter_gradient(unit, ParameterRole::branch_gain),
             .g = g});
    gradients_.contribute(unit.input, dx);
    gradients_.contribute(unit.residual, keeps ? g : dy[0]);
  }

  void emit(const Unit& unit, const AddLayer& layer) {
    if (layer.scaled) return emit_scaled_add(unit, layer.alpha);
    const int dy = gradients_.of(unit);
    gradients_.contribute(unit.input, dy);
    gradients_.contribute(unit.residual, dy);
  }

  void emit(const Unit& unit, const UpsampleLayer&) {
    const int dy = gradients_.of(unit), dx = gradients_.make(unit.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(UpsampleBackward{e_.samples(), e_.upsample_shape(unit)}),
            {.dy = dy, .dx = dx});
    gradients_.contribute(unit.input, dx);
  }

  void emit(const Unit& unit, const ConcatLayer&) {
    const int dy = gradients_.of(unit);
    const Shape& joined = e_.shape(unit.output);
    const std::vector<int>& inputs = e_.layer(unit.layer).inputs;
    int first = 0;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const int value = k == 0 ? unit.input : unit.others[k - 1];
      const int count = e_.shape(inputs[k]).channels;
      if (gradients_.needed(value)) {
        const int dx = gradients_.make(value);
        e_.emit(
            Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(SliceChannels{e_.samples(), joined.pixels(), joined.channels, first, count}),
            {.x = dy, .y = dx});
        gradients_.contribute(value, dx);
      }
      first += count;
    }
  }

  void emit(const Unit& unit, const MultiplyLayer&) {
    const int dy = gradients_.of(unit), factor = unit.others[0];
    const Shape& shape = e_.shape(unit.output);
    const int da = gradients_.needed(unit.input) ? gradients_.make(unit.input) : kAbsent;
    const int db = gradients_.needed(factor) ? gradients_.make(factor) : kAbsent;
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(
                MultiplyBackward{e_.samples(), shape.pixels(), shape.channels, e_.factor_of(unit)}),
            {.dy = dy, .a = e_.input(unit), .b = e_.stored_value(factor), .da = da, .db = db});
    gradients_.contribute(unit.input, da);
    gradients_.contribute(factor, db);
  }

  void emit(const Unit& unit, const FlattenLayer&) {
    const int dy = gradients_.of(unit), dx = gradients_.make(unit.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            e_.stored(ToChannelsFirst{e_.samples(), e_.shape(unit.input).pixels(),
                                      e_.shape(unit.input).channels, true}),
            {.x = dy, .y = dx});
    gradients_.contribute(unit.input, dx);
  }

  Emission& e_;
  Gradients gradients_;
  Emission::Saved* saved_ = nullptr;
  std::size_t index_ = 0;  // of the current unit
};

}  // namespace

void emit_backward(Emission& e) { Backward(e).run(); }

}  // namespace syncnorm
