// Parts that architectures of the zoo share: layers with their norm and activation, and the blocks
// of ResNets.
#pragma once

#include <string>
#include <vector>

#include "engine/model/graph.h"

namespace syncnorm {

/// Adds the configured activation; none for `identity`.
void activate(GraphBuilder& b, const ModelConfig& m, const std::string& name);

/// Returns true if the layer before the norm of that name needs a bias.
bool needs_bias(GraphBuilder& b, const ModelConfig& m, const std::string& norm);

/// Adds norm and activation in the configured order; `norm: none` adds no norm.
void norm_and_activation(GraphBuilder& b, const ModelConfig& m, const std::string& norm,
                         const std::string& activation);

/// Adds the configured dropout with probability p; none for 0.
void add_dropout(GraphBuilder& b, const ModelConfig& m, const std::string& name, double p);

/// Adds a convolution, or a transposed one, without bias if the norm replaces it, and the norm.
/// Returns the index of the last of both.
int conv_norm(GraphBuilder& b, const std::string& conv, const std::string& norm, ConvLayer layer,
              bool zero_gamma, int input);
int conv_norm(GraphBuilder& b, const std::string& conv, const std::string& norm,
              ConvTransposeLayer layer, int input);

/// The first convolution of a ResNet, and for large images a max pool. Layers' names begin with
/// `prefix`. A normalizer-free network has its activation in the blocks.
struct Stem {
  ConvLayer conv;
  bool pool;
};
inline constexpr Stem kSmallStem{{16, 3, 1, 1}, false};
inline constexpr Stem kLargeStem{{64, 7, 2, 3}, true};
void add_stem(GraphBuilder& b, const ModelConfig& m, const std::string& prefix, const Stem& stem);

/// The convolutions of a residual block of some width; the last one's channels are the output's.
using BlockMaker = std::vector<ConvLayer> (*)(int width, int stride, int dilation);

/// Both 3×3 convolutions are dilated.
std::vector<ConvLayer> basic_block(int width, int stride, int dilation);

/// The 3×3 convolution has stride and dilation, as in torchvision.
std::vector<ConvLayer> bottleneck_block(int width, int stride, int dilation);

/// Adds a residual block of layers "P.conv1", "P.bn1", ... to the last layer.
void add_block(GraphBuilder& b, const ModelConfig& m, const std::string& p,
               const std::vector<ConvLayer>& convs, int stride);

/// "P.conv1" for index 0.
std::string numbered(const std::string& prefix, const char* name, std::size_t index);

}  // namespace syncnorm
