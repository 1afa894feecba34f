// Encoded images to pixels: JPEG with libjpeg-turbo, PNG with libpng.
//
// The decoder is chosen by the first bytes, not by a file's name. A whole image becomes RGB, one
// byte per value, with the accurate integer transform and smooth upsampling, so the bits are the
// library version's, whatever the processor. Grey becomes RGB; 16 bits become 8; alpha is dropped;
// EXIF orientation is not read, as in torchvision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

namespace syncnorm {

/// An image that cannot be used; what() is the reason, without the name.
struct CorruptImageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The most pixels along a side, and in all, that are decoded. With the coefficients of a
/// progressive JPEG that is 600 MB at most for a thread.
inline constexpr int kMaxImageSide = 32768;
inline constexpr std::int64_t kMaxImagePixels = std::int64_t{1} << 26;

/// The most scans of a JPEG of so many pixels that are decoded. Each costs a pass over all
/// coefficients, though it may take only a few bytes; encoders write ten or so. 500, where
/// libjpeg-turbo's own fuzzers stop, and for images above 8 million pixels no more than cost as
/// much time: 64 for the largest.
int most_jpeg_scans(std::int64_t pixels);

/// Pixels [height, width, 3], 0..255. Reused from image to image, it seldom allocates.
///
/// Every row begins 8 bytes behind a multiple of 32. Rows on multiples of 32 (of 16 with SSE2)
/// libjpeg-turbo writes past the caches, where the next step would find them: that makes decoding
/// 32×32 pixels take 1.4 times as long, 500×375 pixels 1.2 times.
class RgbImage {
 public:
  /// The pixels become undefined.
  void reshape(int height, int width);

  int height() const { return height_; }
  int width() const { return width_; }
  /// Without the gap behind it.
  std::size_t row_bytes() const { return 3 * static_cast<std::size_t>(width_); }
  std::uint8_t* row(int y) { return bytes_.data() + place(y); }
  const std::uint8_t* row(int y) const { return bytes_.data() + place(y); }

 private:
  std::size_t place(int y) const { return first_ + static_cast<std::size_t>(y) * stride_; }

  int height_ = 0, width_ = 0;
  std::size_t first_ = 0, stride_ = 0;
  std::vector<std::uint8_t> bytes_;
};

/// Decodes JPEG and PNG. Of one thread.
class ImageDecoder {
 public:
  ImageDecoder();
  ~ImageDecoder();
  ImageDecoder(const ImageDecoder&) = delete;
  ImageDecoder& operator=(const ImageDecoder&) = delete;

  /// Throws CorruptImageError: neither format, cut off, damaged, CMYK, too large or with too many
  /// scans; std::bad_alloc where there is no memory, which says nothing about the image.
  void decode(std::span<const std::uint8_t> bytes, RgbImage& image);

 private:
  struct Jpeg;
  std::unique_ptr<Jpeg> jpeg_;
};

}  // namespace syncnorm
