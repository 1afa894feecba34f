// Encoded images on disk, and how one of them becomes the pixels that a model sees.
//
// What comes out for a sample depends on the files, (seed, epoch, sample index) and the
// configuration alone, never on a rank, a thread or on what was read before.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/data/image_codec.h"
#include "engine/data/image_resample.h"

namespace syncnorm {

struct Augmentation;

/// What a reader has read. Of one thread, and for the files of one split.
struct ReadBuffer {
  std::vector<std::uint8_t> bytes;  // working memory; `held` of them have a meaning
  std::size_t held = 0;
  // In a pack: where bytes[0] lies, and where the image that was read last ends.
  std::uint32_t shard = 0;
  std::uint64_t offset = 0, next = 0;
};

/// Where the encoded images of a split are: files of a folder, or places in a pack.
class ImageFiles {
 public:
  virtual ~ImageFiles() = default;
  /// For people: the path, and within a pack the entry.
  virtual std::string name(std::uint32_t sample) const = 0;
  /// The bytes of the sample, in `buffer` until the next call with it. Thread-safe. What is likely
  /// to be asked for next may be read with it. Throws CorruptImageError for what was read,
  /// ReadError (byte_reader.h) where it could not be.
  virtual std::span<const std::uint8_t> read(std::uint32_t sample, ReadBuffer& buffer) const = 0;
};

/// The images of one split. Immutable, so any thread may use it.
struct StoredImages {
  std::unique_ptr<const ImageFiles> files;
  ImagesConfig config;
};

/// An image that could not be used.
struct CorruptImage {
  std::string path;
  std::string reason;
  bool unreadable = false;  // nothing is known of its content: it stops the run, never skipped
  bool operator==(const CorruptImage&) const = default;
};

/// "path: reason; what would be right", of the first of `images` that is unreadable, else the
/// first.
std::string stop_text(const std::vector<CorruptImage>& images);

/// What evaluation sees of an image of height × width: the shorter side is scaled to config.resize,
/// and the center is cropped.
Resize evaluation_crop(int height, int width, const ImagesConfig& config);

/// random_resized_crop: a box with config.crop_area..1 of the area and a ratio of 3/4..4/3 (log
/// uniform), scaled to size; after ten tries that do not fit the largest center box of such a
/// ratio. Source: torchvision, RandomResizedCrop (Szegedy et al. 2015).
Resize training_crop(int height, int width, const ImagesConfig& config, std::uint64_t seed,
                     std::int64_t epoch, std::uint32_t sample);

/// color_jitter: each factor uniform in [1 − s, 1 + s].
ColorFactors color_factors(const ImagesConfig& config, std::uint64_t seed, std::int64_t epoch,
                           std::uint32_t sample);

/// Reads and decodes; keeps its working memory. Of one thread.
class ImageReader {
 public:
  /// `images` must outlive it.
  explicit ImageReader(const StoredImages& images) : images_(images) {}

  struct Result {
    std::uint32_t sample = 0;  // whose image and label it is
    bool usable = true;        // false: the run must stop, and out is black
  };
  /// Writes what the model sees of `sample` to out[height, width, 3], changed as `augmentation`
  /// says at random, or as evaluation sees it when null. Every image that cannot be used is added
  /// to `corrupt`; where it is to be skipped and was read, the next usable one of `samples`
  /// (ascending, with `sample`; the first follows the last) takes its place, under the random
  /// numbers of `sample`.
  Result read(std::uint32_t sample, std::span<const std::uint32_t> samples,
              const Augmentation* augmentation, std::uint8_t* out,
              std::vector<CorruptImage>& corrupt);

 private:
  void make(std::uint32_t from, std::uint32_t sample, const Augmentation* augmentation,
            std::uint8_t* out);

  const StoredImages& images_;
  ImageDecoder decoder_;
  Resampler resampler_;
  ReadBuffer buffer_;
  RgbImage image_;
};

}  // namespace syncnorm
