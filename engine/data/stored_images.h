// Encoded images on disk, and their conversion to the pixels that the model reads.
//
// The result for a sample depends only on the files, (seed, epoch, sample index) and the
// configuration, never on a rank, a thread or earlier reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/data/image_codec.h"
#include "engine/data/image_resample.h"
#include "engine/data/pair_crop.h"

namespace syncnorm {

struct Augmentation;

/// The bytes that a reader has read, for the files of one split. Not thread-safe.
struct ReadBuffer {
  std::vector<std::uint8_t> bytes;  // working memory; the first `held` bytes are valid
  std::size_t held = 0;
  // In a pack: the offset of bytes[0], and the end of the last image read.
  std::uint32_t shard = 0;
  std::uint64_t offset = 0, next = 0;
};

/// The encoded images of a split: files of a folder, or entries of a pack.
class ImageFiles {
 public:
  virtual ~ImageFiles() = default;
  /// Returns a name for messages: the path, and in a pack the entry.
  virtual std::string name(std::uint32_t sample) const = 0;
  /// Returns the bytes of the sample, valid in `buffer` until the next call with it. Thread-safe.
  /// May read ahead. Throws CorruptImageError if the bytes read are wrong, ReadError
  /// (byte_reader.h) if they could not be read.
  virtual std::span<const std::uint8_t> read(std::uint32_t sample, ReadBuffer& buffer) const = 0;
  /// The same for the masks of images with labels per pixel; others have none.
  virtual std::string mask_name(std::uint32_t sample) const;
  virtual std::span<const std::uint8_t> read_mask(std::uint32_t sample, ReadBuffer& buffer) const;
};

/// Known facts of the masks of a split.
struct StoredMasks {
  int classes = 0;
  int ignore_label = 255;     // in the files; becomes kIgnoredPixel
  int height = 0, width = 0;  // what an evaluation reads: any whole image fits into it
};

/// The images of one split. Immutable, so any thread may use it.
struct StoredImages {
  std::unique_ptr<const ImageFiles> files;
  ImagesConfig config;
  std::optional<StoredMasks> masks;  // with labels per pixel
};

/// An unusable image.
struct CorruptImage {
  std::string path;
  std::string reason;
  bool unreadable = false;  // its content is unknown: it stops the run and is never skipped
  bool operator==(const CorruptImage&) const = default;
};

/// Returns "path: reason; what to do" for the first unreadable image of `images`, or else for the
/// first.
std::string stop_text(const std::vector<CorruptImage>& images);

/// Returns the crop for evaluation of an image of height × width: the shorter side is scaled to
/// config.resize, and the center is cropped.
Resize evaluation_crop(int height, int width, const ImagesConfig& config);

/// Returns the crop of random_resized_crop: a box with config.crop_area..1 of the area and an
/// aspect ratio of 3/4..4/3 (log uniform). After ten tries that do not fit, it is the largest
/// centered box with such a ratio. Source: torchvision, RandomResizedCrop (Szegedy et al. 2015).
Resize training_crop(int height, int width, const ImagesConfig& config, std::uint64_t seed,
                     std::int64_t epoch, std::uint32_t sample);

/// Returns the factors of color_jitter, each uniform in [1 − s, 1 + s].
ColorFactors color_factors(const ImagesConfig& config, std::uint64_t seed, std::int64_t epoch,
                           std::uint32_t sample);

/// Reads and decodes images; reuses its working memory. Not thread-safe.
class ImageReader {
 public:
  /// `images` must outlive it.
  explicit ImageReader(const StoredImages& images) : images_(images) {}

  struct Result {
    std::uint32_t sample = 0;  // the sample whose image and label were used
    bool usable = true;        // false: the run must stop, and out is black
  };
  /// Writes the model's input for `sample` to out[height, width, 3], randomly changed according to
  /// `augmentation`, or as evaluation needs it if null. Adds every unusable image to `corrupt`. If
  /// such an image is readable and must be skipped, it is replaced by the next usable one of
  /// `samples` (ascending, containing `sample`; the first follows the last), with the random
  /// numbers of `sample`. With labels per pixel, also writes the mask to mask[height, width], where
  /// what an evaluation reads has the size of StoredMasks; `mask` is null otherwise.
  Result read(std::uint32_t sample, std::span<const std::uint32_t> samples,
              const Augmentation* augmentation, std::uint8_t* out, std::uint8_t* mask,
              std::vector<CorruptImage>& corrupt);

 private:
  void make(std::uint32_t from, std::uint32_t sample, const Augmentation* augmentation,
            std::uint8_t* out);
  void make_pair(std::uint32_t from, std::uint32_t sample, const Augmentation* augmentation,
                 std::uint8_t* out, std::uint8_t* mask);
  void read_mask(std::uint32_t from);
  void make_black(const Augmentation* augmentation, std::uint8_t* out, std::uint8_t* mask) const;

  const StoredImages& images_;
  ImageDecoder decoder_;
  Resampler resampler_;
  ReadBuffer buffer_;
  RgbImage image_;
  MaskImage mask_;
  bool in_mask_ = false;              // an error is about the mask
  std::vector<std::uint8_t> window_;  // a part of a sample, without padding
};

}  // namespace syncnorm
