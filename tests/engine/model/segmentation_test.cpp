// Networks that give a class for each pixel: their logits, names and sizes against PyTorch's and
// torchvision's, any size of images, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>

#include "base/error.h"
#include "engine/config/load.h"
#include "engine/model/zoo.h"
#include "engine/program/compile.h"
#include "engine/program/executor.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

Graph network(const std::string& yaml, Shape input, int classes, Output output = Output::map) {
  return build_model(parse_experiment_text(yaml, "test.yaml").experiment, input, classes, output);
}

std::size_t parameters(const Graph& graph) {
  std::size_t count = 0;
  for (const Parameter& p : graph.parameters) count += p.count();
  return count;
}

std::string refusal(const std::string& yaml, Shape input, int classes,
                    Output output = Output::map) {
  try {
    network(yaml, input, classes, output);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

/// The parameters of tests/golden/networks/make_goldens_of_networks.py, which follow from their
/// names.
void fill(const Parameter& parameter, std::span<float> values) {
  const std::uint32_t phase = std::accumulate(
      parameter.name.begin(), parameter.name.end(), std::uint32_t{0},
      [](std::uint32_t sum, char c) { return sum + static_cast<unsigned char>(c); });
  const bool weight = parameter.shape.size() == 4;
  double inputs = 1.0;
  for (std::size_t d = 1; d < parameter.shape.size(); ++d) inputs *= parameter.shape[d];
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t h = static_cast<std::uint32_t>(i) + phase * 65537u;
    for (const std::uint32_t factor : {2654435761u, 2246822519u}) {
      h *= factor;
      h ^= h >> 15;
    }
    const double uniform = static_cast<double>(h) / 2147483648.0 - 1.0;
    const double base = parameter.name.ends_with("weight") ? 1.0 : 0.0;
    values[i] =
        static_cast<float>(weight ? uniform * std::sqrt(4.0 / inputs) : uniform * 0.2 + base);
  }
}

/// The logits of an evaluation, [samples, height, width, classes].
std::vector<float> logits(const Graph& graph, int samples, const std::vector<float>& images) {
  const std::unique_ptr<Device> device = make_cpu_device();
  const std::unique_ptr<Communicator> self = make_self_communicator();
  ProgramOptions options;
  options.mode = ProgramMode::evaluation;
  options.batch_per_replica = options.global_samples = samples;
  std::vector<std::size_t> layout;
  std::size_t at = 0;
  for (const Parameter& parameter : graph.parameters) {
    layout.push_back(at);
    at += parameter.count();
  }
  Memory memory;
  Executor executor(compile_program(graph, *device, options, layout), *device, *self,
                    Placement(1, 1), nullptr, ReductionAlgorithm::tree, memory);
  for (std::size_t p = 0; p < layout.size(); ++p)
    fill(graph.parameters[p],
         memory.parameters.host<float>().subspan(layout[p], graph.parameters[p].count()));
  const std::span<float> averaged = memory.averaged.host<float>();
  for (const RunningSlot& slot : executor.program().running) {
    const auto channels = static_cast<std::size_t>(slot.channels);
    std::fill_n(averaged.begin() + static_cast<std::ptrdiff_t>(slot.mean), channels, 0.0f);
    std::fill_n(averaged.begin() + static_cast<std::ptrdiff_t>(slot.variance), channels, 1.0f);
  }
  const std::vector<std::int32_t> labels(images.size());  // at least one per pixel
  const std::vector<std::uint32_t> ids(static_cast<std::size_t>(samples));
  executor.run({}, {images.data(), labels.data(), ids.data()});
  return executor.tensors().floats(executor.program().logits_tensor, 0);
}

TEST(Segmentation, LogitsAreThoseOfPyTorch) {
  const auto cases = read_goldens("networks/segmentation");
  ASSERT_EQ(cases.size(), 3u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const Shape image{g.integer("height"), g.integer("width"), 3};
    const Graph graph =
        network("norm: bn\nmodel: {architecture: " + g.name + ", width: 3, depth: 2}\n", image, 4);
    const std::vector<float> y = logits(graph, g.integer("samples"), g.tensor("x"));
    const std::vector<float>& expected = g.tensor("y");
    ASSERT_EQ(y.size(), expected.size());
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 2e-4) << i;
  }
}

// Written from torchvision's model, without its auxiliary classifier.
TEST(Segmentation, DeepLabV3HasTorchvisionsNamesAndShapes) {
  std::ifstream file(std::string(SYNCNORM_SOURCE_DIR) +
                     "/tests/golden/networks/deeplabv3_resnet50.names");
  ASSERT_TRUE(file);
  std::set<std::string> expected, actual;
  for (std::string line; std::getline(file, line);) expected.insert(line);
  const Graph graph = network("model: {architecture: deeplabv3}", {65, 65, 3}, 4);
  for (const Parameter& p : graph.parameters) {
    std::string line = p.name;
    for (const int extent : p.shape) line += " " + std::to_string(extent);
    actual.insert(line);
  }
  EXPECT_EQ(actual, expected);
  // torchvision's count with 21 classes.
  EXPECT_EQ(parameters(network("model: {architecture: deeplabv3}", {65, 65, 3}, 21)), 39'638'869u);
}

TEST(Segmentation, HasTheKnownNumbersOfParameters) {
  // milesial's U-Net with 2 classes.
  EXPECT_EQ(parameters(network("model: {architecture: unet, width: 64}", {64, 64, 3}, 2)),
            31'037'698u);
}

TEST(Segmentation, AnyImageIsGivenAClassForEachPixel) {
  for (const char* model : {"unet, width: 4, depth: 3", "linknet", "deeplabv3, backbone: resnet20",
                            "deeplabv3, backbone: resnet18, aspp_channels: 8, aspp_rates: [2, 5]"})
    for (const char* norm : {"syncbn", "{kind: group, groups: 4}", "none",
                             "{kind: group, groups: 4, weights: standardized}",
                             "{kind: batch, weights: normalized}", "{kind: frn, tlu: true}"})
      for (const Shape& image : {Shape{8, 8, 3}, {33, 47, 1}, {64, 50, 3}}) {
        const Graph graph = network(
            std::string("norm: ") + norm + "\nmodel: {architecture: " + model + "}", image, 4);
        EXPECT_EQ(graph.layers.back().shape, (Shape{image.height, image.width, 4})) << model;
      }
}

TEST(Segmentation, KeysOfTheModelReachTheNetwork) {
  const auto shape = [](const std::string& model, const std::string& name) {
    const Graph graph = network("model: {architecture: " + model + "}", {64, 64, 3}, 4);
    for (const Parameter& p : graph.parameters)
      if (p.name == name) return p.shape;
    return std::vector<int>{};
  };
  using Dims = std::vector<int>;
  EXPECT_EQ(shape("unet", "down4.maxpool_conv.1.double_conv.3.weight"), (Dims{256, 256, 3, 3}));
  EXPECT_EQ(shape("unet, depth: 2", "up1.up.weight"), (Dims{64, 32, 2, 2}));
  EXPECT_EQ(shape("unet, depth: 2", "down3.maxpool_conv.1.double_conv.0.weight"), Dims{});
  EXPECT_EQ(shape("deeplabv3", "classifier.4.weight"), (Dims{4, 256, 1, 1}));
  EXPECT_EQ(shape("deeplabv3, backbone: resnet20", "classifier.4.weight"), (Dims{4, 64, 1, 1}));
  EXPECT_EQ(shape("deeplabv3, aspp_channels: 12", "classifier.4.weight"), (Dims{4, 12, 1, 1}));
  EXPECT_EQ(shape("deeplabv3, aspp_rates: [3]", "classifier.0.project.0.weight"),
            (Dims{256, 768, 1, 1}));
  EXPECT_EQ(shape("deeplabv3, backbone: resnet18", "backbone.layer4.1.conv2.weight"),
            (Dims{512, 512, 3, 3}));
}

TEST(Segmentation, DropoutAndRatesHaveTheArchitecturesDefaults) {
  const auto model = [](const std::string& keys) {
    return parse_experiment_text("model: {" + keys + "}", "test.yaml").experiment.model;
  };
  EXPECT_EQ(model("architecture: deeplabv3").dropout, 0.5);
  EXPECT_EQ(model("architecture: deeplabv3, dropout: 0").dropout, 0.0);
  EXPECT_EQ(model("architecture: unet").dropout, 0.0);
  EXPECT_EQ(model("architecture: deeplabv3").aspp_rates, (std::vector<int>{12, 24, 36}));
  const ModelConfig small = model("architecture: deeplabv3, backbone: resnet20");
  EXPECT_EQ(small.aspp_rates, (std::vector<int>{2, 4, 6}));
  EXPECT_EQ(small.aspp_channels, 64);
  EXPECT_EQ(model("architecture: deeplabv3, backbone: resnet20, aspp_rates: [1]").aspp_rates,
            (std::vector<int>{1}));
}

TEST(Segmentation, ZeroGammaReachesTheBlocksOfTheEncoder) {
  const Graph graph = network("model: {architecture: linknet, zero_gamma: true}", {64, 64, 3}, 4);
  EXPECT_EQ(std::count_if(graph.norms.begin(), graph.norms.end(),
                          [&](int norm) {
                            const Layer& layer = graph.layers[static_cast<std::size_t>(norm)];
                            return std::get<NormLayer>(layer.kind).zero_gamma;
                          }),
            8);
}

TEST(Segmentation, WhatDoesNotFitTheDataIsRefused) {
  EXPECT_EQ(refusal("model: {architecture: unet}", {15, 40, 3}, 4),
            "model.depth: unet halves images 4 times, which needs 16x16 pixels, but they have "
            "15x40; use a smaller depth or larger images");
  EXPECT_EQ(refusal("model: {architecture: unet}", {32, 32, 3}, 4, Output::vector),
            "model.architecture: unet gives a class for each pixel, but the data has one label per "
            "image; use data with masks, or another architecture");
  EXPECT_EQ(refusal("model: {architecture: resnet20}", {32, 32, 3}, 4),
            "model.architecture: resnet20 gives one class per image, but the data has a label for "
            "each pixel; use unet, deeplabv3 or linknet");
  const std::string half =
      "model: {layers: [{type: conv, out: 4, kernel: 3, stride: 2, padding: 1}";
  EXPECT_EQ(refusal(half + "]}", {8, 6, 3}, 4),
            "model: layer 'conv1': the last layer gives 4x3x4, but the data has a label for each "
            "of 8x6 pixels; add {type: upsample, to: input, mode: bilinear}");
  EXPECT_EQ(refusal(half + ", {type: upsample, to: input, mode: bilinear}]}", {8, 6, 3}, 4),
            "accepted");
  EXPECT_EQ(refusal(half + ", {type: upsample, scale: 2}]}", {8, 6, 3}, 5),
            "model: layer 'upsample2': the last layer gives 8x6x4, but the data has 5 classes for "
            "each pixel; end with 5 channels, as with {type: conv, out: 5, kernel: 1}");
}

}  // namespace
}  // namespace syncnorm::test
