// Images made from stored ones: where each value comes from, and its rounding.
#include "kernels/bfloat16.h"
#include "tests/kernels/cpu/kernel_test.h"

namespace syncnorm::test {
namespace {

class MakeImagesTest : public KernelTest {};

constexpr int kHeight = 3, kWidth = 4, kChannels = 2, kSize = kHeight * kWidth * kChannels;

/// A whole image; moved down and left by one pixel; mirrored, with a rectangle cut out; unused.
std::vector<ImageMap> some_maps() {
  ImageMap whole;
  whole.used = 1;
  whole.direction_x = 1;
  whole.rows_end = kHeight;
  whole.columns_end = kWidth;
  ImageMap moved = whole;
  moved.rows_begin = 1;
  moved.source_y = -1;
  moved.columns_end = kWidth - 1;
  moved.source_x = 1;
  ImageMap mirrored = whole;
  mirrored.direction_x = -1;
  mirrored.source_x = kWidth - 1;
  mirrored.cut_rows_begin = 1;
  mirrored.cut_rows_end = 2;
  mirrored.cut_columns_begin = 1;
  mirrored.cut_columns_end = 3;
  return {whole, moved, mirrored, ImageMap{}};
}

/// The byte that value (y, x, c) of sample n shows; -1: zero, -2: the table's value of byte 0.
int shown(int n, int y, int x) {
  switch (n) {
    case 0:
      return y * kWidth + x;
    case 1:
      return y >= 1 && x < kWidth - 1 ? (y - 1) * kWidth + x + 1 : -2;
    case 2:
      return y == 1 && x >= 1 && x < 3 ? -1 : y * kWidth + kWidth - 1 - x;
    default:
      return -1;
  }
}

TEST_P(MakeImagesTest, TakesEveryValueFromItsPlaceAndRoundsItOnce) {
  const std::vector<ImageMap> list = some_maps();
  const int samples = static_cast<int>(list.size());
  std::vector<std::uint8_t> bytes;
  for (int i = 0; i < samples * kSize; ++i) bytes.push_back(static_cast<std::uint8_t>(7 * i + 1));
  const std::vector<float> values = random_normal(256 * kChannels, 1);
  std::vector<float> expected;
  for (int n = 0; n < samples; ++n)
    for (int y = 0; y < kHeight; ++y)
      for (int x = 0; x < kWidth; ++x)
        for (int c = 0; c < kChannels; ++c) {
          const int pixel = shown(n, y, x);
          const std::size_t byte =
              pixel < 0 ? 0 : bytes[static_cast<std::size_t>(n * kSize + pixel * kChannels + c)];
          expected.push_back(pixel == -1 ? 0.0f : values[256 * static_cast<std::size_t>(c) + byte]);
        }
  const Array<std::uint8_t> stored(*device_, bytes);
  const Array<ImageMap> maps(*device_, list);
  const Floats table = floats(values), images = floats(expected.size());
  MakeImages op{samples, kHeight, kWidth, kChannels};
  run(op, {.stored = stored, .maps = maps, .table = table, .images = images});
  EXPECT_TRUE(same_bits(images.values(), expected));
  const Array<BFloat16> narrow(*device_, std::vector<BFloat16>(expected.size()));
  op.storage = Storage::bf16;
  device_->use_storage(Storage::bf16, !cuda());
  run(op, {.stored = stored, .maps = maps, .table = table, .images = narrow});
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(narrow[i], to_bfloat16(expected[i])) << i;
}

SYNCNORM_FOR_ALL_BACK_ENDS(MakeImagesTest);

}  // namespace
}  // namespace syncnorm::test
