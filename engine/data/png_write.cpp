// See png_write.h.
#include "engine/data/png_write.h"

#include <png.h>

#include <cassert>
#include <stdexcept>
#include <vector>

namespace syncnorm {
namespace {

std::string encode(png_image& image, const void* pixels, const void* palette) {
  png_alloc_size_t size = 0;
  std::string bytes;
  const auto write = [&](void* to) {
    if (png_image_write_to_memory(&image, to, &size, 0, pixels, 0, palette) == 0)
      throw std::runtime_error(std::string("libpng: ") + image.message);
  };
  write(nullptr);
  bytes.resize(size);
  write(bytes.data());
  bytes.resize(size);
  return bytes;
}

png_image image_of(int height, int width, unsigned format) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(height);
  image.width = static_cast<png_uint_32>(width);
  image.format = format;
  return image;
}

}  // namespace

Color class_color(int label) {
  if (label == 255) return {224, 224, 192};
  // Bit b of the color's top bits is bit 3b of the label, for red; green and blue follow.
  Color color{};
  for (int bit = 0; bit < 3; ++bit)
    for (std::size_t c = 0; c < 3; ++c)
      if ((label >> (3 * bit + static_cast<int>(c)) & 1) != 0)
        color[c] = static_cast<std::uint8_t>(color[c] | 128 >> bit);
  return color;
}

std::string mask_png(int height, int width, std::span<const std::uint8_t> pixels) {
  assert(pixels.size() == static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
  png_image image = image_of(height, width, PNG_FORMAT_RGB_COLORMAP);
  std::vector<Color> palette;
  for (int k = 0; k < 256; ++k) palette.push_back(class_color(k));
  image.colormap_entries = 256;
  return encode(image, pixels.data(), palette.data());
}

std::string rgb_png(int height, int width, std::span<const std::uint8_t> pixels) {
  assert(pixels.size() == 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
  png_image image = image_of(height, width, PNG_FORMAT_RGB);
  return encode(image, pixels.data(), nullptr);
}

}  // namespace syncnorm
