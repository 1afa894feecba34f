// Encoded images for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>
// jpeglib.h must come after stdio
#include <png.h>

#include "engine/data/image_codec.h"
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

/// Labels [height, width] as a PNG with `depth` bits of grey, or of a palette's index.
inline Bytes mask_png_of(const Bytes& labels, int height, int width, int depth = 8,
                         int color = PNG_COLOR_TYPE_GRAY, bool interlaced = false) {
  Bytes bytes;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &bytes,
      [](png_structp writer, png_bytep data, std::size_t count) {
        auto* out = static_cast<Bytes*>(png_get_io_ptr(writer));
        out->insert(out->end(), data, data + count);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), depth,
               color, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (color == PNG_COLOR_TYPE_PALETTE) {
    std::vector<png_color> palette(std::size_t{1} << depth);
    for (std::size_t i = 0; i < palette.size(); ++i)
      palette[i].red = palette[i].blue = static_cast<png_byte>(255 - i);
    png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
    const Bytes clear(palette.size(), 7);  // transparent, which indices do not care about
    png_set_tRNS(png, info, clear.data(), static_cast<int>(clear.size()), nullptr);
  }
  png_write_info(png, info);
  if (depth < 8) png_set_packing(png);
  Bytes copy = labels;
  std::vector<png_bytep> rows;
  for (int y = 0; y < height; ++y) rows.push_back(copy.data() + std::ptrdiff_t{y} * width);
  png_write_image(png, rows.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

/// The same as a JPEG.
inline Bytes jpeg_of(const Bytes& pixels, int height, int width, J_COLOR_SPACE space = JCS_RGB,
                     int channels = 3) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_height = static_cast<JDIMENSION>(height);
  info.image_width = static_cast<JDIMENSION>(width);
  info.input_components = channels;
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  jpeg_start_compress(&info, TRUE);
  for (int y = 0; y < height; ++y) {
    auto* row = const_cast<JSAMPLE*>(pixels.data() + std::ptrdiff_t{y} * width * channels);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  Bytes bytes(out, out + size);
  jpeg_destroy_compress(&info);
  std::free(out);
  return bytes;
}

inline RgbImage image_of(const Bytes& pixels, int height, int width) {
  RgbImage image;
  image.reshape(height, width);
  for (int y = 0; y < height; ++y)
    std::copy_n(pixels.begin() + y * static_cast<std::ptrdiff_t>(image.row_bytes()),
                image.row_bytes(), image.row(y));
  return image;
}

}  // namespace syncnorm::testing
