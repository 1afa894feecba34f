// Encoded images for tests.
#pragma once

#include <gtest/gtest.h>
#include <png.h>

#include <cstddef>

#include "tests/engine/data/test_data.h"

namespace syncnorm::testing {

/// A picture whose every pixel differs, [height, width, channels].
inline Bytes pattern(int height, int width, int channels = 3) {
  Bytes pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        pixels.push_back(static_cast<std::uint8_t>(7 * y + 13 * x + 50 * c));
  return pixels;
}

/// [height, width, channels of `format`] as a file.
inline Bytes png_of(const Bytes& pixels, int height, int width, int format = PNG_FORMAT_RGB) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(height);
  image.width = static_cast<png_uint_32>(width);
  image.format = static_cast<png_uint_32>(format);
  png_alloc_size_t size = 0;
  EXPECT_NE(png_image_write_get_memory_size(image, size, 0, pixels.data(), 0, nullptr), 0);
  Bytes bytes(size);
  EXPECT_NE(png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr),
            0);
  bytes.resize(size);
  return bytes;
}

}  // namespace syncnorm::testing
