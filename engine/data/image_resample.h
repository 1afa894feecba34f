// Bilinear resampling with antialiasing, and color changes of an RGB image.
//
// Every output pixel is a weighted mean under a triangle as wide as the distance between output
// pixels, but at least one source pixel (the filter of Pillow and of torchvision's antialias). Sums
// are f32, in a fixed order, vertical first, and rounded once to a byte, so the bits are the same
// on every processor.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/data/image_codec.h"

namespace syncnorm {

struct PixelLoops;
/// Returns the fastest loops for this processor (pixel_loops.h).
const PixelLoops& pixel_loops();

/// A rectangle of source pixels.
struct Box {
  int top = 0, left = 0, height = 0, width = 0;
};

/// Scaling of a box to height × width; only the window that begins at (top, left) is computed.
struct Resize {
  Box box;
  int height = 0, width = 0;
  int top = 0, left = 0, window_height = 0, window_width = 0;
};

/// Resamples images; reuses its working memory. Not thread-safe.
class Resampler {
 public:
  explicit Resampler(const PixelLoops& loops = pixel_loops()) : loops_(loops) {}

  /// Writes [window_height, window_width, 3]. Reads nothing outside the box, which must be
  /// non-empty and inside the image. The window must be inside the scaled image.
  void resample(const RgbImage& image, const Resize& resize, std::uint8_t* out);

 private:
  /// Source pixels [first[i], first[i] + taps) of output pixel i, and their weights.
  struct Filter {
    int taps = 0;
    std::vector<int> first;
    std::vector<float> weights;  // [pixels, taps]
    std::vector<double> exact;   // working memory
    void make(int begin, int size, int scaled, int offset, int pixels);
    void trim();
  };

  void mix_rows(const RgbImage& image, int y, int left, std::size_t values);

  const PixelLoops& loops_;
  Filter rows_, columns_;
  std::vector<const std::uint8_t*> sources_;  // the rows being mixed
  std::vector<float> row_;
};

/// Factors of color_jitter; 1 changes nothing.
struct ColorFactors {
  float brightness = 1.0f, contrast = 1.0f, saturation = 1.0f;
};

/// Changes pixels[count, 3] in this order, each rounded to bytes: brightness (toward black),
/// contrast (toward the mean luma of the image), saturation (toward the pixel's luma). The luma is
/// that of ITU-R BT.601, as in torchvision's ColorJitter.
void adjust_colors(std::uint8_t* pixels, std::size_t count, const ColorFactors& factors,
                   const PixelLoops& loops = pixel_loops());

}  // namespace syncnorm
