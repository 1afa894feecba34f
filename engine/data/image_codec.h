// Decodes images to pixels: JPEG with libjpeg-turbo, PNG with libpng.
//
// The first bytes select the decoder, not the file's name. The result is a whole image in RGB, one
// byte per value, with the accurate integer transform and smooth upsampling, so the bits depend
// only on the library version, not on the processor. Grey becomes RGB, 16 bits become 8, alpha is
// dropped, and EXIF orientation is ignored, as in torchvision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

namespace syncnorm {

/// An unusable image; what() is the reason, without the name.
struct CorruptImageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The maximum number of pixels per side, and in total. Including the coefficients of a progressive
/// JPEG, decoding then takes at most 600 MB per thread.
inline constexpr int kMaxImageSide = 32768;
inline constexpr std::int64_t kMaxImagePixels = std::int64_t{1} << 26;

/// Throws CorruptImageError for a size that is not decoded.
void check_image_size(std::int64_t height, std::int64_t width);

/// Returns the maximum number of scans for a JPEG of this many pixels. Each scan costs a pass over
/// all coefficients, even if it takes only a few bytes; encoders write about ten. The maximum is
/// 500, as in libjpeg-turbo's own fuzzers; above 8 million pixels it decreases so that the time
/// stays bounded: 64 for the largest images.
int most_jpeg_scans(std::int64_t pixels);

/// Pixels [height, width, 3], 0..255. Reused for the next image, it rarely allocates.
///
/// Every row begins 8 bytes after a multiple of 32. libjpeg-turbo writes rows aligned to 32 (16
/// with SSE2) past the caches, where the next step needs them: with such alignment, decoding takes
/// 1.4 times as long for 32×32 pixels, and 1.2 times for 500×375.
class RgbImage {
 public:
  /// Changes the size; the pixels become undefined.
  void reshape(int height, int width);

  int height() const { return height_; }
  int width() const { return width_; }
  /// Returns the bytes of a row, without padding.
  std::size_t row_bytes() const { return 3 * static_cast<std::size_t>(width_); }
  std::uint8_t* row(int y) { return bytes_.data() + place(y); }
  const std::uint8_t* row(int y) const { return bytes_.data() + place(y); }

 private:
  std::size_t place(int y) const { return first_ + static_cast<std::size_t>(y) * stride_; }

  int height_ = 0, width_ = 0;
  std::size_t first_ = 0, stride_ = 0;
  std::vector<std::uint8_t> bytes_;
};

/// Decodes JPEG and PNG. Not thread-safe.
class ImageDecoder {
 public:
  ImageDecoder();
  ~ImageDecoder();
  ImageDecoder(const ImageDecoder&) = delete;
  ImageDecoder& operator=(const ImageDecoder&) = delete;

  /// Decodes `bytes`. Throws CorruptImageError for another format or an image that is truncated,
  /// damaged, CMYK, too large or has too many scans; std::bad_alloc if memory runs out, which does
  /// not make the image corrupt.
  void decode(std::span<const std::uint8_t> bytes, RgbImage& image);

 private:
  struct Jpeg;
  std::unique_ptr<Jpeg> jpeg_;
};

}  // namespace syncnorm
