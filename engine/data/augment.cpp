// Composes augmentations and converts pixels; see augment.h.
#include "engine/data/augment.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "base/philox.h"
#include "comm/replicas.h"

namespace syncnorm {
namespace {

Interval clipped(Interval interval, int size) {
  return {std::clamp(interval.begin, 0, size), std::clamp(interval.end, 0, size)};
}

Interval shifted(Interval interval, int by) { return {interval.begin + by, interval.end + by}; }

/// The augmentations so far, composed to one mapping of output pixels: the source of each pixel,
/// the rectangle that shows the image (the rest is padding), and the rectangle that is cut out.
/// Both are clipped after every step, so they never extend into padding that is added later.
struct PixelMap {
  int height, width;
  int source_y = 0;  // source row = y + source_y
  int source_x = 0;  // source column = direction_x · x + source_x
  int direction_x = 1;
  Interval rows, columns;          // output pixels that show the image
  Interval cut_rows, cut_columns;  // output pixels that are cut out

  explicit PixelMap(const ImageSet& images)
      : height(images.height), width(images.width), rows{0, height}, columns{0, width} {}

  /// Makes the new image start at (dy, dx) of the old one.
  void crop(int dy, int dx) {
    source_y += dy;
    source_x += direction_x * dx;
    rows = clipped(shifted(rows, -dy), height);
    columns = clipped(shifted(columns, -dx), width);
    cut_rows = clipped(shifted(cut_rows, -dy), height);
    cut_columns = clipped(shifted(cut_columns, -dx), width);
  }

  void flip() {
    source_x += direction_x * (width - 1);
    direction_x = -direction_x;
    columns = {width - columns.end, width - columns.begin};
    cut_columns = {width - cut_columns.end, width - cut_columns.begin};
  }

  void cut(int centre_y, int centre_x, int size) {
    const int top = centre_y - size / 2;
    const int left = centre_x - size / 2;
    cut_rows = clipped({top, top + size}, height);
    cut_columns = clipped({left, left + size}, width);
  }
};

int uniform_int(RandomStream& random, int n) {
  return static_cast<int>(random.below(static_cast<std::uint64_t>(n)));
}

PixelMap compose(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation) {
  PixelMap map(images);
  const auto stream = [&augmentation, index](RandomPurpose purpose) {
    return RandomStream(augmentation.seed, purpose, static_cast<std::uint64_t>(augmentation.epoch),
                        index);
  };
  for (const AugmentKind kind : augmentation.augment.kinds) {
    switch (kind) {
      case AugmentKind::random_crop: {
        if (images.stored != nullptr && images.per_pixel) break;  // the pair was cropped
        RandomStream random = stream(RandomPurpose::random_crop);
        const int padding = augmentation.augment.crop_padding;
        const int dy = uniform_int(random, 2 * padding + 1) - padding;
        const int dx = uniform_int(random, 2 * padding + 1) - padding;
        map.crop(dy, dx);
        break;
      }
      case AugmentKind::horizontal_flip:
        if (stream(RandomPurpose::horizontal_flip).next_bits() >> 31) map.flip();
        break;
      case AugmentKind::cutout: {
        RandomStream random = stream(RandomPurpose::cutout);
        const int y = uniform_int(random, images.height);
        const int x = uniform_int(random, images.width);
        map.cut(y, x, augmentation.augment.cutout_size);
        break;
      }
      case AugmentKind::random_resized_crop:
      case AugmentKind::color_jitter:
      case AugmentKind::random_scale:
        break;  // applied when the image was decoded
    }
  }
  return map;
}

/// `known` is the number of channels as a compile-time constant, or 0.
template <int known>
void convert_pixels_of(const std::uint8_t* source, std::ptrdiff_t stride, int count,
                       const NormalizationTable& table, float* out) {
  const int channels = known > 0 ? known : table.channels();
  const float* values = table.channel(0);
  for (int i = 0; i < count; ++i, source += stride, out += channels) {
    for (int c = 0; c < channels; ++c) out[c] = values[256 * c + source[c]];
  }
}

/// Converts `count` pixels that are `stride` bytes apart (negative: mirrored).
void convert_pixels(const std::uint8_t* source, std::ptrdiff_t stride, int count,
                    const NormalizationTable& table, float* out) {
  switch (table.channels()) {
    case 1:
      return convert_pixels_of<1>(source, stride, count, table, out);
    case 3:
      return convert_pixels_of<3>(source, stride, count, table, out);
    default:
      return convert_pixels_of<0>(source, stride, count, table, out);
  }
}

void pad_pixels(int count, const NormalizationTable& table, float* out) {
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < table.channels(); ++c) *out++ = table.channel(c)[0];
  }
}

}  // namespace

NormalizationTable::NormalizationTable(const std::vector<float>& mean,
                                       const std::vector<float>& stddev) {
  assert(mean.size() == stddev.size());
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double deviation = stddev[c] > 0.0f ? static_cast<double>(stddev[c]) : 1.0;
    for (int byte = 0; byte < 256; ++byte) {
      values_.push_back(
          static_cast<float>((byte / 255.0 - static_cast<double>(mean[c])) / deviation));
    }
  }
}

ImageMap image_map(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation) {
  const PixelMap map = compose(images, index, augmentation);
  return {map.source_y,     map.source_x,          map.direction_x,     map.rows.begin,
          map.rows.end,     map.columns.begin,     map.columns.end,     map.cut_rows.begin,
          map.cut_rows.end, map.cut_columns.begin, map.cut_columns.end, 1};
}

void make_plain_image(const ImageSet& images, const std::uint8_t* pixels,
                      const NormalizationTable& normalization, float* out) {
  assert(normalization.channels() == images.channels);
  normalize_pixels(pixels, images.mask_size(), normalization, out);
}

void normalize_pixels(const std::uint8_t* pixels, std::size_t count,
                      const NormalizationTable& normalization, float* out) {
  convert_pixels(pixels, normalization.channels(), static_cast<int>(count), normalization, out);
}

void make_image(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation,
                float* out) {
  assert(index < images.size());
  make_image(images, images.image(index), index, augmentation, out);
}

void make_image(const ImageSet& images, const std::uint8_t* pixels, std::uint32_t index,
                const Augmentation& augmentation, float* out) {
  const NormalizationTable& table = *augmentation.normalization;
  if (augmentation.augment.kinds.empty()) {
    make_plain_image(images, pixels, table, out);
    return;
  }
  assert(table.channels() == images.channels);
  const PixelMap map = compose(images, index, augmentation);
  const std::ptrdiff_t channels = images.channels;
  const std::ptrdiff_t row_size = channels * images.width;
  for (int y = 0; y < images.height; ++y) {
    float* row = out + y * row_size;
    if (y < map.rows.begin || y >= map.rows.end || map.columns.empty()) {
      pad_pixels(images.width, table, row);
      continue;
    }
    const Interval shown = map.columns;
    const std::uint8_t* first = pixels + (y + map.source_y) * row_size +
                                (map.direction_x * shown.begin + map.source_x) * channels;
    pad_pixels(shown.begin, table, row);
    convert_pixels(first, map.direction_x * channels, shown.size(), table,
                   row + shown.begin * channels);
    pad_pixels(images.width - shown.end, table, row + shown.end * channels);
  }
  for (int y = map.cut_rows.begin; y < map.cut_rows.end; ++y) {
    std::fill(out + y * row_size + map.cut_columns.begin * channels,
              out + y * row_size + map.cut_columns.end * channels, 0.0f);
  }
}

void make_mask(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation,
               std::uint8_t* out) {
  assert(index < images.size());
  make_mask(images, images.mask(index), index, augmentation, out);
}

void make_mask(const ImageSet& images, const std::uint8_t* mask, std::uint32_t index,
               const Augmentation& augmentation, std::uint8_t* out) {
  const PixelMap map = compose(images, index, augmentation);
  std::fill_n(out, images.mask_size(), kIgnoredPixel);
  const std::ptrdiff_t width = images.width;
  for (int y = map.rows.begin; y < map.rows.end; ++y) {
    const std::uint8_t* source = mask + (y + map.source_y) * width;
    for (int x = map.columns.begin; x < map.columns.end; ++x)
      out[y * width + x] = source[map.source_x + map.direction_x * x];
  }
  for (int y = map.cut_rows.begin; y < map.cut_rows.end; ++y)
    std::fill(out + y * width + map.cut_columns.begin, out + y * width + map.cut_columns.end,
              kIgnoredPixel);
}

}  // namespace syncnorm
