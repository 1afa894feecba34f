// Models: sizes and names against torchvision's, shapes, and the errors of graphs that do not fit.
#include "engine/model/zoo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "engine/config/load.h"
#include "engine/config/names.h"
#include "engine/model/initialize.h"

namespace syncnorm::test {
namespace {

Graph model(const std::string& yaml, Shape input, int classes) {
  return build_model(parse_experiment_text(yaml, "test.yaml").experiment, input, classes);
}

std::size_t parameters(const Graph& graph) {
  std::size_t count = 0;
  for (const Parameter& p : graph.parameters) count += p.count();
  return count;
}

/// Shape of the parameter called `name`, or {} where there is none.
std::vector<int> shape_of(const Graph& graph, const std::string& name) {
  for (const Parameter& p : graph.parameters)
    if (p.name == name) return p.shape;
  return {};
}

// torchvision's counts with 1000 classes (resnet18/34/50), He et al. 2016 table 6 for CIFAR ResNets
// with projection shortcuts, and sums by hand.
TEST(Zoo, HasTheKnownNumbersOfParameters) {
  const Shape imagenet{224, 224, 3}, cifar{32, 32, 3}, mnist{28, 28, 1};
  EXPECT_EQ(parameters(model("model: {architecture: resnet18}", imagenet, 1000)), 11'689'512u);
  EXPECT_EQ(parameters(model("model: {architecture: resnet34}", imagenet, 1000)), 21'797'672u);
  EXPECT_EQ(parameters(model("model: {architecture: resnet50}", imagenet, 1000)), 25'557'032u);
  EXPECT_EQ(parameters(model("model: {architecture: resnet20}", cifar, 10)), 272'474u);
  EXPECT_EQ(parameters(model("model: {architecture: mlp, hidden: [100]}\nnorm: none", mnist, 10)),
            784u * 100 + 100 + 100 * 10 + 10);
  EXPECT_EQ(parameters(model("model: {architecture: lenet}\nnorm: none", mnist, 10)), 61'706u);
  EXPECT_EQ(parameters(model("model: {architecture: convnet}", mnist, 10)),
            9u * 16 + 32 + 9 * 16 * 32 + 64 + 9 * 32 * 64 + 128 + 64 * 10 + 10);
  // VGG-16 without norm: torchvision's features (14,714,688) and one classifier.
  EXPECT_EQ(parameters(model("model: {architecture: vgg16}\nnorm: none", cifar, 10)),
            14'714'688u + 512 * 10 + 10);
}

TEST(Zoo, ResNetHasTorchvisionsNames) {
  const Graph graph = model("model: {architecture: resnet50}", {64, 64, 3}, 10);
  const auto has = [&](const std::string& name) {
    return std::any_of(graph.parameters.begin(), graph.parameters.end(),
                       [&](const Parameter& p) { return p.name == name; });
  };
  for (const char* name : {"conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv3.weight",
                           "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias",
                           "layer4.2.bn3.weight", "fc.weight", "fc.bias"})
    EXPECT_TRUE(has(name)) << name;
  EXPECT_FALSE(has("layer1.1.downsample.0.weight"));
}

TEST(Zoo, NormNoneGivesConvolutionsABias) {
  const Graph with = model("model: {architecture: resnet8}", {28, 28, 1}, 10);
  const Graph without = model("model: {architecture: resnet8}\nnorm: none", {28, 28, 1}, 10);
  EXPECT_FALSE(with.norms.empty());
  EXPECT_TRUE(without.norms.empty());
  const auto bias = std::find_if(without.parameters.begin(), without.parameters.end(),
                                 [](const Parameter& p) { return p.name == "conv1.bias"; });
  EXPECT_NE(bias, without.parameters.end());
}

// torch.nn.RMSNorm has a weight and no bias, so the convolution before it keeps its own.
TEST(Zoo, TheFirstEntryThatMatchesDecidesALayersNorm) {
  const Graph graph = model(
      "norm: {kind: batch, layers: [{match: layer1.0.bn1, kind: none}, {match: \"layer1.*\", kind: "
      "group, groups: 4}, {match: \"*downsample.1\", kind: layer, affine: false}]}\n"
      "model: {architecture: resnet8}",
      {32, 32, 3}, 10);
  std::map<std::string, NormKind> kinds;
  for (const int index : graph.norms)
    kinds[graph.layers[static_cast<std::size_t>(index)].name] = graph.norm(index).kind;
  EXPECT_EQ(kinds, (std::map<std::string, NormKind>{{"bn1", NormKind::batch},
                                                    {"layer1.0.bn2", NormKind::group},
                                                    {"layer2.0.bn1", NormKind::batch},
                                                    {"layer2.0.bn2", NormKind::batch},
                                                    {"layer2.0.downsample.1", NormKind::layer},
                                                    {"layer3.0.bn1", NormKind::batch},
                                                    {"layer3.0.bn2", NormKind::batch},
                                                    {"layer3.0.downsample.1", NormKind::layer}}));
  EXPECT_EQ(shape_of(graph, "layer1.0.conv1.bias"), std::vector<int>{16});  // nothing replaces it
  EXPECT_TRUE(shape_of(graph, "layer1.0.conv2.bias").empty());
  EXPECT_TRUE(shape_of(graph, "layer2.0.downsample.1.weight").empty());
  EXPECT_TRUE(graph.has_norms_over(StatisticsOver::batch));
  EXPECT_FALSE(graph.has_norms_over(StatisticsOver::running));
}

// VGG's layers are numbered, and a layer without norm leaves a gap, so that patterns keep their
// meaning.
TEST(Zoo, AVggKeepsItsNumbersWhereOneNormIsLeftOut) {
  const std::string vgg = "\nmodel: {architecture: vgg11}";
  const auto names = [&](const std::string& norm) {
    std::vector<std::string> found;
    for (const Layer& layer : model(norm + vgg, {32, 32, 3}, 10).layers)
      if (layer.name.starts_with("features.")) found.push_back(layer.name);
    return found;
  };
  const auto all = names("norm: bn"), without = names("norm: none");
  auto some = names("norm: {kind: batch, layers: [{match: features.5, kind: none}]}");
  EXPECT_EQ(without[3], "features.3");  // torchvision's vgg11, without gaps
  EXPECT_EQ(std::find(some.begin(), some.end(), "features.5"), some.end());
  some.insert(some.begin() + 5, "features.5");
  EXPECT_EQ(some, all);
}

TEST(Zoo, APatternMustDecideALayer) {
  const auto refusal = [](const std::string& layers) -> std::string {
    try {
      model("norm: {kind: batch, layers: " + layers + "}\nmodel: {architecture: lenet}",
            {28, 28, 1}, 10);
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(
      refusal("[{match: [bn1, layer4.*], kind: group, groups: 2}]"),
      "test.yaml:1:30: norm.layers: 'layer4.*' matches no norm layer; they are bn1, bn2, bn3, "
      "bn4");
  EXPECT_EQ(
      refusal("[{match: \"*\", kind: layer}, {match: bn2, kind: group}]"),
      "test.yaml:1:57: norm.layers: earlier patterns decide all layers that 'bn2' matches, as "
      "'bn2'; the first that matches decides, so put it before them, or leave it out");
  EXPECT_EQ(
      refusal("[{match: bn2, kind: group, groups: 3}]"),
      "test.yaml:1:30: norm.layers: groups: 3 does not divide the 16 channels of layer 'bn2'; "
      "use one of 1, 2, 4, 8, 16");
}

// Brock et al. 2021: 1/√Var(f(z)), z ~ N(0, 1), here by a sum over a fine grid.
TEST(Zoo, AConvolutionKnowsTheGainOfTheActivationBeforeIt) {
  const auto gain = [](const auto& f) {
    constexpr double kStep = 1e-3;
    double mean = 0.0, square = 0.0;
    for (double z = -12.0; z < 12.0; z += kStep) {
      const double weight = kStep * std::exp(-z * z / 2.0) / std::sqrt(2.0 * std::acos(-1.0));
      mean += weight * f(z);
      square += weight * f(z) * f(z);
    }
    return 1.0 / std::sqrt(square - mean * mean);
  };
  const auto elu = [](double z) { return z > 0.0 ? z : std::expm1(z); };
  const std::map<std::string, double> expected = {
      {"relu", gain([](double z) { return z > 0.0 ? z : 0.0; })},
      {"sigmoid", gain([](double z) { return 1.0 / (1.0 + std::exp(-z)); })},
      {"tanh", gain([](double z) { return std::tanh(z); })},
      {"elu", gain(elu)},
      {"selu", gain([&](double z) {
         return 1.0507009873554805 * (z > 0.0 ? z : 1.6732632423543772 * std::expm1(z));
       })},
      {"gelu", gain([](double z) { return 0.5 * z * (1.0 + std::erf(z / std::sqrt(2.0))); })},
      {"silu", gain([](double z) { return z / (1.0 + std::exp(-z)); })},
      {"hard_swish",
       gain([](double z) { return z * std::min(std::max(z + 3.0, 0.0), 6.0) / 6.0; })},
      {"norm", 1.0}};
  for (const auto& [layer, factor] : expected) {
    const Graph graph = model("model: {layers: [{type: conv, out: 4, kernel: 3}, " + layer +
                                  ", {type: max_pool, kernel: 2}, {type: conv, out: 3, kernel: 1}, "
                                  "global_pool]}",
                              {8, 8, 3}, 3);
    const Layer& conv = graph.layers[4];
    EXPECT_NEAR(std::get<ConvLayer>(conv.kind).input_gain, factor, 1e-6) << layer;
    EXPECT_EQ(std::get<ConvLayer>(graph.layers[1].kind).input_gain, 1.0);
  }
}

TEST(Zoo, RmsNormHasNoBetaAndLeavesTheBias) {
  const Graph graph = model("model: {architecture: resnet8}\nnorm: rms", {28, 28, 1}, 10);
  EXPECT_EQ(shape_of(graph, "conv1.bias"), (std::vector<int>{16}));
  EXPECT_EQ(shape_of(graph, "layer2.0.bn2.weight"), (std::vector<int>{32}));
  EXPECT_EQ(shape_of(graph, "layer2.0.bn2.bias"), std::vector<int>{});
}

// One α and one s per layer; without a mean to subtract, the convolution keeps its bias.
TEST(Zoo, PointwiseNormsHaveTheirScalars) {
  const auto graph = [](const std::string& norm) {
    return model("model: {architecture: resnet8}\nnorm: " + norm, {28, 28, 1}, 10);
  };
  for (const char* norm : {"dyt", "derf", "{kind: derf, affine: false}"}) {
    const Graph own = graph(norm);
    const bool derf = std::string(norm) != "dyt", affine = norm[0] != '{';
    const std::vector<int> none, one = {1}, channels = {32};
    EXPECT_EQ(shape_of(own, "conv1.bias"), (std::vector<int>{16})) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.alpha"), one) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.shift"), derf ? one : none) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.weight"), affine ? channels : none) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.bias"), affine ? channels : none) << norm;
  }
}

// τ and v are learned whatever affine says; eps where a map is one pixel. No activation is left
// directly behind such a norm.
TEST(Zoo, NormsWithAnActivationHaveTheirParameters) {
  const auto graph = [](const std::string& architecture, const std::string& norm) {
    return model("model: {architecture: " + architecture + "}\nnorm: " + norm, {28, 28, 1}, 10);
  };
  const auto activations = [](const Graph& of) {
    return std::count_if(of.layers.begin(), of.layers.end(), [](const Layer& layer) {
      return std::holds_alternative<ActivationLayer>(layer.kind);
    });
  };
  const std::vector<int> none, one = {1}, channels = {32};
  const Graph plain = graph("resnet8", "{kind: frn}");
  EXPECT_EQ(shape_of(plain, "layer2.0.bn2.tau"), none);
  EXPECT_EQ(activations(plain), 7);
  for (const char* norm : {"{kind: frn, tlu: true}", "{kind: frn, tlu: true, affine: false}",
                           "{kind: evonorm_s0}", "{kind: evonorm_s0, affine: false}"}) {
    const Graph own = graph("resnet8", norm);
    const bool frn = std::string(norm).find("frn") != std::string::npos;
    const bool affine = std::string(norm).find("affine") == std::string::npos;
    EXPECT_EQ(shape_of(own, "conv1.bias"), (std::vector<int>{16})) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.tau"), frn ? channels : none) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.v"), frn ? none : channels) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.eps"), none) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.weight"), affine ? channels : none) << norm;
    EXPECT_EQ(shape_of(own, "layer2.0.bn2.bias"), affine ? channels : none) << norm;
    EXPECT_EQ(activations(own), 3) << norm;  // behind the residual adds
  }
  const Graph vectors = graph("mlp", "{kind: frn, tlu: true}");
  EXPECT_EQ(shape_of(vectors, "bn1.eps"), one);
  EXPECT_EQ(activations(vectors), 0);
}

// torch.nn.utils.weight_norm replaces `weight` by `weight_g` and `weight_v`.
TEST(Zoo, NormalizedWeightsHaveTorchsNamesAndShapes) {
  const Graph graph = model("model: {architecture: lenet}\nnorm: {kind: none, weights: normalized}",
                            {28, 28, 1}, 10);
  EXPECT_EQ(shape_of(graph, "conv2.weight_g"), (std::vector<int>{16, 1, 1, 1}));
  EXPECT_EQ(shape_of(graph, "conv2.weight_v"), (std::vector<int>{16, 6, 5, 5}));
  EXPECT_EQ(shape_of(graph, "fc3.weight_g"), (std::vector<int>{10, 1}));
  EXPECT_EQ(shape_of(graph, "fc3.weight_v"), (std::vector<int>{10, 84}));
  EXPECT_EQ(shape_of(graph, "conv2.weight"), std::vector<int>{});
  EXPECT_EQ(parameters(graph), 61'706u + 6 + 16 + 120 + 84 + 10);
}

TEST(Zoo, StandardizedWeightsKeepTheirNames) {
  const Graph graph = model(
      "model: {architecture: lenet}\nnorm: {kind: none, weights: standardized}", {28, 28, 1}, 10);
  EXPECT_EQ(parameters(graph), 61'706u);
  EXPECT_EQ(shape_of(graph, "conv1.weight"), (std::vector<int>{6, 1, 5, 5}));
}

TEST(Zoo, DropoutIsOfTheConfiguredKind) {
  for (const bool alpha : {false, true}) {
    const Graph graph =
        model(std::string("model: {architecture: mlp, dropout: 0.1, dropout_kind: ") +
                  (alpha ? "alpha}" : "plain}"),
              {28, 28, 1}, 10);
    const Layer& layer = graph.layers[graph.layers.size() - 2];
    EXPECT_EQ(std::get<DropoutLayer>(layer.kind).alpha, alpha);
  }
}

TEST(Zoo, NormPositionIsRespected) {
  const auto order = [](const std::string& position) {
    const Graph graph =
        model("model: {architecture: lenet, norm_position: " + position + "}", {28, 28, 1}, 10);
    return std::holds_alternative<NormLayer>(graph.layers[2].kind);
  };
  EXPECT_TRUE(order("before_activation"));
  EXPECT_FALSE(order("after_activation"));
}

struct BadModel {
  const char* yaml;
  Shape input;
  const char* message;
};

class BadModels : public ::testing::TestWithParam<BadModel> {};

TEST_P(BadModels, AreRefusedWithTheLayersName) {
  try {
    model(GetParam().yaml, GetParam().input, 10);
    FAIL() << "the model was accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadModels,
    ::testing::Values(
        BadModel{"model: {architecture: lenet}",
                 {4, 4, 1},
                 "model: layer 'conv2': a kernel of 5 does not fit a map of 2 with padding 0; use "
                 "a smaller "
                 "kernel, more padding, larger images or fewer strides and pools before it"},
        BadModel{
            "model: {layers: [{type: conv, out: 4, kernel: 3, dilation: 4, padding: 2}]}",
            {4, 4, 1},
            "test.yaml:1:18: model.layers: layer 'conv1': a kernel of 3 with dilation 4 does not "
            "fit a map of 4 with padding 2; use a smaller kernel, more padding, larger images or "
            "fewer strides and pools before it"},
        BadModel{
            "model: {layers: [{type: conv, out: 6, kernel: 1, groups: 4}]}",
            {4, 4, 12},
            "test.yaml:1:18: model.layers: layer 'conv1': 4 groups do not divide the 6 channels "
            "of its output; use one of 1, 2, 3, 6"},
        BadModel{
            "model: {layers: [{type: conv_transpose, out: 4, kernel: 3, stride: 2, output_padding: "
            "2}]}",
            {4, 4, 3},
            "test.yaml:1:18: model.layers: layer 'conv_transpose1': output_padding 2 must be below "
            "stride 2"},
        BadModel{
            "model: {layers: [{type: conv_transpose, out: 4, kernel: 1, padding: 2}]}",
            {4, 4, 3},
            "test.yaml:1:18: model.layers: layer 'conv_transpose1': a map of 4 would become one of "
            "0; it must have 1 to 32768: use less padding or a larger kernel"},
        BadModel{
            "model: {layers: [{type: conv_transpose, out: 6, kernel: 2, groups: 4}]}",
            {4, 4, 12},
            "test.yaml:1:18: model.layers: layer 'conv_transpose1': 4 groups do not divide the 6 "
            "channels of its output; use one of 1, 2, 3, 6"},
        BadModel{"model: {layers: [{type: upsample, scale: 4096}, global_pool]}",
                 {9, 9, 10},
                 "test.yaml:1:18: model.layers: layer 'upsample1': a map of 36864 cannot be "
                 "resampled; the largest height and width is 32768"},
        BadModel{"model: {layers: [{type: upsample, scale: 2, align_corners: true}, global_pool]}",
                 {4, 4, 10},
                 "test.yaml:1:18: model.layers: layer 'upsample1': align_corners is for mode: "
                 "bilinear"},
        BadModel{"model: {layers: [{type: upsample, to: late}, {type: relu, name: late}]}",
                 {4, 4, 10},
                 "test.yaml:1:18: model.layers: there is no layer 'late' before this one; give "
                 "that layer a name"},
        BadModel{
            "model: {layers: [{type: conv, out: 4, kernel: 3, stride: 2, name: a}, {type: concat, "
            "from: input}]}",
            {9, 8, 3},
            "test.yaml:1:71: model.layers: layer 'concat2': cannot join 'a' of 4x3x4 and 'input' "
            "of 9x8x3; heights and widths must be equal: put {type: upsample, to: input} before "
            "it, or change a stride or padding"},
        BadModel{"model: {layers: [{type: concat, from: [input, input, input, input, input, input, "
                 "input, input]}]}",
                 {4, 4, 3},
                 "test.yaml:1:18: model.layers: layer 'concat1': joins 9 layers; give 2 to 8, and "
                 "join more in several steps"},
        BadModel{
            "model: {layers: [{type: conv, out: 4, kernel: 1, name: a}, {type: multiply, from: "
            "input}]}",
            {4, 4, 3},
            "test.yaml:1:60: model.layers: layer 'multiply2': cannot multiply 'a' of 4x4x4 by "
            "'input' of 4x4x3; shapes must be equal, or one of them has 1x1 pixels or 1 channel"},
        BadModel{
            "norm: gn\nmodel: {architecture: lenet}",
            {28, 28, 1},
            "norm.groups: 8 does not divide the 6 channels of layer 'bn1'; use one of 1, 2, 3, "
            "6"},
        BadModel{
            "norm: {kind: group, channels_per_group: 4}\nmodel: {architecture: lenet}",
            {28, 28, 1},
            "norm.channels_per_group: 4 does not divide the 6 channels of layer 'bn1'; use one "
            "of 1, 2, 3, 6"},
        BadModel{"norm: {weights: standardized}\nmodel: {architecture: mlp}",
                 {4, 4, 1},
                 "norm.weights: standardized acts on convolutions, and this model has none; use "
                 "normalized or plain"},
        BadModel{
            "norm: {kind: none, weights: standardized}\nmodel: {layers: [{type: conv, out: 2, "
            "kernel: 1}, flatten, {type: linear, out: 10}]}",
            {4, 4, 1},
            "test.yaml:2:18: model.layers: norm.weights: a filter of layer 'conv1' is a single "
            "weight, which would become 0; use normalized or plain"},
        BadModel{
            "model: {layers: [{type: linear, out: 10}]}",
            {4, 4, 1},
            "test.yaml:1:18: model.layers: layer 'linear1': linear reads a vector, but its input "
            "is 4x4x1; put 'flatten' or 'global_pool' before it"},
        BadModel{"model: {layers: [flatten, {type: linear, out: 7}]}",
                 {4, 4, 1},
                 "model: layer 'linear2': the last layer gives 1x1x7, but the data has 10 classes; "
                 "end with "
                 "a linear layer of 10 outputs"},
        BadModel{"model: {layers: [flatten, {type: add, from: nowhere}, {type: linear, out: 10}]}",
                 {4, 4, 1},
                 "test.yaml:1:27: model.layers: there is no layer 'nowhere' before this one; give "
                 "that layer a name"},
        BadModel{
            "model: {layers: [{type: conv, out: 4, kernel: 1, name: a}, {type: conv, out: 8, "
            "kernel: 1}, {type: add, from: a}, global_pool, {type: linear, out: 10}]}",
            {4, 4, 1},
            "test.yaml:1:93: model.layers: layer 'add3': cannot add 'a' of 4x4x4 to 'conv2' of "
            "4x4x8; shapes must be equal"},
        BadModel{
            "model: {layers: [flatten, {type: linear, out: 4, name: dead}, {type: linear, out: "
            "10, input: flatten1}]}",
            {4, 4, 1},
            "model: layer 'dead': nothing reads its output; remove it, or read it with 'input' or "
            "'from'"}));

TEST(Initialize, HasTheVarianceOfItsName) {
  const auto deviation = [](const std::string& kind) {
    const Experiment e =
        parse_experiment_text("model: {architecture: mlp, hidden: [400], initialization: " + kind +
                                  ", initialization_std: 0.3}",
                              "test.yaml")
            .experiment;
    const Graph graph = build_model(e, {28, 28, 1}, 10);
    std::vector<float> values(graph.parameters[0].count());
    initialize_parameter(graph, 0, e.model, 1, values);
    double square = 0.0;
    for (const float v : values) square += static_cast<double>(v) * static_cast<double>(v);
    return std::sqrt(square / static_cast<double>(values.size()));
  };
  EXPECT_NEAR(deviation("he"), std::sqrt(2.0 / 784), 0.0005);
  EXPECT_NEAR(deviation("lecun"), std::sqrt(1.0 / 784), 0.0005);
  EXPECT_NEAR(deviation("xavier"), std::sqrt(2.0 / (784 + 400)), 0.0005);
  EXPECT_NEAR(deviation("gaussian"), 0.3, 0.003);
}

TEST(Initialize, ANormalizedWeightBeginsAsItsDirection) {
  const Experiment e = parse_experiment_text(
                           "model: {architecture: lenet}\nnorm: {weights: normalized}", "test.yaml")
                           .experiment;
  const Graph graph = build_model(e, {28, 28, 1}, 10);
  for (std::size_t p = 0; p < graph.parameters.size(); ++p) {
    if (graph.parameters[p].role != ParameterRole::gain) continue;
    const int weight = graph.parameter(graph.parameters[p].layer, ParameterRole::weight);
    std::vector<float> g(graph.parameters[p].count());
    std::vector<float> v(graph.parameters[static_cast<std::size_t>(weight)].count());
    initialize_parameter(graph, static_cast<int>(p), e.model, 1, g);
    initialize_parameter(graph, weight, e.model, 1, v);
    const std::size_t inputs = v.size() / g.size();
    for (std::size_t o = 0; o < g.size(); ++o) {
      double square = 0.0;
      for (std::size_t i = o * inputs; i < (o + 1) * inputs; ++i)
        square += static_cast<double>(v[i]) * static_cast<double>(v[i]);
      EXPECT_NEAR(g[o], std::sqrt(square), 1e-6 * g[o]);
    }
  }
}

TEST(Initialize, ZeroGammaIsOnlyInTheLastNormOfABlock) {
  const Experiment e =
      parse_experiment_text("model: {architecture: resnet8, zero_gamma: true}", "test.yaml")
          .experiment;
  const Graph graph = build_model(e, {28, 28, 1}, 10);
  for (std::size_t p = 0; p < graph.parameters.size(); ++p) {
    if (graph.parameters[p].role != ParameterRole::gamma) continue;
    std::vector<float> values(graph.parameters[p].count(), -1.0f);
    initialize_parameter(graph, static_cast<int>(p), e.model, 1, values);
    const bool last = graph.parameters[p].name.find(".bn2.") != std::string::npos;
    EXPECT_EQ(values[0], last ? 0.0f : 1.0f) << graph.parameters[p].name;
  }
}

TEST(Initialize, NormsWithAnActivationBeginAsTheirAuthorsDo) {
  for (const auto& [norm, role, expected] :
       {std::tuple{"{kind: frn, tlu: true}", ParameterRole::threshold, 0.0f},
        {"{kind: frn, tlu: true}", ParameterRole::epsilon, 1e-4f},
        {"{kind: evonorm_s0}", ParameterRole::slope, 1.0f}}) {
    const Experiment e =
        parse_experiment_text(std::string("model: {architecture: mlp}\nnorm: ") + norm, "test.yaml")
            .experiment;
    const Graph graph = build_model(e, {28, 28, 1}, 10);
    const int p = graph.parameter(graph.norms.front(), role);
    ASSERT_GE(p, 0) << norm;
    std::vector<float> values(graph.parameters[static_cast<std::size_t>(p)].count(), -1.0f);
    initialize_parameter(graph, p, e.model, 1, values);
    EXPECT_EQ(values, std::vector<float>(values.size(), expected)) << norm;
  }
}

TEST(Initialize, PointwiseNormsBeginWithHalfTheirInput) {
  const Experiment e =
      parse_experiment_text("model: {architecture: resnet8}\nnorm: derf", "test.yaml").experiment;
  const Graph graph = build_model(e, {28, 28, 1}, 10);
  const int layer = graph.norms.front();
  for (const auto& [role, expected] : {std::pair{ParameterRole::alpha, 0.5f},
                                       {ParameterRole::shift, 0.0f},
                                       {ParameterRole::gamma, 1.0f},
                                       {ParameterRole::beta, 0.0f}}) {
    const int p = graph.parameter(layer, role);
    std::vector<float> values(graph.parameters[static_cast<std::size_t>(p)].count(), -1.0f);
    initialize_parameter(graph, p, e.model, 1, values);
    EXPECT_EQ(values, std::vector<float>(values.size(), expected));
  }
}

}  // namespace
}  // namespace syncnorm::test
