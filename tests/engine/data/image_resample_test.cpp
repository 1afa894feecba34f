// Resampling and colors, in closed form and bit by bit; the boxes that are cropped.
#include "engine/data/image_resample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "engine/data/pixel_loops.h"
#include "engine/data/stored_images.h"
#include "tests/engine/data/test_data.h"
#include "tests/engine/data/test_images.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using testing::image_of;
using testing::pattern;

Bytes resampled(const RgbImage& image, const Resize& resize) {
  Bytes out(3 * static_cast<std::size_t>(resize.window_height) *
            static_cast<std::size_t>(resize.window_width));
  Resampler().resample(image, resize, out.data());
  return out;
}

TEST(Resample, SameSizeIsTheCrop) {
  const RgbImage image = image_of(pattern(6, 8), 6, 8);
  const Bytes out = resampled(image, {{1, 2, 3, 4}, 3, 4, 0, 0, 3, 4});
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 3; ++c)
        EXPECT_EQ(out[static_cast<std::size_t>((y * 4 + x) * 3 + c)],
                  image.row(y + 1)[3 * (x + 2) + c]);
}

TEST(Resample, ConstantStaysConstantAtAnySize) {
  for (const int value : {0, 1, 77, 254, 255}) {
    const RgbImage image = image_of(Bytes(3 * 37 * 53, static_cast<std::uint8_t>(value)), 37, 53);
    for (const int size : {1, 7, 36, 53, 200}) {
      const Bytes out = resampled(image, {{0, 0, 37, 53}, size, size + 1, 0, 0, size, size + 1});
      EXPECT_EQ(out, Bytes(out.size(), static_cast<std::uint8_t>(value)));
    }
  }
}

TEST(Resample, HalvesUnderATriangleFourPixelsWide) {
  RgbImage image = image_of(Bytes(24, 0), 1, 8);
  for (std::size_t x = 0; x < 8; ++x) image.row(0)[3 * x] = static_cast<std::uint8_t>(x * 16);
  const Bytes out = resampled(image, {{0, 0, 1, 8}, 1, 4, 0, 0, 1, 4});
  // Weights 1/8, 3/8, 3/8, 1/8 in the middle; at the border 3/7, 3/7, 1/7 are left.
  EXPECT_EQ(out[3], 40);  // (1·16 + 3·32 + 3·48 + 1·64) / 8
  EXPECT_EQ(out[0], static_cast<int>(48.0 / 7 + 32.0 / 7 + 0.5));  // (3·0 + 3·16 + 1·32) / 7
}

/// Of pattern(9, 11), by Pillow 9.4: resize((4, 5), BILINEAR), and resize((3, 13), BILINEAR) of the
/// crop of 4 × 6 pixels at (1, 2), which enlarges one side and shrinks the other.
constexpr std::array kPillowWhole = {19, 69,  119, 51, 101, 151, 87,  137, 187, 119, 169, 219,
                                     30, 80,  130, 62, 112, 162, 98,  148, 198, 130, 180, 230,
                                     43, 93,  143, 75, 125, 175, 111, 161, 211, 143, 193, 189,
                                     56, 106, 156, 88, 138, 188, 124, 174, 221, 156, 206, 116,
                                     67, 117, 167, 99, 149, 199, 135, 185, 211, 167, 217, 66};
constexpr std::array kPillowCrop = {
    42,  92,  142, 66,  116, 166, 89,  139, 189, 42,  92,  142, 66,  116, 166, 89,  139,
    189, 44,  94,  144, 68,  118, 168, 91,  141, 191, 46,  96,  146, 70,  120, 170, 93,
    143, 193, 48,  98,  148, 72,  122, 172, 95,  145, 195, 50,  100, 150, 74,  124, 174,
    97,  147, 197, 53,  103, 153, 77,  127, 177, 100, 150, 200, 55,  105, 155, 79,  129,
    179, 102, 152, 202, 57,  107, 157, 81,  131, 181, 104, 154, 204, 59,  109, 159, 83,
    133, 183, 106, 156, 206, 61,  111, 161, 85,  135, 185, 108, 158, 208, 63,  113, 163,
    87,  137, 187, 110, 160, 210, 63,  113, 163, 87,  137, 187, 110, 160, 210};

TEST(Resample, IsPillowsWithinOneLevel) {
  const RgbImage image = image_of(pattern(9, 11), 9, 11);
  const auto compare = [](const Bytes& ours, const auto& theirs) {
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 1) << i;
  };
  compare(resampled(image, {{0, 0, 9, 11}, 5, 4, 0, 0, 5, 4}), kPillowWhole);
  compare(resampled(image, {{1, 2, 4, 6}, 13, 3, 0, 0, 13, 3}), kPillowCrop);
}

TEST(Resample, AWindowIsAPartOfTheWhole) {
  const RgbImage image = image_of(pattern(20, 30), 20, 30);
  const Bytes whole = resampled(image, {{0, 0, 20, 30}, 13, 17, 0, 0, 13, 17});
  const Bytes window = resampled(image, {{0, 0, 20, 30}, 13, 17, 4, 5, 6, 7});
  for (std::size_t y = 0; y < 6; ++y)
    for (std::size_t i = 0; i < 21; ++i)
      EXPECT_EQ(window[y * 21 + i], whole[(y + 4) * 51 + 15 + i]);
}

const std::array<const PixelLoops*, 2> kLoops = {&pixel_loops_baseline, &pixel_loops()};

Bytes random_bytes(std::size_t count, std::mt19937& random) {
  Bytes bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

/// Weights of all `size` source pixels for pixel i of `scaled`, as image_resample.h tells them.
std::vector<float> plain_weights(int i, int size, int scaled) {
  const double step = static_cast<double>(size) / scaled, center = (i + 0.5) * step;
  std::vector<double> exact;
  double sum = 0.0;
  for (int k = 0; k < size; ++k) {
    exact.push_back(std::max(0.0, 1.0 - std::abs(k + 0.5 - center) / std::max(step, 1.0)));
    sum += exact.back();
  }
  std::vector<float> weights;
  for (const double weight : exact) weights.push_back(static_cast<float>(weight / sum));
  return weights;
}

std::uint8_t rounded(float value) {
  return static_cast<std::uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
}

/// Pixel by pixel, over the whole box.
Bytes plainly_resampled(const RgbImage& image, const Resize& resize) {
  Bytes out;
  for (int y = resize.top; y < resize.top + resize.window_height; ++y)
    for (int x = resize.left; x < resize.left + resize.window_width; ++x)
      for (int c = 0; c < 3; ++c) {
        const std::vector<float> down = plain_weights(y, resize.box.height, resize.height);
        const std::vector<float> along = plain_weights(x, resize.box.width, resize.width);
        float sum = 0.0f;
        for (int k = 0; k < resize.box.width; ++k) {
          if (along[static_cast<std::size_t>(k)] == 0.0f) continue;
          float column = 0.0f;
          for (int j = 0; j < resize.box.height; ++j)
            column +=
                down[static_cast<std::size_t>(j)] *
                static_cast<float>(image.row(resize.box.top + j)[3 * (resize.box.left + k) + c]);
          sum += along[static_cast<std::size_t>(k)] * column;
        }
        out.push_back(rounded(sum));
      }
  return out;
}

TEST(Resample, EveryInstructionSetGivesTheBitsOfThePlainFormula) {
  std::mt19937 random(5);
  const auto up_to = [&random](int most) { return 1 + static_cast<int>(random() % most); };
  for (int i = 0; i < 120; ++i) {
    const int height = up_to(40), width = up_to(70);
    const std::size_t values =
        3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const RgbImage image = image_of(random_bytes(values, random), height, width);
    Resize resize;
    resize.box.height = up_to(height);
    resize.box.width = up_to(width);
    resize.box.top = up_to(height - resize.box.height + 1) - 1;
    resize.box.left = up_to(width - resize.box.width + 1) - 1;
    resize.height = up_to(i % 2 == 0 ? 60 : 12);  // larger, and much smaller
    resize.width = up_to(i % 3 == 0 ? 60 : 12);
    resize.window_height = up_to(resize.height);
    resize.window_width = up_to(resize.width);
    resize.top = up_to(resize.height - resize.window_height + 1) - 1;
    resize.left = up_to(resize.width - resize.window_width + 1) - 1;
    const Bytes plain = plainly_resampled(image, resize);
    for (const PixelLoops* loops : kLoops) {
      Bytes out(plain.size() + 1, 7);
      Resampler(*loops).resample(image, resize, out.data());
      EXPECT_EQ(out.back(), 7) << "wrote behind the window";
      out.pop_back();
      EXPECT_EQ(out, plain) << i;
    }
  }
}

/// The changes one after another, value by value.
Bytes plainly_adjusted(Bytes pixels, const ColorFactors& factors) {
  const auto luma = [&pixels](std::size_t i) {
    return (19595u * pixels[i] + 38470u * pixels[i + 1] + 7471u * pixels[i + 2]) / 65536.0;
  };
  const auto blend = [](std::uint8_t& value, float toward, float factor) {
    value = rounded(toward + factor * (static_cast<float>(value) - toward));
  };
  for (std::uint8_t& value : pixels) blend(value, 0.0f, factors.brightness);
  double sum = 0.0;
  for (std::size_t i = 0; i < pixels.size(); i += 3) sum += luma(i);
  const double mean = sum / (static_cast<double>(pixels.size()) / 3.0);
  for (std::uint8_t& value : pixels) blend(value, static_cast<float>(mean), factors.contrast);
  for (std::size_t i = 0; i < pixels.size(); i += 3) {
    const auto own = static_cast<float>(luma(i));
    for (std::size_t c = 0; c < 3; ++c) blend(pixels[i + c], own, factors.saturation);
  }
  return pixels;
}

TEST(Colors, EveryInstructionSetGivesTheBitsOfThePlainFormula) {
  std::mt19937 random(6);
  const auto factor = [&random] { return static_cast<float>(random() % 2001) / 1000.0f; };
  for (std::size_t count : {1u, 2u, 15u, 16u, 17u, 33u, 1000u, 5000u})
    for (int i = 0; i < 20; ++i) {
      const Bytes pixels = random_bytes(3 * count, random);
      const ColorFactors factors{factor(), i % 5 == 0 ? 1.0f : factor(), factor()};
      const Bytes plain = plainly_adjusted(pixels, factors);
      for (const PixelLoops* loops : kLoops) {
        Bytes out = pixels;
        adjust_colors(out.data(), count, factors, *loops);
        EXPECT_EQ(out, plain) << count << " " << i;
      }
    }
}

TEST(Colors, FactorsInClosedForm) {
  const Bytes pixels = {100, 50, 200, 0, 255, 10};
  const auto adjusted = [&](ColorFactors factors) {
    Bytes copy = pixels;
    adjust_colors(copy.data(), 2, factors);
    return copy;
  };
  EXPECT_EQ(adjusted({}), pixels);
  EXPECT_EQ(adjusted({1.5f, 1, 1}), (Bytes{150, 75, 255, 0, 255, 15}));
  EXPECT_EQ(adjusted({0, 1, 1}), Bytes(6, 0));
  const Bytes no_contrast = adjusted({1, 0, 1});  // everything is the mean luma, 116.4
  EXPECT_EQ(no_contrast, Bytes(6, 116));
  EXPECT_EQ(adjusted({1, 1, 0}),
            (Bytes{82, 82, 82, 151, 151, 151}));  // 0.299 R + 0.587 G + 0.114 B
}

TEST(Crops, EvaluationTakesTheMiddle) {
  ImagesConfig config;
  config.height = 8;
  config.width = 10;
  config.resize = 16;
  const Resize crop = evaluation_crop(20, 40, config);
  EXPECT_EQ(crop.height, 16);
  EXPECT_EQ(crop.width, 32);
  EXPECT_EQ(crop.top, 4);
  EXPECT_EQ(crop.left, 11);
  EXPECT_EQ(crop.window_height, 8);
  EXPECT_EQ(crop.window_width, 10);
}

TEST(Crops, TrainingKeepsAreaAndRatio) {
  ImagesConfig config;
  double least = 1.0, most = 0.0;
  for (std::uint32_t i = 0; i < 4000; ++i) {
    const Box box = training_crop(300, 400, config, 1, 2, i).box;
    EXPECT_TRUE(box.top >= 0 && box.left >= 0 && box.top + box.height <= 300 &&
                box.left + box.width <= 400);
    const double area = box.height * box.width / 120000.0;
    const double ratio = static_cast<double>(box.width) / box.height;
    EXPECT_NEAR(std::clamp(ratio, 0.75, 4.0 / 3.0), ratio, 0.02);  // sides are rounded
    least = std::min(least, area);
    most = std::max(most, area);
  }
  EXPECT_NEAR(least, 0.08, 0.01);
  EXPECT_GT(most, 0.95);
  config.crop_area = 1.0;  // does not fit a square share of a long image: the middle
  const Box middle = training_crop(100, 1000, config, 1, 0, 0).box;
  EXPECT_EQ(middle.height, 100);
  EXPECT_EQ(middle.width, 133);
  EXPECT_EQ(middle.left, 433);
}

}  // namespace
}  // namespace syncnorm
