// A small folder of images, and what is trained on from it or from its pack.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/augment.h"
#include "engine/data/loader.h"
#include "engine/data/pack.h"
#include "tests/engine/data/test_data.h"
#include "tests/engine/data/test_images.h"

namespace syncnorm {

/// Two classes with `per_class` training images of different sizes, and two test images each.
class ImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"ant", "bee"})
      for (int i = 0; i < 6; ++i) {
        const int height = 10 + 3 * i, width = name[0] == 'a' ? 12 : 20;
        testing::Bytes pixels = testing::pattern(height, width);
        for (std::uint8_t& v : pixels) v = static_cast<std::uint8_t>(v + 31 * i);
        write(fmt("train/%s/%d.%s", name, i, i % 2 == 0 ? "png" : "JPEG"),
              i % 2 == 0 ? testing::png_of(pixels, height, width)
                         : testing::jpeg_of(pixels, height, width));
        if (i < 2)
          write(fmt("test/%s/%d.png", name, i, ""), testing::png_of(pixels, height, width));
      }
  }
  template <class... Values>
  static std::string fmt(const char* format, Values... values) {
    std::array<char, 100> text{};
    std::snprintf(text.data(), text.size(), format, values...);
    return text.data();
  }
  void write(const std::string& name, const testing::Bytes& bytes) {
    std::filesystem::create_directories((std::filesystem::path(folder()) / name).parent_path());
    folder_.write("images/" + name, bytes);
  }
  std::string folder() const { return folder_.path() + "/images"; }
  std::string pack_folder() const { return folder_.path() + "/pack"; }

  DataConfig config(DatasetKind kind) const {
    DataConfig data;
    data.dataset = kind;
    data.path = kind == DatasetKind::packed ? pack_folder() : folder();
    data.augment = {AugmentKind::random_resized_crop, AugmentKind::horizontal_flip,
                    AugmentKind::color_jitter};
    data.images.height = 8;
    data.images.width = 6;
    data.images.resize = 9;
    return data;
  }

  /// The images and labels of all steps, of `ranks` ranks side by side.
  static std::vector<float> trained_on(const DataConfig& data, int ranks,
                                       std::vector<CorruptImage>* corrupt = nullptr) {
    const Dataset dataset = load_dataset(data, 1, 4);
    std::vector<std::uint32_t> samples = split_samples(dataset.train.size(), 0, 1).train;
    LoaderOptions options;
    options.batching = {4, 1, false, static_cast<std::int64_t>(samples.size())};
    options.augment = AugmentConfig::from(data);
    options.total_steps = 2 * options.batching.steps_per_epoch();
    std::vector<std::vector<float>> steps(static_cast<std::size_t>(options.total_steps));
    for (int rank = 0; rank < ranks; ++rank) {
      options.replicas = Placement{4, ranks}.block(rank);
      Loader loader(dataset, samples, options);
      for (std::vector<float>& step : steps) {
        const Batch& batch = loader.next();
        EXPECT_EQ(batch.usable,
                  data.images.corrupt == CorruptPolicy::skip || batch.corrupt.empty());
        step.insert(step.end(), batch.images,
                    batch.images + batch.labels.size() * dataset.train.image_size());
        for (const std::int32_t label : batch.labels) step.push_back(static_cast<float>(label));
        if (corrupt != nullptr)
          corrupt->insert(corrupt->end(), batch.corrupt.begin(), batch.corrupt.end());
      }
    }
    std::vector<float> all;
    for (std::vector<float>& step : steps) {
      // Ranks add images and labels in turn: what was trained on is the same set per step.
      std::sort(step.begin(), step.end());
      all.insert(all.end(), step.begin(), step.end());
    }
    return all;
  }

  testing::TemporaryFolder folder_;
};

}  // namespace syncnorm
