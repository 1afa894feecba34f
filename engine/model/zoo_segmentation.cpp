// See zoo_segmentation.h.
#include "engine/model/zoo_segmentation.h"

#include <algorithm>
#include <type_traits>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/model/zoo_parts.h"

namespace syncnorm {
namespace {

/// Returns the transposed convolution that gives a map of exactly the height and width of `to`.
ConvTransposeLayer enlarging(int out, int kernel, int padding, const Shape& from, const Shape& to) {
  constexpr int kStride = 2;
  const auto missing = [&](int size, int wanted) {
    return wanted - ((size - 1) * kStride - 2 * padding + kernel);
  };
  return {out,
          kernel,
          kStride,
          padding,
          {missing(from.height, to.height), missing(from.width, to.width)}};
}

/// Two 3×3 convolutions, each with norm and activation.
void add_double_conv(GraphBuilder& b, const ModelConfig& m, const std::string& prefix, int width) {
  for (int i = 0; i < 2; ++i) {
    const auto name = [&](int k) { return fmt::format("{}.double_conv.{}", prefix, 3 * i + k); };
    conv_norm(b, name(0), name(1), ConvLayer{width, 3, 1, 1}, false, -1);
    activate(b, m, name(2));
  }
}

/// A ResNet without its classifier.
struct Encoder {
  Stem stem;
  BlockMaker block;
  std::vector<int> blocks;  // of each stage
  int width;                // of the first stage
  int strided_stages;       // later ones are dilated instead
};

/// Adds an encoder, and returns the outputs of its stem and of all stages.
std::vector<int> add_encoder(GraphBuilder& b, const ModelConfig& m, const std::string& prefix,
                             const Encoder& encoder) {
  add_stem(b, m, prefix, encoder.stem);
  std::vector<int> outputs = {b.last()};
  int dilation = 1;
  for (std::size_t s = 0; s < encoder.blocks.size(); ++s) {
    const bool strided = s > 0 && static_cast<int>(s) < encoder.strided_stages;
    const bool dilated = s > 0 && !strided;
    for (int i = 0; i < encoder.blocks[s]; ++i) {
      const int stride = strided && i == 0 ? 2 : 1;
      // torchvision: the first block of a stage has the dilation of the stage before.
      if (dilated && i == 1) dilation *= 2;
      add_block(b, m, fmt::format("{}layer{}.{}", prefix, s + 1, i),
                encoder.block(encoder.width << s, stride, dilation), stride);
    }
    if (dilated && encoder.blocks[s] == 1) dilation *= 2;
    outputs.push_back(b.last());
  }
  return outputs;
}

Encoder backbone_of(Backbone backbone) {
  switch (backbone) {
    case Backbone::resnet18:
      return {kLargeStem, basic_block, {2, 2, 2, 2}, 64, 2};
    case Backbone::resnet50:
      return {kLargeStem, bottleneck_block, {3, 4, 6, 3}, 64, 2};
    case Backbone::resnet20:
      break;
  }
  return {kSmallStem, basic_block, {3, 3, 3}, 16, 2};
}

/// Adds conv, norm and activation "P.0", "P.1" and "P.2", numbered from `first`; returns the index
/// of the last.
template <class Conv>
int add_unit(GraphBuilder& b, const ModelConfig& m, const std::string& prefix, const Conv& conv,
             int input, int first = 0) {
  const auto name = [&](int k) { return fmt::format("{}.{}", prefix, first + k); };
  if constexpr (std::is_same_v<Conv, ConvLayer>)
    conv_norm(b, name(0), name(1), conv, false, input);
  else
    conv_norm(b, name(0), name(1), conv, input);
  activate(b, m, name(2));
  return b.last();
}

/// Atrous spatial pyramid pooling: dilated convolutions and the mean over the map, side by side.
void add_aspp(GraphBuilder& b, const ModelConfig& m, const std::string& prefix) {
  const int input = b.last(), width = m.aspp_channels;
  const auto branch = [&](std::size_t i) { return fmt::format("{}.convs.{}", prefix, i); };
  std::vector<int> branches = {add_unit(b, m, branch(0), ConvLayer{width, 1, 1, 0}, input)};
  for (const int rate : m.aspp_rates)
    branches.push_back(add_unit(b, m, branch(branches.size()),
                                ConvLayer{width, 3, 1, rate, false, 1.0, rate}, input));
  const std::string pooling = branch(branches.size());
  const int mean = b.add(pooling + ".0", PoolLayer{PoolKind::average, 0, 1, 0}, input);
  add_unit(b, m, pooling, ConvLayer{width, 1, 1, 0}, mean, 1);
  const Shape map = b.shape(input);
  branches.push_back(
      b.add(pooling + ".upsample", UpsampleLayer{UpsampleMode::bilinear, map.height, map.width}));
  const int joined = b.add_concat(prefix + ".concat", branches);
  add_unit(b, m, prefix + ".project", ConvLayer{width, 1, 1, 0}, joined);
  add_dropout(b, m, prefix + ".project.3", m.dropout);
}

/// Resamples the last layer to the size of the images.
void resample_to_images(GraphBuilder& b) {
  const Shape &out = b.shape(b.last()), &image = b.shape(0);
  if (out.height != image.height || out.width != image.width)
    b.add("upsample", UpsampleLayer{UpsampleMode::bilinear, image.height, image.width});
}

}  // namespace

void unet(GraphBuilder& b, const ModelConfig& m, int classes) {
  const Shape image = b.shape(0);
  const int least = 1 << m.depth;
  if (std::min(image.height, image.width) < least)
    throw InputError(ConfigKey{"model.depth"},
                     fmt::format("unet halves images {} times, which needs {}x{} pixels, but they "
                                 "have {}x{}; use a smaller depth or larger images",
                                 m.depth, least, least, image.height, image.width));
  add_double_conv(b, m, "inc", m.width);
  std::vector<int> skips = {b.last()};
  for (int level = 1; level <= m.depth; ++level) {
    const std::string name = fmt::format("down{}.maxpool_conv", level);
    b.add(name + ".0", PoolLayer{PoolKind::max, 2, 2, 0});
    add_double_conv(b, m, name + ".1", m.width << level);
    skips.push_back(b.last());
  }
  for (int level = m.depth - 1; level >= 0; --level) {
    const std::string name = fmt::format("up{}", m.depth - level);
    const int skip = skips[static_cast<std::size_t>(level)], width = m.width << level;
    ConvTransposeLayer up = enlarging(width, 2, 0, b.shape(b.last()), b.shape(skip));
    up.bias = true;
    b.add(name + ".up", up);
    b.add_concat(name + ".concat", {skip, b.last()});
    add_double_conv(b, m, name + ".conv", width);
  }
  add_dropout(b, m, "dropout", m.dropout);
  b.add("outc.conv", ConvLayer{classes, 1, 1, 0, true});
}

void deeplabv3(GraphBuilder& b, const ModelConfig& m, int classes) {
  add_encoder(b, m, "backbone.", backbone_of(m.backbone));
  add_aspp(b, m, "classifier.0");
  const int projected = b.last();
  add_unit(b, m, "classifier", ConvLayer{m.aspp_channels, 3, 1, 1}, projected, 1);
  b.add("classifier.4", ConvLayer{classes, 1, 1, 0, true});
  resample_to_images(b);
}

void linknet(GraphBuilder& b, const ModelConfig& m, int classes) {
  const Encoder encoder{kLargeStem, basic_block, {2, 2, 2, 2}, 64, 4};
  const std::vector<int> outputs = add_encoder(b, m, "encoder.", encoder);
  for (std::size_t stage = encoder.blocks.size(); stage > 0; --stage) {
    const std::string name = fmt::format("decoder{}", stage);
    const int skip = outputs[stage - 1];
    const Shape from = b.shape(b.last()), to = b.shape(skip);
    const int inner = from.channels / 4;
    add_unit(b, m, name + ".conv1", ConvLayer{inner, 1, 1, 0}, b.last());
    const ConvTransposeLayer same{inner, 3, 1, 1};  // the first stage keeps the stem's size
    add_unit(b, m, name + ".tp_conv", stage == 1 ? same : enlarging(inner, 3, 1, from, to),
             b.last());
    add_unit(b, m, name + ".conv2", ConvLayer{to.channels, 1, 1, 0}, b.last());
    b.add_sum(name + ".add", b.last(), skip);
  }
  const Shape last = b.shape(b.last()),
              half = {(b.shape(0).height + 1) / 2, (b.shape(0).width + 1) / 2};
  add_unit(b, m, "tp_conv1", enlarging(32, 3, 1, last, half), b.last());
  add_unit(b, m, "conv2", ConvLayer{32, 3, 1, 1}, b.last());
  add_dropout(b, m, "dropout", m.dropout);
  ConvTransposeLayer classifier{classes, 2, 2, 0};
  classifier.bias = true;
  b.add("tp_conv2", classifier);
  resample_to_images(b);  // of an odd number of pixels
}

}  // namespace syncnorm
