// Resampling: values and gradients against PyTorch's, and what must hold for every pair of sizes.
#include <gtest/gtest.h>

#include "kernels/resample_math.h"
#include "tests/kernels/cpu/kernel_test.h"
#include "tests/kernels/cuda/emulation/cuda_runtime.h"
#include "tests/kernels/golden.h"

namespace syncnorm::test {
namespace {

constexpr double kTolerance = 2e-6;  // of the largest magnitude

std::size_t size_of(int samples, int height, int width, int channels) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(height) *
         static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
}

class ResampleTest : public KernelTest {
 protected:
  void TearDown() override { emulation::set_order(emulation::Order::forward); }
};

TEST_P(ResampleTest, MatchesPyTorch) {
  const auto cases = read_goldens("upsampling");
  ASSERT_GE(cases.size(), 30u);
  for (const GoldenCase& g : cases) {
    SCOPED_TRACE(g.name);
    const UpsampleShape shape{
        g.integer("bilinear") != 0 ? UpsampleMode::bilinear : UpsampleMode::nearest,
        g.integer("corners") != 0,
        g.integer("height"),
        g.integer("width"),
        g.integer("channels"),
        g.integer("out_height"),
        g.integer("out_width")};
    const int samples = g.integer("samples");
    const Floats x = floats(g.tensor("x")), dy = floats(g.tensor("dy"));
    const Floats y = floats(dy.size()), dx = floats(x.size());
    run(UpsampleForward{samples, shape}, {x, y});
    run(UpsampleBackward{samples, shape}, {dy, dx});
    EXPECT_TRUE(near_relative(y.values(), g.tensor("y"), kTolerance));
    EXPECT_TRUE(near_relative(dx.values(), g.tensor("dx"), kTolerance));
  }
}

// Pixels of any number of channels are written whole and nothing else is, on maps of any width.
TEST_P(ResampleTest, ChannelsDoNotMix) {
  for (const UpsampleMode mode : {UpsampleMode::nearest, UpsampleMode::bilinear})
    for (int channels = 1; channels <= 40; ++channels)
      for (const int width : {1, 2, 5}) {
        const UpsampleShape shape{mode, false, 2, 3, channels, 3, width};
        std::vector<float> values;
        for (int i = 0; i < 2 * 2 * 3 * channels; ++i)
          values.push_back(static_cast<float>(i % channels + 1));
        const Floats x = floats(values), y = floats(size_of(2, 3, width, channels));
        run(UpsampleForward{2, shape}, {x, y});
        for (std::size_t i = 0; i < y.size(); ++i)
          ASSERT_EQ(y[i], static_cast<float>(i % static_cast<std::size_t>(channels) + 1))
              << channels << " channels, value " << i;
      }
}

TEST_P(ResampleTest, TheOrderOfThreadsChangesNoBit) {
  if (!emulated()) GTEST_SKIP() << "of the emulated device's threads";
  const UpsampleShape shape{UpsampleMode::bilinear, false, 5, 7, 12, 33, 20};
  const Floats x = floats(random_normal(size_of(2, 5, 7, 12), 1));
  const Floats dy = floats(random_normal(size_of(2, 33, 20, 12), 2));
  const auto both = [&] {
    const Floats y = floats(dy.size()), dx = floats(x.size());
    run(UpsampleForward{2, shape}, {x, y});
    run(UpsampleBackward{2, shape}, {dy, dx});
    return std::pair(y.values(), dx.values());
  };
  const auto before = both();
  emulation::set_order(emulation::Order::backward);
  EXPECT_EQ(both(), before);
}

SYNCNORM_FOR_ALL_BACK_ENDS(ResampleTest);

// The readers of every input pixel are all output pixels that read it with a factor, in any mode
// and for all small sizes and some odd large ones; the factors of an output pixel add up to 1.
TEST(ResampleAxes, BothDirectionsAgree) {
  std::vector<std::pair<unsigned, unsigned>> sizes = {{41, 533},
                                                      {533, 41},
                                                      {1, kLargestResampled},
                                                      {kLargestResampled, 3},
                                                      {31, kLargestResampled}};
  for (unsigned in = 1; in <= 12; ++in)
    for (unsigned out = 1; out <= 26; ++out) sizes.emplace_back(in, out);
  for (const auto& [in, out] : sizes)
    for (const auto& [mode, corners] : {std::pair(UpsampleMode::nearest, false),
                                        {UpsampleMode::bilinear, false},
                                        {UpsampleMode::bilinear, true}}) {
      const ResampleAxis axis{in, out, mode, corners};
      std::vector<double> total(out);
      for (int i = 0; i < static_cast<int>(in); ++i) {
        const ResampleReaders readers = readers_of(axis, i);
        ASSERT_LE(0, readers.begin);
        ASSERT_LE(readers.end, static_cast<int>(out));
        for (int o = readers.begin; o < readers.end; ++o)
          total[static_cast<std::size_t>(o)] += static_cast<double>(source_of(axis, o).factor(i));
      }
      for (int o = 0; o < static_cast<int>(out); ++o) {
        const ResampleSource source = source_of(axis, o);
        ASSERT_GE(source.lower, 0);
        ASSERT_LT(source.upper, static_cast<int>(in));
        ASSERT_NEAR(total[static_cast<std::size_t>(o)], 1.0, 1e-6)
            << in << " to " << out << ", output " << o;
      }
    }
}

}  // namespace
}  // namespace syncnorm::test
