// Crops, colors and the policy for corrupt images; see stored_images.h.
#include "engine/data/stored_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <new>

#include "base/philox.h"
#include "base/printable.h"
#include "engine/data/augment.h"
#include "engine/data/byte_reader.h"

namespace syncnorm {
namespace {

constexpr double kHalfLogRatio = 0.14384103622589042;  // log(4/3) / 2

/// Returns e^x for |x| ≤ 1/4, using only additions and products: libm's result depends on the
/// processor. Taylor series; the first omitted term is below 1e-17.
double small_exp(double x) {
  double sum = 1.0;
  for (int n = 11; n >= 1; --n) sum = 1.0 + sum * x / n;
  return sum;
}

/// Returns the largest centered box with an aspect ratio in 3/4..4/3.
Box center_box(int height, int width) {
  int h = height, w = width;
  if (3 * width > 4 * height) w = static_cast<int>(std::lround(height * 4.0 / 3.0));
  if (3 * height > 4 * width) h = static_cast<int>(std::lround(width * 4.0 / 3.0));
  return {(height - h) / 2, (width - w) / 2, h, w};
}

Box random_box(int height, int width, double least_area, RandomStream& random) {
  constexpr int kTries = 10;
  const auto uniform = [&random] { return static_cast<double>(random.uniform()); };
  for (int i = 0; i < kTries; ++i) {
    const double share = least_area + (1.0 - least_area) * uniform();
    const double side = std::sqrt(share * height * width);
    const double stretch = small_exp(kHalfLogRatio * (2.0 * uniform() - 1.0));
    const auto w = static_cast<int>(std::lround(side * stretch));
    const auto h = static_cast<int>(std::lround(side / stretch));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const auto offset = [&random](int places) {
      return static_cast<int>(random.below(static_cast<std::uint64_t>(places)));
    };
    const int top = offset(height - h + 1);
    return {top, offset(width - w + 1), h, w};
  }
  return center_box(height, width);
}

/// The factor of random_scale.
double scale_factor(const ImagesConfig& config, const Augmentation& augmentation,
                    std::uint32_t sample) {
  RandomStream random(augmentation.seed, RandomPurpose::random_scale,
                      static_cast<std::uint64_t>(augmentation.epoch), sample);
  return config.scale[0] +
         (config.scale[1] - config.scale[0]) * static_cast<double>(random.uniform());
}

bool asks_for(const Augmentation* augmentation, AugmentKind kind) {
  if (augmentation == nullptr) return false;
  const std::vector<AugmentKind>& kinds = augmentation->augment.kinds;
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

/// Returns the sample after `sample` in the ascending list; after the last comes the first.
std::uint32_t next_of(std::span<const std::uint32_t> samples, std::uint32_t sample) {
  const auto next = std::upper_bound(samples.begin(), samples.end(), sample);
  return next == samples.end() ? samples.front() : *next;
}

/// Returns how a pair is cropped in training.
PairCrop training_pair_crop(int height, int width, const ImagesConfig& config,
                            const Augmentation& augmentation, std::uint32_t sample) {
  if (asks_for(&augmentation, AugmentKind::random_resized_crop))
    return {training_crop(height, width, config, augmentation.seed, augmentation.epoch, sample), 0,
            0};
  const bool scaled = asks_for(&augmentation, AugmentKind::random_scale);
  const bool anywhere = scaled || asks_for(&augmentation, AugmentKind::random_crop);
  RandomStream random(augmentation.seed, RandomPurpose::random_crop,
                      static_cast<std::uint64_t>(augmentation.epoch), sample);
  return place_crop(height, width, config,
                    scaled ? scale_factor(config, augmentation, sample) : 1.0,
                    anywhere ? &random : nullptr);
}

}  // namespace

std::string ImageFiles::mask_name(std::uint32_t) const { return ""; }

std::span<const std::uint8_t> ImageFiles::read_mask(std::uint32_t, ReadBuffer&) const { return {}; }

std::string stop_text(const std::vector<CorruptImage>& images) {
  const auto unreadable = std::find_if(images.begin(), images.end(),
                                       [](const CorruptImage& image) { return image.unreadable; });
  const CorruptImage& image = unreadable == images.end() ? images.front() : *unreadable;
  return fmt::format(
      "{}: {}; {}", printable_name(image.path), printable_name(image.reason),
      image.unreadable ? "nothing is known of the image, so it is not skipped: mend that and go on "
                         "with --resume auto"
                       : "repair or remove it, or set data.images.corrupt: skip");
}

Resize evaluation_crop(int height, int width, const ImagesConfig& config) {
  const std::int64_t shorter = std::min(height, width);
  const auto scaled = [&](std::int64_t side) {
    return static_cast<int>(side * config.resize / shorter);
  };
  Resize resize{{0, 0, height, width}, scaled(height), scaled(width), 0, 0,
                config.height,         config.width};
  resize.top = (resize.height - config.height) / 2;
  resize.left = (resize.width - config.width) / 2;
  return resize;
}

Resize training_crop(int height, int width, const ImagesConfig& config, std::uint64_t seed,
                     std::int64_t epoch, std::uint32_t sample) {
  RandomStream random(seed, RandomPurpose::random_resized_crop, static_cast<std::uint64_t>(epoch),
                      sample);
  return {random_box(height, width, config.crop_area, random),
          config.height,
          config.width,
          0,
          0,
          config.height,
          config.width};
}

ColorFactors color_factors(const ImagesConfig& config, std::uint64_t seed, std::int64_t epoch,
                           std::uint32_t sample) {
  RandomStream random(seed, RandomPurpose::color_jitter, static_cast<std::uint64_t>(epoch), sample);
  const auto factor = [&random](double strength) {
    const double u = static_cast<double>(random.uniform());
    return static_cast<float>(1.0 + strength * (2.0 * u - 1.0));
  };
  ColorFactors factors;
  factors.brightness = factor(config.brightness);
  factors.contrast = factor(config.contrast);
  factors.saturation = factor(config.saturation);
  return factors;
}

void ImageReader::make(std::uint32_t from, std::uint32_t sample, const Augmentation* augmentation,
                       std::uint8_t* out) {
  decoder_.decode(images_.files->read(from, buffer_), image_);
  const ImagesConfig& config = images_.config;
  const bool random = asks_for(augmentation, AugmentKind::random_resized_crop);
  resampler_.resample(image_,
                      random ? training_crop(image_.height(), image_.width(), config,
                                             augmentation->seed, augmentation->epoch, sample)
                             : evaluation_crop(image_.height(), image_.width(), config),
                      out);
  if (asks_for(augmentation, AugmentKind::color_jitter))
    adjust_colors(out,
                  static_cast<std::size_t>(config.height) * static_cast<std::size_t>(config.width),
                  color_factors(config, augmentation->seed, augmentation->epoch, sample));
}

/// Reads the mask of image_ into mask_.
void ImageReader::read_mask(std::uint32_t from) {
  in_mask_ = true;
  decode_mask(images_.files->read_mask(from, buffer_), mask_);
  const std::string problem =
      size_problem(mask_.height, mask_.width, image_.height(), image_.width());
  if (!problem.empty()) throw CorruptImageError(problem);
  check_labels(mask_, images_.masks->classes, images_.masks->ignore_label);
  in_mask_ = false;
}

void ImageReader::make_pair(std::uint32_t from, std::uint32_t sample,
                            const Augmentation* augmentation, std::uint8_t* out,
                            std::uint8_t* mask) {
  decoder_.decode(images_.files->read(from, buffer_), image_);
  read_mask(from);
  const ImagesConfig& config = images_.config;
  const StoredMasks& masks = *images_.masks;
  const bool whole = augmentation == nullptr;
  const int height = whole ? masks.height : config.height;
  const int width = whole ? masks.width : config.width;
  if (whole && (image_.height() > height || image_.width() > width))
    throw CorruptImageError(
        fmt::format("is {}×{} pixels, more than any image had when the data set was opened ({}×{})",
                    image_.width(), image_.height(), width, height));
  const Resize unscaled{{0, 0, image_.height(), image_.width()},
                        image_.height(),
                        image_.width(),
                        0,
                        0,
                        image_.height(),
                        image_.width()};
  const PairCrop crop =
      whole ? PairCrop{unscaled, 0, 0}
            : training_pair_crop(image_.height(), image_.width(), config, *augmentation, sample);
  const auto rows = static_cast<std::size_t>(crop.resize.window_height);
  const auto columns = static_cast<std::size_t>(crop.resize.window_width);
  window_.resize(3 * rows * columns);
  resampler_.resample(image_, crop.resize, window_.data());
  if (asks_for(augmentation, AugmentKind::color_jitter))
    adjust_colors(window_.data(), rows * columns,
                  color_factors(config, augmentation->seed, augmentation->epoch, sample));
  const auto stride = static_cast<std::size_t>(width);
  const std::size_t pixels = stride * static_cast<std::size_t>(height);
  fill_color(out, pixels, mean_color(config));
  std::fill_n(mask, pixels, kIgnoredPixel);
  const std::size_t first =
      static_cast<std::size_t>(crop.top) * stride + static_cast<std::size_t>(crop.left);
  for (std::size_t y = 0; y < rows; ++y)
    std::copy_n(window_.data() + 3 * y * columns, 3 * columns, out + 3 * (first + y * stride));
  resample_mask(mask_, crop.resize, stride, mask + first);
}

/// Makes what stands for an image that cannot be used.
void ImageReader::make_black(const Augmentation* augmentation, std::uint8_t* out,
                             std::uint8_t* mask) const {
  const bool whole = mask != nullptr && augmentation == nullptr;
  const int height = whole ? images_.masks->height : images_.config.height;
  const int width = whole ? images_.masks->width : images_.config.width;
  const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  std::fill_n(out, 3 * pixels, std::uint8_t{0});
  if (mask != nullptr) std::fill_n(mask, pixels, kIgnoredPixel);
}

ImageReader::Result ImageReader::read(std::uint32_t sample, std::span<const std::uint32_t> samples,
                                      const Augmentation* augmentation, std::uint8_t* out,
                                      std::uint8_t* mask, std::vector<CorruptImage>& corrupt) {
  assert((mask != nullptr) == images_.masks.has_value());
  std::uint32_t from = sample;
  do {
    bool unreadable = true;
    std::string reason;
    in_mask_ = false;
    try {
      if (mask != nullptr)
        make_pair(from, sample, augmentation, out, mask);
      else
        make(from, sample, augmentation, out);
      return {from, true};
    } catch (const CorruptImageError& error) {
      unreadable = false;
      reason = error.what();
    } catch (const ReadError& error) {
      reason = "cannot be read: " + error.reason;
    } catch (const std::bad_alloc&) {
      reason = fmt::format("cannot be read: {}", std::strerror(ENOMEM));
    }
    if (in_mask_) reason = fmt::format("its mask {} {}", images_.files->mask_name(from), reason);
    corrupt.push_back({images_.files->name(from), reason, unreadable});
    if (unreadable || images_.config.corrupt == CorruptPolicy::stop) break;
    from = next_of(samples, from);
  } while (from != sample);
  make_black(augmentation, out, mask);
  return {sample, false};
}

}  // namespace syncnorm
