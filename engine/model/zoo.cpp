// The model zoo. Each architecture is one short function, with torchvision's names and shapes if
// torchvision has the model. The CIFAR ResNets use three stages, projection shortcuts and the same
// names.
#include "engine/model/zoo.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/model/custom.h"

namespace syncnorm {
namespace {

using Maker = std::function<void(GraphBuilder&, const ModelConfig&, int classes)>;

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

bool needs_bias(const GraphBuilder& b, const ModelConfig& m) {
  return !replaces_bias(b.norm()) || m.norm_position == NormPosition::after_activation;
}

void activate(GraphBuilder& b, const ModelConfig& m, const std::string& name) {
  if (m.activation != ActivationKind::identity)
    b.add(name, ActivationLayer{activation_op(m.activation)});
}

/// Adds norm and activation in the configured order; `norm: none` adds no norm.
void norm_and_activation(GraphBuilder& b, const ModelConfig& m, const std::string& norm,
                         const std::string& activation) {
  const auto add_norm = [&] {
    if (b.norm().traits().layer) b.add(norm, NormLayer{});
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

void add_dropout(GraphBuilder& b, const ModelConfig& m) {
  if (m.dropout > 0.0)
    b.add("dropout", DropoutLayer{m.dropout, m.dropout_kind == DropoutKind::alpha});
}

void mlp(GraphBuilder& b, const ModelConfig& m, int classes) {
  b.add("flatten", FlattenLayer{});
  for (std::size_t i = 0; i < m.hidden.size(); ++i) {
    const std::string n = std::to_string(i + 1);
    b.add("fc" + n, LinearLayer{m.hidden[i], needs_bias(b, m)});
    norm_and_activation(b, m, "bn" + n, "act" + n);
  }
  add_dropout(b, m);
  b.add("fc", LinearLayer{classes, true});
}

/// Adds three strided convolutions, normalized like those of larger networks: for studies of many
/// runs.
void convnet(GraphBuilder& b, const ModelConfig& m, int classes) {
  for (int i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i + 1);
    b.add("conv" + n, ConvLayer{16 << i, 3, 2, 1, needs_bias(b, m)});
    norm_and_activation(b, m, "bn" + n, "act" + n);
  }
  b.add("avgpool", PoolLayer{PoolKind::average, 0, 1, 0});
  add_dropout(b, m);
  b.add("fc", LinearLayer{classes, true});
}

/// Adds the network of LeCun et al. 1998 in its modern form: max pooling, the configured
/// activation.
void lenet(GraphBuilder& b, const ModelConfig& m, int classes) {
  b.add("conv1", ConvLayer{6, 5, 1, 2, needs_bias(b, m)});
  norm_and_activation(b, m, "bn1", "act1");
  b.add("pool1", PoolLayer{PoolKind::max, 2, 2, 0});
  b.add("conv2", ConvLayer{16, 5, 1, 0, needs_bias(b, m)});
  norm_and_activation(b, m, "bn2", "act2");
  b.add("pool2", PoolLayer{PoolKind::max, 2, 2, 0});
  b.add("flatten", FlattenLayer{});
  b.add("fc1", LinearLayer{120, needs_bias(b, m)});
  norm_and_activation(b, m, "bn3", "act3");
  b.add("fc2", LinearLayer{84, needs_bias(b, m)});
  norm_and_activation(b, m, "bn4", "act4");
  add_dropout(b, m);
  b.add("fc3", LinearLayer{classes, true});
}

/// Returns the network of Simonyan & Zisserman 2015 for small images, with one linear classifier. 0
/// in `plan` is a max pool, which is omitted if the map is already one pixel.
Maker vgg(const std::vector<int>& plan) {
  return [plan](GraphBuilder& b, const ModelConfig& m, int classes) {
    int number = 0;  // torchvision's numbering of `features`
    const auto name = [&] { return "features." + std::to_string(number++); };
    for (const int filters : plan) {
      if (filters == 0) {
        const std::string pool = name();
        if (b.shape(b.last()).height > 1 && b.shape(b.last()).width > 1)
          b.add(pool, PoolLayer{PoolKind::max, 2, 2, 0});
        continue;
      }
      b.add(name(), ConvLayer{filters, 3, 1, 1, needs_bias(b, m)});
      const std::string first = name();
      if (!b.norm().traits().layer) {
        b.add(first, ActivationLayer{activation_op(m.activation)});
      } else {
        const std::string second = name();
        const bool before = m.norm_position == NormPosition::before_activation;
        norm_and_activation(b, m, before ? first : second, before ? second : first);
      }
    }
    b.add("flatten", FlattenLayer{});
    add_dropout(b, m);
    b.add("classifier", LinearLayer{classes, true});
  };
}

/// Adds a convolution, without bias if the norm replaces it, and the norm.
int conv_norm(GraphBuilder& b, const std::string& conv, const std::string& norm, ConvLayer layer,
              bool zero_gamma, int input) {
  layer.bias = !replaces_bias(b.norm());
  const int index = b.add(conv, layer, input);
  return b.norm().traits().layer ? b.add(norm, NormLayer{zero_gamma}) : index;
}

/// Returns the shortcut of a block: the input itself, or a 1×1 projection if shapes differ.
int shortcut(GraphBuilder& b, const std::string& p, int input, int out, int stride) {
  if (stride == 1 && b.shape(input).channels == out) return input;
  return conv_norm(b, p + ".downsample.0", p + ".downsample.1", {out, 1, stride, 0}, false, input);
}

void basic_block(GraphBuilder& b, const ModelConfig& m, const std::string& p, int width,
                 int stride) {
  const int input = b.last();
  conv_norm(b, p + ".conv1", p + ".bn1", {width, 3, stride, 1}, false, input);
  activate(b, m, p + ".relu1");
  const int main = conv_norm(b, p + ".conv2", p + ".bn2", {width, 3, 1, 1}, m.zero_gamma, -1);
  b.add_sum(p + ".add", main, shortcut(b, p, input, width, stride));
  activate(b, m, p + ".relu2");
}

void bottleneck_block(GraphBuilder& b, const ModelConfig& m, const std::string& p, int width,
                      int stride) {
  const int input = b.last();
  conv_norm(b, p + ".conv1", p + ".bn1", {width, 1, 1, 0}, false, input);
  activate(b, m, p + ".relu1");
  conv_norm(b, p + ".conv2", p + ".bn2", {width, 3, stride, 1}, false, -1);
  activate(b, m, p + ".relu2");
  const int main = conv_norm(b, p + ".conv3", p + ".bn3", {4 * width, 1, 1, 0}, m.zero_gamma, -1);
  b.add_sum(p + ".add", main, shortcut(b, p, input, 4 * width, stride));
  activate(b, m, p + ".relu3");
}

using Block = void (*)(GraphBuilder&, const ModelConfig&, const std::string&, int, int);

void residual_stages(GraphBuilder& b, const ModelConfig& m, Block block,
                     const std::vector<int>& stages, int width, int classes) {
  for (std::size_t s = 0; s < stages.size(); ++s)
    for (int i = 0; i < stages[s]; ++i)
      block(b, m, fmt::format("layer{}.{}", s + 1, i), width << s, s > 0 && i == 0 ? 2 : 1);
  b.add("avgpool", PoolLayer{PoolKind::average, 0, 1, 0});
  add_dropout(b, m);
  b.add("fc", LinearLayer{classes, true});
}

/// Returns the network of He et al. 2016, section 4.2: depth 6n + 2, for small images.
Maker cifar_resnet(int n) {
  return [n](GraphBuilder& b, const ModelConfig& m, int classes) {
    conv_norm(b, "conv1", "bn1", {16, 3, 1, 1}, false, 0);
    activate(b, m, "relu");
    residual_stages(b, m, basic_block, {n, n, n}, 16, classes);
  };
}

/// Returns the network of He et al. 2016, table 1; the 3×3 convolution of a bottleneck has the
/// stride, as in torchvision.
Maker imagenet_resnet(Block block, const std::vector<int>& stages) {
  return [block, stages](GraphBuilder& b, const ModelConfig& m, int classes) {
    conv_norm(b, "conv1", "bn1", {64, 7, 2, 3}, false, 0);
    activate(b, m, "relu");
    b.add("maxpool", PoolLayer{PoolKind::max, 3, 2, 1});
    residual_stages(b, m, block, stages, 64, classes);
  };
}

Maker maker_of(Architecture architecture) {
  switch (architecture) {
    case Architecture::mlp:
      return mlp;
    case Architecture::convnet:
      return convnet;
    case Architecture::lenet:
      return lenet;
    case Architecture::vgg11:
      return vgg({64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0});
    case Architecture::vgg13:
      return vgg({64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0});
    case Architecture::vgg16:
      return vgg({64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0});
    case Architecture::resnet8:
      return cifar_resnet(1);
    case Architecture::resnet20:
      return cifar_resnet(3);
    case Architecture::resnet32:
      return cifar_resnet(5);
    case Architecture::resnet56:
      return cifar_resnet(9);
    case Architecture::resnet18:
      return imagenet_resnet(basic_block, {2, 2, 2, 2});
    case Architecture::resnet34:
      return imagenet_resnet(basic_block, {3, 4, 6, 3});
    case Architecture::resnet50:
      return imagenet_resnet(bottleneck_block, {3, 4, 6, 3});
  }
  return {};
}

}  // namespace

Graph build_model(const Experiment& experiment, Shape input, int classes) {
  GraphBuilder builder(input, experiment.norm);
  if (!experiment.model.layers.empty()) {
    add_custom_layers(builder, experiment.model.layers);
    return builder.finish(classes);
  }
  maker_of(experiment.model.architecture)(builder, experiment.model, classes);
  return builder.finish(classes);
}

}  // namespace syncnorm
