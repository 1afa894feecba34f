// A small folder of images with masks.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "engine/data/pack.h"
#include "engine/data/segmentation_folder.h"
#include "tests/engine/data/test_data.h"
#include "tests/engine/data/test_images.h"

namespace syncnorm {

/// Six training and two test images of different sizes, with labels 0 to 3. The mask of a pixel is
/// the red of its image, divided by 64.
class PairsTest : public ::testing::Test {
 protected:
  static constexpr int kTraining = 6, kTest = 2;

  void SetUp() override {
    for (int i = 0; i < kTraining; ++i) write_pair("train", i, 10 + 3 * i, 20 - i);
    for (int i = 0; i < kTest; ++i) write_pair("test", i, 9 + 5 * i, 12);
  }
  static testing::Bytes image(int i, int height, int width) {
    testing::Bytes pixels = testing::pattern(height, width);
    for (std::uint8_t& value : pixels) value = static_cast<std::uint8_t>(value + 31 * i);
    return pixels;
  }
  static testing::Bytes labels_of(const testing::Bytes& image) {
    testing::Bytes labels;
    for (std::size_t p = 0; p < image.size(); p += 3)
      labels.push_back(static_cast<std::uint8_t>(image[p] / 64));
    return labels;
  }
  void write_pair(const std::string& split, int i, int height, int width) {
    const testing::Bytes pixels = image(i, height, width);
    const std::string name = "/" + std::to_string(i) + ".png";
    write(split + "/images" + name, testing::png_of(pixels, height, width));
    // Two bits hold four labels; every other mask is a palette.
    write(split + "/masks" + name,
          testing::mask_png_of(labels_of(pixels), height, width, i % 3 == 0 ? 8 : 2,
                               i % 2 == 0 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_PALETTE));
  }
  void write(const std::string& name, const testing::Bytes& bytes) {
    std::filesystem::create_directories((std::filesystem::path(folder()) / name).parent_path());
    folder_.write("pairs/" + name, bytes);
  }
  void write_text(const std::string& name, const std::string& text) {
    write(name, testing::Bytes(text.begin(), text.end()));
  }
  std::string folder() const { return folder_.path() + "/pairs"; }
  std::string pack_folder() const { return folder_.path() + "/pack"; }

  DataConfig config(DatasetKind kind = DatasetKind::segmentation_folder) const {
    DataConfig data;
    data.dataset = kind;
    data.path = kind == DatasetKind::packed ? pack_folder() : folder();
    data.images.height = 8;
    data.images.width = 16;
    return data;
  }

  testing::TemporaryFolder folder_;
};

}  // namespace syncnorm
