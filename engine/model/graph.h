// A model as a small graph of layers with shapes, before anything is compiled.
//
// The output of layer i is value i. Layers are in execution order.
#pragma once

#include <array>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/config/experiment.h"
#include "kernels/ops.h"

namespace syncnorm {

/// The shape of a value for one sample, channels last. A vector of features is 1×1×features.
struct Shape {
  int height = 1, width = 1, channels = 1;
  int pixels() const { return height * width; }
  int size() const { return height * width * channels; }
  bool operator==(const Shape&) const = default;
};

struct InputLayer {};
struct ConvLayer {
  int out = 0, kernel = 1, stride = 1, padding = 0;
  bool bias = false;
  double input_gain = 1.0;  // factor of scaled standardized weights; see GraphBuilder::add()
  int dilation = 1, groups = 1;
};
/// PyTorch's ConvTranspose2d: the map of a convolution from `out` channels to the input's, taken
/// the other way. Its weights are [in, out / groups, kernel, kernel], never computed from others.
struct ConvTransposeLayer {
  int out = 0, kernel = 1, stride = 1, padding = 0;
  std::array<int, 2> output_padding = {0, 0};  // rows and columns that are added at the end
  bool bias = false;
  int dilation = 1, groups = 1;
};
struct LinearLayer {
  int out = 0;
  bool bias = true;
};
struct PoolLayer {
  PoolKind kind = PoolKind::max;
  int kernel = 0;  // 0: the whole map (global pooling)
  int stride = 1, padding = 0;
};
struct NormLayer {
  bool zero_gamma = false;
  NormConfig norm;  // GraphBuilder fills it from the experiment
};
struct ActivationLayer {
  Activation kind = Activation::relu;
};
struct DropoutLayer {
  double p = 0.5;
  bool alpha = false;
};
struct AddLayer {
  bool scaled = false;  // the first summand is multiplied by alpha and by a learned gain
  double alpha = 1.0;
};
/// Resamples a map to `height` x `width`.
struct UpsampleLayer {
  UpsampleMode mode = UpsampleMode::nearest;
  int height = 1, width = 1;
  bool corners = false;  // bilinear: PyTorch's align_corners
};
struct ConcatLayer {};    // the channels of all inputs, one after another
struct MultiplyLayer {};  // the first input times the second, which may have one pixel or channel
struct FlattenLayer {};   // to 1×1×(C·H·W), in PyTorch's order C, H, W

using LayerKind = std::variant<InputLayer, ConvLayer, ConvTransposeLayer, LinearLayer, PoolLayer,
                               NormLayer, ActivationLayer, DropoutLayer, AddLayer, UpsampleLayer,
                               ConcatLayer, MultiplyLayer, FlattenLayer>;

struct Layer {
  std::string name;
  LayerKind kind;
  std::vector<int> inputs;
  Shape shape;  // of the output
};

enum class ParameterRole {
  weight,
  gain,
  bias,
  gamma,
  beta,
  alpha,
  shift,
  threshold,
  slope,
  epsilon,
  branch_gain,
  mean_weight,
  var_weight
};

/// A tensor of parameters, with name and shape as in PyTorch. With normalized weights, the role
/// `weight` is v of torch.nn.utils.weight_norm, and `gain` its g.
struct Parameter {
  std::string name;  // "layer1.0.conv1.weight"
  std::vector<int> shape;
  int layer = 0;
  ParameterRole role = ParameterRole::weight;
  int fan_in = 1, fan_out = 1;

  std::size_t count() const;
};

struct Graph {
  std::vector<Layer> layers;                 // layers[0] is the input
  std::vector<Parameter> parameters;         // in layer order
  std::vector<int> norms;                    // indices of norm layers
  WeightsKind weights = WeightsKind::plain;  // of conv and linear layers
  double weights_eps = 0.0;
  int output = 0;  // the layer whose output is the logits

  /// Returns the index of the parameter of `layer` with `role`, or -1.
  int parameter(int layer, ParameterRole role) const;
  int consumers(int value) const;
  const NormConfig& norm(int layer) const {
    return std::get<NormLayer>(layers[static_cast<std::size_t>(layer)].kind).norm;
  }
  /// Returns true if any norm layer has statistics over the batch, or constant ones.
  bool has_norms_over(StatisticsOver statistics) const;
};

/// The end of a network: logits of the image, or of each of its pixels.
enum class Output { vector, map };

/// Adds layers one by one and infers their shapes. Throws InputError that names the layer for every
/// mistake.
class GraphBuilder {
 public:
  GraphBuilder(Shape input, const Experiment& experiment);

  /// Adds a layer that reads `input` (default: the last layer) and returns its index. An activation
  /// of a norm that contains its own is not added; the norm's index is returned. A norm layer gets
  /// the experiment's norm for its name, which must not be `none`. The input_gain of a convolution
  /// is multiplied by the gain of the activation whose output it reads.
  int add(const std::string& name, LayerKind kind, int input = -1);
  int add_sum(const std::string& name, int a, int b, const AddLayer& layer = {});
  /// The channels of 2 to Concat::kMost values of one height and width.
  int add_concat(const std::string& name, const std::vector<int>& values);
  /// Either may have one pixel or one channel, which counts for all of the other's.
  int add_product(const std::string& name, int a, int b);

  int last() const { return static_cast<int>(graph_.layers.size()) - 1; }
  const Shape& shape(int layer) const {
    return graph_.layers[static_cast<std::size_t>(layer)].shape;
  }
  /// Returns the norm of the norm layer of that name, which may be `none`.
  const NormConfig& norm(const std::string& name) { return chosen(name).norm; }
  /// Returns true if norms are left out as a whole, so that no layer has a place for one.
  bool without_norms() const { return rules_.empty() && !norm_.traits().layer; }

  /// Returns the finished graph; its last layer's output is the logits of `classes` classes, for
  /// the image or for each of its pixels.
  Graph finish(int classes, Output output = Output::vector);

 private:
  /// The norm of a layer, and the entry of norm.layers that it is from.
  struct Choice {
    const NormConfig& norm;
    const NormRule* rule = nullptr;
  };
  Choice chosen(const std::string& name);
  double activation_gain(int value) const;
  void add_parameters(int index);
  void add_norm_parameters(int index);
  void check_patterns() const;
  void check_output(int classes, Output output) const;
  std::string described(int layer) const;  // "'conv1' of 8x8x16"
  void add_weight(int index, const std::vector<int>& shape, int fan_in, int fan_out);

  Graph graph_;
  NormConfig norm_;
  std::vector<NormRule> rules_;
  std::set<std::pair<std::size_t, std::size_t>> used_;  // rules and patterns that decided a layer
  std::vector<std::string> norm_names_;
};

}  // namespace syncnorm
