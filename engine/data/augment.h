// Converts a stored image to the floats that the network reads: augmentation and normalization in
// one pass.
//
// The random choices of a sample depend only on (seed, epoch, sample index), never on a rank or a
// position in a batch. All augmentations are first composed to one mapping of pixels, so every
// value is read once and written once.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/data/dataset.h"
#include "kernels/ops.h"

namespace syncnorm {

/// The value of each byte: (byte/255 − mean)/stddev, per channel, computed in f64 and rounded once.
class NormalizationTable {
 public:
  /// Normalizes with `stddev`, except in channels where it is 0, which are only centred.
  NormalizationTable(const std::vector<float>& mean, const std::vector<float>& stddev);

  /// Returns the 256 values of `channel`; those of the next channel follow.
  const float* channel(int channel) const { return values_.data() + 256 * channel; }
  int channels() const { return static_cast<int>(values_.size() / 256); }
  const std::vector<float>& values() const { return values_; }

 private:
  std::vector<float> values_;
};

/// The experiment's augmentations. `kinds` contains each kind at most once and is applied in order.
struct AugmentConfig {
  std::vector<AugmentKind> kinds;
  int crop_padding = 4;  // random_crop: largest shift in pixels; ≥ 0
  int cutout_size = 8;   // cutout: side of the square; ≥ 1

  static AugmentConfig from(const DataConfig& data) {
    return {data.augment, data.crop_padding, data.cutout_size};
  }
};

/// The augmentation for one epoch.
struct Augmentation {
  AugmentConfig augment;
  std::uint64_t seed = 1;
  std::int64_t epoch = 0;
  const NormalizationTable* normalization = nullptr;  // not owned
};

/// Writes sample `index` of `images`, augmented and normalized, to out[height, width, channels].
/// Allocates nothing. random_resized_crop, color_jitter and random_scale are applied earlier, when
/// images on disk are decoded (stored_images.h), and with masks on disk random_crop, too; the
/// others are applied in the order of `kinds`:
///   random_crop      pads raw zeros (black) on all sides and crops back to size, all offsets
///                    equally likely;
///   horizontal_flip  mirrors left and right, with probability 1/2;
///   cutout           sets a square to the channel's mean (0 after normalization); its centre is
///                    uniform over the image and what lies outside is clipped (DeVries & Taylor
///                    2017).
void make_image(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation,
                float* out);

/// Does the same for `pixels`, an image of the size of `images`, with the random numbers of
/// `index`.
void make_image(const ImageSet& images, const std::uint8_t* pixels, std::uint32_t index,
                const Augmentation& augmentation, float* out);

/// Writes the mask of sample `index` of a set with labels per pixel to out[height, width], with the
/// augmentations of make_image: each pixel has the class of the image's pixel that it shows, and
/// kIgnoredPixel where it is padding or cut out.
void make_mask(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation,
               std::uint8_t* out);

/// Does the same for `mask`, a mask of the size of `images`.
void make_mask(const ImageSet& images, const std::uint8_t* mask, std::uint32_t index,
               const Augmentation& augmentation, std::uint8_t* out);

/// Returns the same mapping as numbers, for a device that makes the image itself.
ImageMap image_map(const ImageSet& images, std::uint32_t index, const Augmentation& augmentation);

/// Writes an image of the size of `images`, only normalized, as evaluation needs it.
void make_plain_image(const ImageSet& images, const std::uint8_t* pixels,
                      const NormalizationTable& normalization, float* out);

/// Writes pixels[count, channels], only normalized.
void normalize_pixels(const std::uint8_t* pixels, std::size_t count,
                      const NormalizationTable& normalization, float* out);

}  // namespace syncnorm
