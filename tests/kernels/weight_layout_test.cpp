// The layouts of convolution weights.
#include "kernels/weight_layout.h"

#include <gtest/gtest.h>

#include <numeric>

namespace syncnorm::test {
namespace {

const std::vector<WeightBlock> kBlocks = {{2, 3, 5, 4}, {70, 2, 3, 1}, {80, 4, 1, 9}};

std::vector<float> numbered() {
  std::vector<float> flat(120);
  std::iota(flat.begin(), flat.end(), 0.0f);
  return flat;
}

TEST(WeightLayout, MovesChannelsBehindTheWindow) {
  std::vector<float> flat = numbered();
  to_channels_last(kBlocks, flat);
  for (int f = 0; f < 3; ++f)
    for (int c = 0; c < 5; ++c)
      for (int k = 0; k < 4; ++k)
        EXPECT_EQ(flat[static_cast<std::size_t>(2 + (f * 4 + k) * 5 + c)],
                  static_cast<float>(2 + (f * 5 + c) * 4 + k));
  for (std::size_t i = 62; i < 120; ++i) EXPECT_EQ(flat[i], static_cast<float>(i));
  to_channels_first(kBlocks, flat);
  EXPECT_EQ(flat, numbered());
}

}  // namespace
}  // namespace syncnorm::test
