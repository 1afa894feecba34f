// Which augmentations fit which data.
#include "engine/config/augment_rules.h"

#include <gtest/gtest.h>

namespace syncnorm {
namespace {

using enum AugmentKind;
using Kinds = std::vector<AugmentKind>;

std::string problem(DatasetKind dataset, const Kinds& kinds, std::optional<bool> per_pixel) {
  DataConfig data;
  data.dataset = dataset;
  data.augment = kinds;
  return augment_problem(data, per_pixel);
}

TEST(AugmentRules, ImagesInMemory) {
  for (const bool per_pixel : {false, true}) {
    const DatasetKind kind = per_pixel ? DatasetKind::fashion_scenes : DatasetKind::fashion_mnist;
    EXPECT_EQ(problem(kind, {cutout, random_crop, horizontal_flip}, per_pixel), "");
    EXPECT_EQ(problem(kind, {horizontal_flip, color_jitter}, per_pixel),
              "color_jitter works on images on disk; set data.dataset to image_folder, "
              "segmentation_folder or packed, or leave it out");
    EXPECT_EQ(problem(kind, {random_scale}, per_pixel),
              "random_scale works on images on disk with masks; set data.dataset to "
              "segmentation_folder or packed, or leave it out");
  }
}

TEST(AugmentRules, ImagesOnDisk) {
  const auto of = [](const Kinds& kinds) {
    return problem(DatasetKind::image_folder, kinds, false);
  };
  EXPECT_EQ(of({random_resized_crop, color_jitter, random_crop, horizontal_flip, cutout}), "");
  EXPECT_EQ(of({random_scale}),
            "random_scale works on images with masks (segmentation_folder, or its pack); give "
            "random_resized_crop");
  EXPECT_EQ(of({horizontal_flip, random_resized_crop}),
            "random_resized_crop makes the image that the others change; list it first");
  const std::string before =
      "color_jitter would change padding and what is cut out; list it before random_crop and "
      "cutout";
  EXPECT_EQ(of({random_crop, color_jitter}), before);
  EXPECT_EQ(of({cutout, color_jitter}), before);
}

TEST(AugmentRules, ImagesWithMasks) {
  const auto of = [](const Kinds& kinds) {
    return problem(DatasetKind::segmentation_folder, kinds, true);
  };
  EXPECT_EQ(of({random_scale, random_crop, horizontal_flip, color_jitter, cutout}), "");
  EXPECT_EQ(of({random_resized_crop, color_jitter, horizontal_flip, cutout}), "");
  EXPECT_EQ(of({random_crop, random_scale}),
            "random_scale makes the image that the others change; list it first");
  const std::string one_way =
      "with masks, random_resized_crop chooses scale and place alone; leave out random_scale and "
      "random_crop, or random_resized_crop";
  EXPECT_EQ(of({random_resized_crop, random_crop}), one_way);
  EXPECT_EQ(of({cutout, random_crop}),
            "with masks, random_crop chooses what is shown; list it before cutout");
  EXPECT_NE(of({cutout, color_jitter}), "");
}

/// Of a pack that is not open yet, only what is wrong in both cases is told.
TEST(AugmentRules, PacksBeforeTheyAreOpen) {
  const auto of = [](const Kinds& kinds) {
    return problem(DatasetKind::packed, kinds, std::nullopt);
  };
  EXPECT_EQ(of({random_scale, random_crop}), "");
  EXPECT_EQ(of({random_crop, color_jitter}), "");
  EXPECT_EQ(of({random_resized_crop, random_crop}), "");
  EXPECT_NE(of({cutout, color_jitter}), "");
  EXPECT_NE(of({horizontal_flip, random_scale}), "");
}

}  // namespace
}  // namespace syncnorm
