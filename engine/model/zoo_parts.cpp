// See zoo_parts.h.
#include "engine/model/zoo_parts.h"

#include <fmt/format.h>

namespace syncnorm {
namespace {

Activation activation_op(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
      return Activation::relu;
    case ActivationKind::sigmoid:
      return Activation::sigmoid;
    case ActivationKind::tanh:
      return Activation::tanh;
    case ActivationKind::elu:
      return Activation::elu;
    case ActivationKind::selu:
      return Activation::selu;
    case ActivationKind::gelu:
      return Activation::gelu;
    case ActivationKind::silu:
      return Activation::silu;
    case ActivationKind::hard_swish:
      return Activation::hard_swish;
    case ActivationKind::identity:
      break;
  }
  return Activation::relu;
}

/// Returns true for a norm that makes a bias before it useless: it subtracts the bias and adds β.
/// The networks of moving average batch norm have none either: nothing would remove its mean.
bool replaces_bias(const NormConfig& norm) {
  const NormTraits traits = norm.traits();
  const bool useless = traits.subtracts_mean || norm.kind == NormKind::mabn;
  return useless && traits.has_beta && norm.affine;
}

/// Returns the shortcut of a block: the input itself, or a 1×1 projection if shapes differ.
int shortcut(GraphBuilder& b, const std::string& p, int input, int out, int stride) {
  if (stride == 1 && b.shape(input).channels == out) return input;
  return conv_norm(b, p + ".downsample.0", p + ".downsample.1", {out, 1, stride, 0}, false, input);
}

}  // namespace

bool needs_bias(GraphBuilder& b, const ModelConfig& m, const std::string& norm) {
  return !replaces_bias(b.norm(norm)) || m.norm_position == NormPosition::after_activation;
}

void activate(GraphBuilder& b, const ModelConfig& m, const std::string& name) {
  if (m.activation != ActivationKind::identity)
    b.add(name, ActivationLayer{activation_op(m.activation)});
}

void norm_and_activation(GraphBuilder& b, const ModelConfig& m, const std::string& norm,
                         const std::string& activation) {
  const auto add_norm = [&] {
    if (b.norm(norm).traits().layer) b.add(norm, NormLayer{});
  };
  const auto add_activation = [&] { activate(b, m, activation); };
  if (m.norm_position == NormPosition::before_activation) {
    add_norm();
    add_activation();
  } else {
    add_activation();
    add_norm();
  }
}

void add_dropout(GraphBuilder& b, const ModelConfig& m, const std::string& name, double p) {
  if (p > 0.0) b.add(name, DropoutLayer{p, m.dropout_kind == DropoutKind::alpha});
}

int conv_norm(GraphBuilder& b, const std::string& conv, const std::string& norm, ConvLayer layer,
              bool zero_gamma, int input) {
  layer.bias = !replaces_bias(b.norm(norm));
  const int index = b.add(conv, layer, input);
  return b.norm(norm).traits().layer ? b.add(norm, NormLayer{zero_gamma, {}}) : index;
}

int conv_norm(GraphBuilder& b, const std::string& conv, const std::string& norm,
              ConvTransposeLayer layer, int input) {
  layer.bias = !replaces_bias(b.norm(norm));
  const int index = b.add(conv, layer, input);
  return b.norm(norm).traits().layer ? b.add(norm, NormLayer{}) : index;
}

void add_stem(GraphBuilder& b, const ModelConfig& m, const std::string& prefix, const Stem& stem) {
  conv_norm(b, prefix + "conv1", prefix + "bn1", stem.conv, false, 0);
  if (m.residual.kind != ResidualKind::normalizer_free) activate(b, m, prefix + "relu");
  if (stem.pool) b.add(prefix + "maxpool", PoolLayer{PoolKind::max, 3, 2, 1});
}

std::vector<ConvLayer> basic_block(int width, int stride, int dilation) {
  return {{width, 3, stride, dilation, false, 1.0, dilation},
          {width, 3, 1, dilation, false, 1.0, dilation}};
}

std::vector<ConvLayer> bottleneck_block(int width, int stride, int dilation) {
  return {
      {width, 1, 1, 0}, {width, 3, stride, dilation, false, 1.0, dilation}, {4 * width, 1, 1, 0}};
}

std::string numbered(const std::string& prefix, const char* name, std::size_t index) {
  return fmt::format("{}.{}{}", prefix, name, index + 1);
}

void add_block(GraphBuilder& b, const ModelConfig& m, const std::string& p,
               const std::vector<ConvLayer>& convs, int stride) {
  const int input = b.last();
  int main = input;
  for (std::size_t i = 0; i < convs.size(); ++i) {
    const bool last = i + 1 == convs.size();
    main = conv_norm(b, numbered(p, "conv", i), numbered(p, "bn", i), convs[i],
                     last && m.zero_gamma, i == 0 ? input : -1);
    if (!last) activate(b, m, numbered(p, "relu", i));
  }
  const AddLayer sum{m.residual.kind != ResidualKind::plain, 1.0};
  b.add_sum(p + ".add", main, shortcut(b, p, input, convs.back().out, stride), sum);
  activate(b, m, numbered(p, "relu", convs.size() - 1));
}

}  // namespace syncnorm
