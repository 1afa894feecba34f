// See examples.h.
#include "monitoring/examples.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "engine/data/png_write.h"
#include "monitoring/whole_file.h"

namespace syncnorm {
namespace {

constexpr int kGap = 4;  // pixels between the pictures

/// Returns the three pictures as one, [height, 3·width + 2·kGap, 3], with white gaps.
std::vector<std::uint8_t> side_by_side(const ExampleImage& image) {
  const auto height = static_cast<std::size_t>(image.height);
  const auto width = static_cast<std::size_t>(image.width);
  const std::size_t all = 3 * width + 2 * kGap;
  std::vector<std::uint8_t> pixels(3 * height * all, 255);
  const auto put = [&](std::size_t y, std::size_t x, const std::uint8_t* rgb) {
    std::copy_n(rgb, 3, pixels.data() + 3 * (y * all + x));
  };
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t x = 0; x < width; ++x) {
      const std::size_t i = y * width + x;
      put(y, x, image.rgb.data() + 3 * i);
      put(y, x + width + kGap, class_color(image.truth[i]).data());
      put(y, x + 2 * (width + kGap), class_color(image.prediction[i]).data());
    }
  return pixels;
}

}  // namespace

void write_examples(const std::filesystem::path& folder, const std::vector<ExampleImage>& images,
                    const std::vector<std::string>& class_names, int classes) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  std::filesystem::create_directories(folder, error);
  nlohmann::ordered_json legend = nlohmann::ordered_json::array();
  for (int k = 0; k < classes; ++k) {
    const auto i = static_cast<std::size_t>(k);
    legend.push_back(
        {{"name", i < class_names.size() ? printable(class_names[i]) : std::to_string(k)},
         {"color", class_color(k)}});
  }
  try {
    for (const ExampleImage& image : images)
      write_whole(folder / fmt::format("{:06}.png", image.sample),
                  rgb_png(image.height, 3 * image.width + 2 * kGap, side_by_side(image)),
                  "make room");
    write_whole(folder / "classes.json", legend.dump(2) + "\n", "make room");
  } catch (const InputError&) {
  }
}

}  // namespace syncnorm
