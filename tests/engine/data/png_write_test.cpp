// PNG files that are written are what libpng reads: masks keep their values, with colors to look
// at.
#include "engine/data/png_write.h"

#include <gtest/gtest.h>
#include <png.h>

#include <cstring>
#include <vector>

#include "engine/data/image_codec.h"

namespace syncnorm {
namespace {

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

TEST(PngWrite, AMaskIsEightBitIndicesIntoThePaletteOfClasses) {
  std::vector<std::uint8_t> mask;
  for (int i = 0; i < 256; ++i) mask.push_back(static_cast<std::uint8_t>(i));
  const std::string file = mask_png(8, 32, mask);
  EXPECT_EQ(file[24], 8);  // bits, and the color type "palette", of the header
  EXPECT_EQ(file[25], 3);
  RgbImage image;
  ImageDecoder().decode(bytes_of(file), image);
  ASSERT_EQ(image.height(), 8);
  ASSERT_EQ(image.width(), 32);
  for (int i = 0; i < 256; ++i) {
    const std::uint8_t* pixel = image.row(i / 32) + 3 * (i % 32);
    EXPECT_EQ(std::memcmp(pixel, class_color(i).data(), 3), 0) << i;
  }
}

TEST(PngWrite, TheColorsAreThoseOfPascalVoc) {
  EXPECT_EQ(class_color(0), (Color{0, 0, 0}));
  EXPECT_EQ(class_color(1), (Color{128, 0, 0}));
  EXPECT_EQ(class_color(2), (Color{0, 128, 0}));
  EXPECT_EQ(class_color(3), (Color{128, 128, 0}));
  EXPECT_EQ(class_color(8), (Color{64, 0, 0}));
  EXPECT_EQ(class_color(20), (Color{0, 64, 128}));
  EXPECT_EQ(class_color(255), (Color{224, 224, 192}));
}

TEST(PngWrite, AnRgbImageKeepsItsPixels) {
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 5 * 7 * 3; ++i) pixels.push_back(static_cast<std::uint8_t>(37 * i % 251));
  const std::string file = rgb_png(5, 7, pixels);
  RgbImage image;
  ImageDecoder().decode(bytes_of(file), image);
  for (int y = 0; y < 5; ++y) EXPECT_EQ(std::memcmp(image.row(y), pixels.data() + 21 * y, 21), 0);
}

}  // namespace
}  // namespace syncnorm
