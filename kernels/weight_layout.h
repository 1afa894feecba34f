// The two layouts of convolution weights in flat buffers of parameters: PyTorch's, which host code
// and files use, and that of devices whose convolutions read the parameters directly
// (Device::channels_last_weights).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace syncnorm {

/// The weights of one convolution in a flat buffer of floats: [filters, channels, window] in
/// PyTorch's layout, [filters, window, channels] channels last. The window is kernel².
struct WeightBlock {
  std::size_t offset = 0;
  int filters = 0, channels = 0, window = 0;
};

/// Change the layout of all blocks in place; other values stay. Blocks must lie within `flat`.
void to_channels_first(std::span<const WeightBlock> blocks, std::span<float> flat);
void to_channels_last(std::span<const WeightBlock> blocks, std::span<float> flat);

}  // namespace syncnorm
