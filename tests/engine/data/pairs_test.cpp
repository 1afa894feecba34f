// Images with masks on disk: what training and evaluation read of them, the same bits on any number
// of ranks and threads, and masks that are found to be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/data/eval_chunks.h"
#include "engine/data/loader.h"
#include "tests/engine/data/pair_files.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::mask_png_of;
using enum AugmentKind;

/// Masks decode to labels, whatever the form.
TEST(DecodeMask, TakesGreyAndIndicesUnscaled) {
  MaskImage mask;
  for (const int color : {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_PALETTE})
    for (const int depth : {1, 2, 4, 8})
      for (const bool interlaced : {false, true}) {
        Bytes labels;
        for (int i = 0; i < 9 * 11; ++i)
          labels.push_back(static_cast<std::uint8_t>(i * 7 % (1 << depth)));
        decode_mask(mask_png_of(labels, 9, 11, depth, color, interlaced), mask);
        EXPECT_EQ(mask.height, 9);
        EXPECT_EQ(mask.width, 11);
        EXPECT_EQ(mask.pixels, labels) << depth << " bits, color " << color;
      }
}

TEST(CheckLabels, IgnoresOneLabelAndNamesTheFirstThatIsNoClass) {
  MaskImage mask{2, 3, {0, 1, 9, 2, 9, 0}};
  check_labels(mask, 3, 9);
  EXPECT_EQ(mask.pixels, (Bytes{0, 1, 255, 2, 255, 0}));
  const auto error = [](MaskImage bad, int classes, int ignore) {
    try {
      check_labels(bad, classes, ignore);
      return std::string("no error");
    } catch (const CorruptImageError& problem) {
      return std::string(problem.what());
    }
  };
  EXPECT_EQ(error({2, 3, {0, 9, 1, 2, 3, 7}}, 3, 9),
            "has label 3 at x = 1, y = 1, but there are 3 classes: expected 0 to 2, or 9 where the "
            "pixel is to be ignored");
  EXPECT_THAT(error({1, 2, {0, 255}}, 3, 9), HasSubstr("has label 255 at x = 1, y = 0"));
  EXPECT_EQ(error({1, 2, {0, 255}}, 3, 255), "no error");
}

/// Scaling by nearest pixels: the formula, and boxes.
TEST(ResampleMask, TakesThePixelBelowTheCenter) {
  const MaskImage mask{4, 6, testing::counting(24)};
  for (const auto& [height, width] : {std::pair(4, 6), {8, 12}, {2, 3}, {3, 5}, {7, 6}}) {
    const Resize resize{{1, 2, 3, 4}, height, width, 1, 1, height - 1, width - 2};
    Bytes out(100, 255);
    resample_mask(mask, resize, 10, out.data());
    for (int y = 0; y < height - 1; ++y)
      for (int x = 0; x < width - 2; ++x) {
        const int from_y = 1 + static_cast<int>(std::floor((y + 1 + 0.5) * 3 / height));
        const int from_x = 2 + static_cast<int>(std::floor((x + 1 + 0.5) * 4 / width));
        ASSERT_EQ(out[static_cast<std::size_t>(10 * y + x)],
                  mask.pixels[static_cast<std::size_t>(6 * from_y + from_x)])
            << height << "×" << width << " at " << y << ", " << x;
      }
    EXPECT_EQ(std::count(out.begin(), out.end(), 255), 100 - (height - 1) * (width - 2));
  }
}

TEST(PlaceCrop, CutsOrPadsInTheMiddleOrAnywhere) {
  ImagesConfig config;
  config.height = 10;
  config.width = 20;
  const PairCrop center = place_crop(15, 12, config, 1.0, nullptr);
  EXPECT_EQ(center.resize.height, 15);
  EXPECT_EQ(center.resize.top, 2);
  EXPECT_EQ(center.resize.window_height, 10);
  EXPECT_EQ(center.top, 0);
  EXPECT_EQ(center.resize.left, 0);
  EXPECT_EQ(center.resize.window_width, 12);
  EXPECT_EQ(center.left, 4);
  std::vector<int> tops(6), lefts(9);
  RandomStream random(1, RandomPurpose::random_crop, 0, 0);
  for (int i = 0; i < 2000; ++i) {
    const PairCrop crop = place_crop(15, 12, config, 1.0, &random);
    ++tops.at(static_cast<std::size_t>(crop.resize.top));
    ++lefts.at(static_cast<std::size_t>(crop.left));
  }
  for (const int count : tops) EXPECT_NEAR(count, 2000 / 6, 84);  // 5 standard deviations
  for (const int count : lefts) EXPECT_NEAR(count, 2000 / 9, 71);
  const PairCrop scaled = place_crop(15, 12, config, 0.5, nullptr);
  EXPECT_EQ(scaled.resize.height, 8);
  EXPECT_EQ(scaled.resize.width, 6);
  EXPECT_EQ(place_crop(1, 1, config, 0.01, nullptr).resize.height, 1);
}

/// The values read, as bytes again.
struct Sample {
  Bytes pixels, mask;
};

class ReadPairsTest : public PairsTest {
 protected:
  Sample read(const DataConfig& data, std::uint32_t sample, std::int64_t epoch, bool evaluation,
              std::vector<CorruptImage>& corrupt) {
    const Dataset dataset = load_dataset(data, 1, 2);
    const Augmentation augmentation{AugmentConfig::from(data), 3, epoch, nullptr};
    const std::size_t pixels =
        evaluation ? dataset.train.evaluation_pixels() : dataset.train.mask_size();
    Sample out{Bytes(3 * pixels, 99), Bytes(pixels, 99)};
    ImageReader reader(*dataset.train.stored);
    std::vector<std::uint32_t> all(dataset.train.size());
    std::iota(all.begin(), all.end(), 0u);
    reader.read(sample, all, evaluation ? nullptr : &augmentation, out.pixels.data(),
                out.mask.data(), corrupt);
    return out;
  }
  Sample read(const DataConfig& data, std::uint32_t sample, std::int64_t epoch = 0,
              bool evaluation = false) {
    std::vector<CorruptImage> corrupt;
    Sample out = read(data, sample, epoch, evaluation, corrupt);
    EXPECT_TRUE(corrupt.empty());
    return out;
  }
  /// Every pixel is one of the image with its label, or has the mean color and is ignored. Returns
  /// how many are ignored.
  static int expect_pairs(const Sample& sample) {
    int ignored = 0;
    for (std::size_t p = 0; p < sample.mask.size(); ++p) {
      const Bytes pixel(sample.pixels.begin() + static_cast<std::ptrdiff_t>(3 * p),
                        sample.pixels.begin() + static_cast<std::ptrdiff_t>(3 * p + 3));
      if (sample.mask[p] == kIgnoredPixel) {
        ++ignored;
        EXPECT_EQ(pixel, (Bytes{124, 116, 104}));  // ImageNet's mean
      } else {
        EXPECT_EQ(sample.mask[p], pixel[0] / 64) << p;
      }
    }
    return ignored;
  }
};

TEST_F(ReadPairsTest, WithoutAugmentationTheCenterIsRead) {
  const Sample sample = read(config(), 3);  // of 19×17
  EXPECT_EQ(expect_pairs(sample), 0);
  const Bytes whole = image(3, 19, 17);
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 16 * 3; ++x)
      ASSERT_EQ(sample.pixels[static_cast<std::size_t>(y * 48 + x)],
                whole[static_cast<std::size_t>((y + 5) * 17 * 3 + x)]);
  DataConfig large = config();
  large.images.height = 30;
  large.images.width = 19;
  EXPECT_EQ(expect_pairs(read(large, 3)), 30 * 19 - 19 * 17);
}

TEST_F(ReadPairsTest, RandomCropShowsPairsAtPlacesOfTheirOwn) {
  DataConfig data = config();
  data.augment = {random_crop};
  std::vector<Bytes> seen;
  for (std::int64_t epoch = 0; epoch < 12; ++epoch) {
    const Sample sample = read(data, 5, epoch);
    EXPECT_EQ(expect_pairs(sample), 8);  // the image is 25×15, one column less than the sample
    seen.push_back(sample.pixels);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_GT(std::unique(seen.begin(), seen.end()) - seen.begin(), 6);
}

/// A constant image with a constant mask: what is not padding must stay so, whatever the scale.
TEST_F(ReadPairsTest, RandomScaleScalesImageAndMaskAlike) {
  Bytes pixels(24 * 32 * 3, 10);
  Bytes labels(24 * 32, 0);
  for (int y = 8; y < 16; ++y)
    for (int x = 8; x < 24; ++x) {
      labels[static_cast<std::size_t>(32 * y + x)] = 3;
      for (int c = 0; c < 3; ++c) pixels[static_cast<std::size_t>(3 * (32 * y + x) + c)] = 250;
    }
  write("train/images/0.png", testing::png_of(pixels, 24, 32));
  write("train/masks/0.png", mask_png_of(labels, 24, 32));
  DataConfig data = config();
  data.images.height = 64;
  data.images.width = 64;
  data.images.scale = {0.5, 2.0};
  data.augment = {random_scale};
  double smallest = 10, largest = 0;
  for (std::int64_t epoch = 0; epoch < 60; ++epoch) {
    const Sample sample = read(data, 0, epoch);
    int shown = 0, inside = 0;
    for (std::size_t p = 0; p < sample.mask.size(); ++p) {
      if (sample.mask[p] == kIgnoredPixel) continue;
      ++shown;
      inside += sample.mask[p] == 3;
      // Edges are mixed within two pixels; a pixel that is clearly of one side has its label.
      if (sample.pixels[3 * p] < 40) EXPECT_EQ(sample.mask[p], 0);
      if (sample.pixels[3 * p] > 220) EXPECT_EQ(sample.mask[p], 3);
    }
    const double scale = std::sqrt(shown / (24.0 * 32.0));
    smallest = std::min(smallest, scale);
    largest = std::max(largest, scale);
    EXPECT_NEAR(inside / static_cast<double>(shown), 128.0 / 768.0, 0.05);
  }
  EXPECT_NEAR(smallest, 0.5, 0.1);
  EXPECT_NEAR(largest, 2.0, 0.1);
}

TEST_F(ReadPairsTest, RandomResizedCropAndColorsKeepLabelsInPlace) {
  DataConfig data = config();
  data.augment = {random_resized_crop, color_jitter};
  data.images.crop_area = 1.0;  // nearly all of the image
  const Sample jittered = read(data, 2);
  EXPECT_EQ(std::count(jittered.mask.begin(), jittered.mask.end(), kIgnoredPixel), 0);
  data.augment = {random_resized_crop};
  const Sample plain = read(data, 2);
  EXPECT_EQ(jittered.mask, plain.mask);
  EXPECT_NE(jittered.pixels, plain.pixels);
}

TEST_F(ReadPairsTest, EvaluationReadsWholeImagesAtTheTopLeft) {
  DataConfig data = config();
  data.validation = 1;                           // so that training images are evaluated
  const Sample sample = read(data, 4, 0, true);  // of 22×16 in 32×32
  EXPECT_EQ(expect_pairs(sample), 32 * 32 - 22 * 16);
  const Bytes whole = image(4, 22, 16), labels = labels_of(whole);
  for (int y = 0; y < 22; ++y)
    for (int x = 0; x < 16; ++x)
      ASSERT_EQ(sample.mask[static_cast<std::size_t>(32 * y + x)],
                labels[static_cast<std::size_t>(16 * y + x)]);
}

TEST_F(ReadPairsTest, WrongMasksAreCorruptImages) {
  DataConfig data = config();
  data.masks.classes = 4;
  Bytes labels(13 * 19, 1);
  labels[2 * 19 + 5] = 4;
  write("train/masks/1.png", mask_png_of(labels, 13, 19));
  const std::string name = folder() + "/train/images/1.png";
  const std::string reason = "its mask " + folder() +
                             "/train/masks/1.png has label 4 at x = 5, y = 2, but there are 4 "
                             "classes: expected 0 to 3, or 255 where the pixel is to be ignored";
  std::vector<CorruptImage> corrupt;
  const Sample stopped = read(data, 1, 0, false, corrupt);
  EXPECT_EQ(corrupt, (std::vector<CorruptImage>{{name, reason, false}}));
  EXPECT_THAT(stop_text(corrupt), HasSubstr("or set data.images.corrupt: skip"));
  EXPECT_EQ(stopped.mask, Bytes(8 * 16, kIgnoredPixel));
  EXPECT_EQ(stopped.pixels, Bytes(8 * 16 * 3, 0));
  data.images.corrupt = CorruptPolicy::skip;
  corrupt.clear();
  const Sample skipped = read(data, 1, 0, false, corrupt);
  EXPECT_EQ(corrupt.size(), 1u);
  EXPECT_EQ(skipped.pixels, read(data, 2).pixels);
  EXPECT_EQ(skipped.mask, read(data, 2).mask);
}

/// Images and masks of all steps, of `ranks` ranks side by side.
std::vector<Bytes> trained_on(const DataConfig& data, int ranks, bool raw) {
  const Dataset dataset = load_dataset(data, 1, 4);
  std::vector<std::uint32_t> samples(dataset.train.size());
  std::iota(samples.begin(), samples.end(), 0u);
  LoaderOptions options;
  options.batching = {4, 1, false, static_cast<std::int64_t>(samples.size())};
  options.augment = AugmentConfig::from(data);
  options.total_steps = 3 * options.batching.steps_per_epoch();
  options.raw = raw;
  std::vector<Bytes> steps(static_cast<std::size_t>(options.total_steps));
  for (int rank = 0; rank < ranks; ++rank) {
    options.replicas = Placement{4, ranks}.block(rank);
    Loader loader(dataset, samples, options);
    for (Bytes& step : steps) {
      const Batch& batch = loader.next();
      const std::size_t slots = batch.labels.size(), size = dataset.train.image_size();
      EXPECT_TRUE(batch.usable);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.masks) % 64, 0u);
      for (std::size_t slot = 0; slot < slots; ++slot) {
        const auto* first = raw ? batch.pixels + slot * size
                                : reinterpret_cast<const std::uint8_t*>(batch.images + slot * size);
        const bool unused = batch.replica_samples[slot] == 0;
        if (!raw || !unused) step.insert(step.end(), first, first + size * (raw ? 1 : 4));
        const std::uint8_t* mask = batch.masks + slot * dataset.train.mask_size();
        step.insert(step.end(), mask, mask + dataset.train.mask_size());
        if (unused)
          EXPECT_EQ(std::count(mask, mask + dataset.train.mask_size(), kIgnoredPixel),
                    static_cast<std::ptrdiff_t>(dataset.train.mask_size()));
      }
    }
  }
  return steps;
}

TEST_F(ReadPairsTest, SameBatchesOnAnyNumberOfRanksAndThreads) {
  DataConfig data = config();
  for (const auto& augment : std::vector<std::vector<AugmentKind>>{
           {random_scale, random_crop, color_jitter, horizontal_flip, cutout},
           {random_resized_crop, horizontal_flip},
           {random_crop, horizontal_flip}}) {
    data.augment = augment;
    data.images.threads = 1;
    const std::vector<Bytes> one = trained_on(data, 1, false), raw = trained_on(data, 1, true);
    data.images.threads = 3;
    EXPECT_EQ(trained_on(data, 2, false), one);
    EXPECT_EQ(trained_on(data, 4, true), raw);
    EXPECT_NE(one[0], one[2]);  // another epoch
  }
}

/// The mask of a batch is that of the made image: flips and cutouts are the same.
TEST_F(ReadPairsTest, MasksOfBatchesFollowTheirImages) {
  DataConfig data = config();
  data.augment = {random_crop, horizontal_flip, cutout};
  data.cutout_size = 5;
  data.images.mean = {0.0, 0.0, 0.0};
  data.images.std = {1.0, 1.0, 1.0};
  const Dataset dataset = load_dataset(data, 1, 4);
  std::vector<std::uint32_t> samples(dataset.train.size());
  std::iota(samples.begin(), samples.end(), 0u);
  LoaderOptions options;
  options.batching = {2, 1, true, 6};
  options.replicas = {0, 2};
  options.augment = AugmentConfig::from(data);
  options.total_steps = 30;
  Loader loader(dataset, samples, options);
  int ignored = 0, shown = 0;
  for (int step = 0; step < 30; ++step) {
    const Batch& batch = loader.next();
    for (std::size_t p = 0; p < 2 * dataset.train.mask_size(); ++p) {
      const long red = std::lround(255.0f * batch.images[3 * p]);
      if (batch.masks[p] == kIgnoredPixel) {
        ASSERT_EQ(red, 0);
        ++ignored;
      } else {
        ASSERT_EQ(batch.masks[p], red / 64);
        ++shown;
      }
    }
  }
  EXPECT_GT(ignored, 60 * 10);
  EXPECT_GT(shown, 60 * 90);
}

TEST_F(ReadPairsTest, EvaluationFeedsHaveMasks) {
  const Dataset dataset = load_dataset(config(), 1, 2);  // evaluations read 32×16
  const NormalizationTable table({0.0f, 0.0f, 0.0f}, {1.0f, 1.0f, 1.0f});
  const std::vector<std::uint32_t> all = {0, 1};
  for (const auto view : {EvalFeed::View::whole, EvalFeed::View::training}) {
    const bool whole = view == EvalFeed::View::whole;
    const std::size_t pixels = whole ? dataset.test.evaluation_pixels() : dataset.test.mask_size();
    EXPECT_EQ(pixels, whole ? 512u : 128u);
    std::vector<float> memory(EvalFeed::buffers(dataset.test) * 3 * pixels * 3, 99.0f);
    EvalFeed feed(dataset.test, table, {all}, all, 3, memory.data(), view);
    const EvalBatch& batch = feed.next();
    EXPECT_TRUE(batch.found.usable);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.masks) % 64, 0u);
    for (std::size_t slot = 0; slot < 3; ++slot) {
      const std::uint8_t* mask = batch.masks + slot * pixels;
      const std::ptrdiff_t ignored = std::count(mask, mask + pixels, kIgnoredPixel);
      // Images of 9×12 and 14×12: whole in 32×16, or 8×12 of them in 8×16.
      const std::ptrdiff_t images[] = {9 * 12, 14 * 12, 0}, centers[] = {8 * 12, 8 * 12, 0};
      EXPECT_EQ(static_cast<std::ptrdiff_t>(pixels) - ignored,
                whole ? images[slot] : centers[slot]);
      for (std::size_t p = 0; p < pixels && slot < 2; ++p) {
        const long red = std::lround(255.0f * batch.images[3 * (slot * pixels + p)]);
        if (mask[p] != kIgnoredPixel) ASSERT_EQ(mask[p], red / 64);
      }
    }
    EXPECT_EQ(std::count(batch.images + 2 * 3 * pixels, batch.images + 3 * 3 * pixels, 0.0f),
              static_cast<std::ptrdiff_t>(3 * pixels));
  }
}

}  // namespace
}  // namespace syncnorm
