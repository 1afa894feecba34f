// The backward pass, from the fused nodes, last to first.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

class Backward {
 public:
  explicit Backward(Emission& e) : e_(e), gradients_(e) {}

  void run() {
    const int logits = e_.nodes.back().output;
    gradients_.contribute(logits, gradients_.narrowed(logits, e_.logits_gradient));
    for (std::size_t i = e_.nodes.size(); i-- > 0;) {
      const Node& node = e_.nodes[i];
      if (!gradients_.needed(node.output) || !gradients_.arrived(node.output)) continue;
      saved_ = &e_.saved[i];
      index_ = i;
      std::visit([&](const auto& layer) { emit(node, layer); }, e_.layer(node.layer).kind);
    }
  }

 private:
  void emit(const Node&, const InputLayer&) {}

  void emit(const Node& node, const ConvLayer&) {
    const int dy = gradients_.of(node);
    const ConvShape conv = e_.conv_shape(node);
    if (gradients_.needed(node.input)) {
      const int dx = gradients_.make(node.input);
      e_.emit(Pass::backward, e_.scope(), e_.name(node), e_.stored(ConvDgrad{e_.samples(), conv}),
              {.dy = dy, .packed = saved_->packed_dgrad, .dx = dx});
      gradients_.contribute(node.input, dx);
    }
    const int dw = weight_gradient(e_, node, *saved_);
    e_.emit(Pass::backward, e_.scope(), e_.name(node), e_.stored(ConvWgrad{e_.samples(), conv}),
            {.x = e_.input(node),
             .dy = dy,
             .dweight = dw,
             .dbias = e_.parameter_gradient(node, ParameterRole::bias)})
        .deferrable = true;
    emit_weight_backward(e_, node, *saved_, dw);
  }

  void emit(const Node& node, const LinearLayer& layer) {
    const int dy = gradients_.widened(node.output, gradients_.of(node));
    const int in = e_.shape(node.input).size();
    if (gradients_.needed(node.input)) {
      const int dx =
          e_.add_values(e_.name(node) + " input gradient in f32", node.input, Storage::f32);
      e_.emit(Pass::backward, e_.scope(), e_.name(node), LinearDgrad{e_.samples(), in, layer.out},
              {.dy = dy, .weight = saved_->weight, .dx = dx});
      gradients_.contribute(node.input, gradients_.narrowed(node.input, dx));
    }
    const int dw = weight_gradient(e_, node, *saved_);
    e_.emit(Pass::backward, e_.scope(), e_.name(node), LinearWgrad{e_.samples(), in, layer.out},
            {.x = e_.value_in(node.input, Storage::f32),
             .dy = dy,
             .dweight = dw,
             .dbias = e_.parameter_gradient(node, ParameterRole::bias)})
        .deferrable = true;
    emit_weight_backward(e_, node, *saved_, dw);
  }

  void emit(const Node& node, const PoolLayer&) {
    const int dy = gradients_.of(node);
    if (!gradients_.needed(node.input)) return;
    const int dx = gradients_.make(node.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(PoolBackward{e_.samples(), e_.pool_shape(node)}),
            {.dy = dy, .workspace = saved_->workspace, .dx = dx});
    gradients_.contribute(node.input, dx);
  }

  void emit(const Node&, const NormLayer&) {
    family_of(e_.program.options.norm.kind).backward(e_, gradients_, index_);
  }

  void emit(const Node& node, const ActivationLayer& layer) {
    const int dy = gradients_.of(node), dx = gradients_.make(node.input);
    const bool from_input = layer.kind == Activation::gelu;  // the others' slopes follow from y
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(ActivationBackward{e_.samples(), e_.shape(node.output).size(), layer.kind}),
            {.dy = dy,
             .x = from_input ? e_.input(node) : kAbsent,
             .y = from_input ? kAbsent : e_.stored_value(node.output),
             .dx = dx});
    gradients_.contribute(node.input, dx);
  }

  void emit(const Node& node, const DropoutLayer& layer) {
    const int dy = gradients_.of(node), dx = gradients_.make(node.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(Dropout{e_.samples(), e_.shape(node.output).size(), layer.p, node.layer,
                              layer.alpha, layer.alpha}),
            {.x = dy, .sample_ids = saved_->sample_ids, .y = dx});
    gradients_.contribute(node.input, dx);
  }

  void emit(const Node& node, const AddLayer&) {
    const int dy = gradients_.of(node);
    gradients_.contribute(node.input, dy);
    gradients_.contribute(node.residual, dy);
  }

  void emit(const Node& node, const FlattenLayer&) {
    const int dy = gradients_.of(node), dx = gradients_.make(node.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(ToChannelsFirst{e_.samples(), e_.shape(node.input).pixels(),
                                      e_.shape(node.input).channels, true}),
            {.x = dy, .y = dx});
    gradients_.contribute(node.input, dx);
  }

  Emission& e_;
  Gradients gradients_;
  Emission::Saved* saved_ = nullptr;
  std::size_t index_ = 0;  // of the node
};

}  // namespace

void emit_backward(Emission& e) { Backward(e).run(); }

}  // namespace syncnorm
