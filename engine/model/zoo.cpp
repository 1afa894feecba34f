// The model zoo. Each architecture is one short function, with torchvision's names and shapes if
// torchvision has the model. The CIFAR ResNets use three stages, projection shortcuts and the same
// names.
#include "engine/model/zoo.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/config/names.h"
#include "engine/model/custom.h"
#include "engine/model/zoo_parts.h"
#include "engine/model/zoo_segmentation.h"

namespace syncnorm {
namespace {

using Maker = std::function<void(GraphBuilder&, const ModelConfig&, int classes)>;

void mlp(GraphBuilder& b, const ModelConfig& m, int classes) {
  b.add("flatten", FlattenLayer{});
  for (std::size_t i = 0; i < m.hidden.size(); ++i) {
    const std::string n = std::to_string(i + 1);
    b.add("fc" + n, LinearLayer{m.hidden[i], needs_bias(b, m, "bn" + n)});
    norm_and_activation(b, m, "bn" + n, "act" + n);
  }
  add_dropout(b, m, "dropout", m.dropout);
  b.add("fc", LinearLayer{classes, true});
}

/// Adds three strided convolutions, normalized like those of larger networks: for studies of many
/// runs.
void convnet(GraphBuilder& b, const ModelConfig& m, int classes) {
  for (int i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i + 1);
    b.add("conv" + n, ConvLayer{16 << i, 3, 2, 1, needs_bias(b, m, "bn" + n)});
    norm_and_activation(b, m, "bn" + n, "act" + n);
  }
  b.add("avgpool", PoolLayer{PoolKind::average, 0, 1, 0});
  add_dropout(b, m, "dropout", m.dropout);
  b.add("fc", LinearLayer{classes, true});
}

/// Adds the network of LeCun et al. 1998 in its modern form: max pooling, the configured
/// activation.
void lenet(GraphBuilder& b, const ModelConfig& m, int classes) {
  b.add("conv1", ConvLayer{6, 5, 1, 2, needs_bias(b, m, "bn1")});
  norm_and_activation(b, m, "bn1", "act1");
  b.add("pool1", PoolLayer{PoolKind::max, 2, 2, 0});
  b.add("conv2", ConvLayer{16, 5, 1, 0, needs_bias(b, m, "bn2")});
  norm_and_activation(b, m, "bn2", "act2");
  b.add("pool2", PoolLayer{PoolKind::max, 2, 2, 0});
  b.add("flatten", FlattenLayer{});
  b.add("fc1", LinearLayer{120, needs_bias(b, m, "bn3")});
  norm_and_activation(b, m, "bn3", "act3");
  b.add("fc2", LinearLayer{84, needs_bias(b, m, "bn4")});
  norm_and_activation(b, m, "bn4", "act4");
  add_dropout(b, m, "dropout", m.dropout);
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
      const std::string conv = name(), first = name();
      if (b.without_norms()) {
        b.add(conv, ConvLayer{filters, 3, 1, 1, true});
        activate(b, m, first);
        continue;
      }
      const std::string second = name();
      const bool before = m.norm_position == NormPosition::before_activation;
      const std::string& norm = before ? first : second;
      b.add(conv, ConvLayer{filters, 3, 1, 1, needs_bias(b, m, norm)});
      norm_and_activation(b, m, norm, before ? second : first);
    }
    b.add("flatten", FlattenLayer{});
    add_dropout(b, m, "dropout", m.dropout);
    b.add("classifier", LinearLayer{classes, true});
  };
}

/// Adds a pre-activation block of Brock et al. 2021, whose input has the standard deviation
/// `deviation` at the start of training.
void add_norm_free_block(GraphBuilder& b, const ModelConfig& m, const std::string& p,
                         const std::vector<ConvLayer>& convs, int stride, double deviation) {
  const int input = b.last();
  activate(b, m, p + ".relu1");
  const int active = b.last(), out = convs.back().out;
  const bool projects = stride != 1 || b.shape(input).channels != out;
  const ConvLayer projection{out, 1, stride, 0, true, 1.0 / deviation};
  const int skip = projects ? b.add(p + ".downsample.0", projection, active) : input;
  for (std::size_t i = 0; i < convs.size(); ++i) {
    ConvLayer conv = convs[i];
    conv.bias = true;
    if (i == 0) conv.input_gain = 1.0 / deviation;
    if (i > 0) activate(b, m, numbered(p, "relu", i));
    b.add(numbered(p, "conv", i), conv, i == 0 ? active : -1);
  }
  b.add_sum(p + ".add", b.last(), skip, {true, m.residual.alpha});
}

void residual_stages(GraphBuilder& b, const ModelConfig& m, BlockMaker block,
                     const std::vector<int>& stages, int width, int classes) {
  const bool norm_free = m.residual.kind == ResidualKind::normalizer_free;
  double variance = 1.0;  // of the next block's input, where there are no norms
  for (std::size_t s = 0; s < stages.size(); ++s)
    for (int i = 0; i < stages[s]; ++i) {
      const std::string name = fmt::format("layer{}.{}", s + 1, i);
      const int stride = s > 0 && i == 0 ? 2 : 1;
      const std::vector<ConvLayer> convs = block(width << s, stride, 1);
      if (norm_free)
        add_norm_free_block(b, m, name, convs, stride, std::sqrt(variance));
      else
        add_block(b, m, name, convs, stride);
      // The first block of a stage begins anew with the variance of its projection.
      variance = (i == 0 ? 1.0 : variance) + m.residual.alpha * m.residual.alpha;
    }
  if (norm_free) activate(b, m, "relu");
  b.add("avgpool", PoolLayer{PoolKind::average, 0, 1, 0});
  add_dropout(b, m, "dropout", m.dropout);
  b.add("fc", LinearLayer{classes, true});
}

/// Returns the network of He et al. 2016, section 4.2: depth 6n + 2, for small images.
Maker cifar_resnet(int n) {
  return [n](GraphBuilder& b, const ModelConfig& m, int classes) {
    add_stem(b, m, "", kSmallStem);
    residual_stages(b, m, basic_block, {n, n, n}, 16, classes);
  };
}

/// Returns the network of He et al. 2016, table 1.
Maker imagenet_resnet(BlockMaker block, const std::vector<int>& stages) {
  return [block, stages](GraphBuilder& b, const ModelConfig& m, int classes) {
    add_stem(b, m, "", kLargeStem);
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
    case Architecture::unet:
      return unet;
    case Architecture::deeplabv3:
      return deeplabv3;
    case Architecture::linknet:
      return linknet;
  }
  return {};
}

/// Returns true for the architectures that give a class for each pixel.
bool segments(Architecture architecture) {
  return architecture == Architecture::unet || architecture == Architecture::deeplabv3 ||
         architecture == Architecture::linknet;
}

void check_architecture(Architecture architecture, Output output) {
  const bool map = segments(architecture);
  if (map == (output == Output::map)) return;
  throw InputError(
      ConfigKey{"model.architecture"},
      map ? fmt::format("{} gives a class for each pixel, but the data has one label per image; "
                        "use data with masks, or another architecture",
                        name_of(architecture))
          : fmt::format("{} gives one class per image, but the data has a label for each pixel; "
                        "use unet, deeplabv3 or linknet",
                        name_of(architecture)));
}

Shape image_shape(const DataConfig& data) {
  switch (data.dataset) {
    case DatasetKind::fashion_mnist:
    case DatasetKind::mnist:
      return {28, 28, 1};
    case DatasetKind::cifar10:
    case DatasetKind::cifar100:
      return {32, 32, 3};
    case DatasetKind::synthetic:
      return {data.synthetic.height, data.synthetic.width, data.synthetic.channels};
    case DatasetKind::image_folder:
    case DatasetKind::packed:
      break;
  }
  return {data.images.height, data.images.width, 3};
}

/// Returns the number of classes; for a folder, which is not listed yet, one that suits the model.
int class_count(const Experiment& experiment) {
  switch (experiment.data.dataset) {
    case DatasetKind::fashion_mnist:
    case DatasetKind::mnist:
    case DatasetKind::cifar10:
      return 10;
    case DatasetKind::cifar100:
      return 100;
    case DatasetKind::synthetic:
      return experiment.data.synthetic.classes;
    case DatasetKind::image_folder:
    case DatasetKind::packed:
      break;
  }
  const std::vector<LayerSpec>& layers = experiment.model.layers;
  const auto last = std::find_if(layers.rbegin(), layers.rend(),
                                 [](const LayerSpec& layer) { return layer.out > 0; });
  return last == layers.rend() ? 10 : last->out;
}

}  // namespace

Graph build_model(const Experiment& experiment, Shape input, int classes, Output output) {
  GraphBuilder builder(input, experiment);
  if (!experiment.model.layers.empty()) {
    add_custom_layers(builder, experiment.model.layers);
  } else {
    check_architecture(experiment.model.architecture, output);
    maker_of(experiment.model.architecture)(builder, experiment.model, classes);
  }
  return builder.finish(classes, output);
}

Graph build_model_without_data(const Experiment& experiment, Output output) {
  return build_model(experiment, image_shape(experiment.data), class_count(experiment), output);
}

}  // namespace syncnorm
