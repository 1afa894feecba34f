// Labelled images, in memory or on disk, and the function that loads a data set by name.
//
// Images in memory stay one byte per value, channels last, and become floats only in a batch
// (augment.h). Images on disk are decoded when a batch needs them (stored_images.h). Everything
// here is a pure function of the files and the seed, so all ranks hold the same data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/config/experiment.h"
#include "engine/data/stored_images.h"

namespace syncnorm {

/// Images of one size with their labels. Immutable once loaded, so any thread may read it.
struct ImageSet {
  int height = 0;
  int width = 0;
  int channels = 0;
  int classes = 0;
  std::vector<std::uint8_t> pixels;  // [sample, height, width, channels], 0..255
  std::vector<std::int32_t> labels;  // 0..classes-1; with labels per pixel all 0
  bool per_pixel = false;            // every pixel has a label
  /// With labels per pixel and images in memory, [sample, height, width]: the class of each pixel,
  /// or kIgnoredPixel.
  std::vector<std::uint8_t> masks;
  int whole_height = 0, whole_width = 0;  // see evaluation_height(); 0: as in training
  /// Images on disk, which replace `pixels`; null if the images are in memory.
  std::shared_ptr<const StoredImages> stored;

  std::size_t size() const { return labels.size(); }
  /// Returns the number of values (= bytes) of one image.
  std::size_t image_size() const {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
           static_cast<std::size_t>(channels);
  }
  /// Returns the number of pixels of one image.
  std::size_t mask_size() const {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  }
  const std::uint8_t* image(std::size_t sample) const {
    return pixels.data() + sample * image_size();
  }
  /// Returns the bytes of images and masks in memory.
  std::size_t bytes() const { return pixels.size() + masks.size(); }
  const std::uint8_t* mask(std::size_t sample) const { return masks.data() + sample * mask_size(); }

  /// Return the size of what an evaluation reads: with labels per pixel and images on disk, room
  /// for any whole image; else that of training.
  int evaluation_height() const { return whole_height > 0 ? whole_height : height; }
  int evaluation_width() const { return whole_width > 0 ? whole_width : width; }
  std::size_t evaluation_pixels() const {
    return static_cast<std::size_t>(evaluation_height()) *
           static_cast<std::size_t>(evaluation_width());
  }
  /// Returns the number of values of one image of an evaluation.
  std::size_t evaluation_size() const {
    return evaluation_pixels() * static_cast<std::size_t>(channels);
  }
};

struct Dataset {
  ImageSet train;  // the first data.limit samples in file order, if a limit is set
  ImageSet test;   // always all samples
  /// Mean and population deviation (divided by n) per channel of images scaled to [0, 1], over the
  /// full training split (before data.limit); for images on disk, the configured values. The
  /// deviation of a constant channel is 0.
  std::vector<float> mean;
  std::vector<float> stddev;
  std::string name;
  std::vector<std::string> class_names;  // [classes], or empty if the data set has no names
  /// 16 hex digits that identify both splits before data.limit: content and shapes; for an image
  /// folder, names and sizes of the files; for a pack, labels, sizes and checksums of the images in
  /// order.
  std::string fingerprint;
  /// Fingerprint of the folder from which a pack was made. "": not a pack, or not recorded.
  std::string folder_fingerprint;
  /// Printable notes for the user about the reading, one per line.
  std::vector<std::string> notes;
};

/// Returns, for example, "mnist: 60000 training and 10000 test images of 10 classes".
std::string summary(const Dataset& dataset);

/// Loads data.dataset. Only synthetic and fashion_scenes depend on `seed`. Throws InputError for an
/// unknown name, a missing or malformed file, an augmentation listed twice, or fewer training
/// samples (after data.limit and data.validation) than `global_batch`.
Dataset load_dataset(const DataConfig& config, std::uint64_t seed, std::int64_t global_batch);

/// Makes a split on disk; `labels` has one entry per sample of `files`.
ImageSet stored_image_set(std::unique_ptr<const ImageFiles> files, std::vector<std::int32_t> labels,
                          std::size_t classes, const ImagesConfig& config,
                          std::optional<StoredMasks> masks = std::nullopt);

/// Makes a split on disk with labels per pixel.
ImageSet stored_pair_set(std::unique_ptr<const ImageFiles> files, std::size_t samples,
                         const StoredMasks& masks, const DataConfig& config);

/// Computes mean and population deviation per channel of `images` scaled to [0, 1], from exact
/// integer histograms, so the bits are the same everywhere.
void channel_statistics(const ImageSet& images, std::vector<float>& mean,
                        std::vector<float>& stddev);

}  // namespace syncnorm
