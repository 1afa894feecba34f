// Images on disk: decoding, crops and colors in closed form, folders, packs, and corrupt images.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>

#include "engine/data/augment.h"
#include "engine/data/byte_reader.h"
#include "engine/data/eval_chunks.h"
#include "engine/data/image_folder.h"
#include "engine/data/loader.h"
#include "engine/data/pack.h"
#include "engine/data/pack_index.h"
#include "engine/data/pixel_loops.h"
#include "tests/engine/data/test_data.h"
#include "tests/engine/data/test_images.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::input_error_of;
using testing::pattern;
using testing::png_of;
using testing::TemporaryFolder;
namespace fs = std::filesystem;

Bytes jpeg_of(const Bytes& pixels, int height, int width, J_COLOR_SPACE space = JCS_RGB,
              int channels = 3) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_height = static_cast<JDIMENSION>(height);
  info.image_width = static_cast<JDIMENSION>(width);
  info.input_components = channels;
  info.in_color_space = space;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  jpeg_start_compress(&info, TRUE);
  for (int y = 0; y < height; ++y) {
    auto* row = const_cast<JSAMPLE*>(pixels.data() + std::ptrdiff_t{y} * width * channels);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  Bytes bytes(out, out + size);
  jpeg_destroy_compress(&info);
  std::free(out);
  return bytes;
}

RgbImage image_of(const Bytes& pixels, int height, int width) {
  RgbImage image;
  image.reshape(height, width);
  for (int y = 0; y < height; ++y)
    std::copy_n(pixels.begin() + y * static_cast<std::ptrdiff_t>(image.row_bytes()),
                image.row_bytes(), image.row(y));
  return image;
}

/// Without the gaps between rows.
Bytes pixels_of(const RgbImage& image) {
  Bytes pixels;
  for (int y = 0; y < image.height(); ++y)
    pixels.insert(pixels.end(), image.row(y), image.row(y) + image.row_bytes());
  return pixels;
}

RgbImage decoded(const Bytes& bytes) {
  ImageDecoder decoder;
  RgbImage image;
  decoder.decode(bytes, image);
  return image;
}

std::string corruption_of(const Bytes& bytes) {
  try {
    decoded(bytes);
  } catch (const CorruptImageError& error) {
    return error.what();
  }
  return "none";
}

TEST(ImageDecoder, ReadsPngExactly) {
  const RgbImage image = decoded(png_of(pattern(5, 7), 5, 7));
  EXPECT_EQ(image.height(), 5);
  EXPECT_EQ(image.width(), 7);
  EXPECT_EQ(pixels_of(image), pattern(5, 7));
}

TEST(ImageDecoder, RowsKeepOffTheBordersThatMakeDecodingSlow) {
  RgbImage image;
  for (const int width : {1, 10, 32, 500}) {
    image.reshape(4, width);
    for (int y = 0; y < 4; ++y)
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(image.row(y)) % 32, 8u) << width;
    EXPECT_GE(image.row(1), image.row(0) + image.row_bytes());
  }
}

TEST(ImageDecoder, GreyBecomesRgbAndAlphaIsDropped) {
  const Bytes grey = pattern(3, 4, 1), with_alpha = pattern(3, 4, 4);
  const Bytes from_grey = pixels_of(decoded(png_of(grey, 3, 4, PNG_FORMAT_GRAY)));
  const Bytes from_alpha = pixels_of(decoded(png_of(with_alpha, 3, 4, PNG_FORMAT_RGBA)));
  const Bytes from_jpeg = pixels_of(decoded(jpeg_of(Bytes(64, 90), 8, 8, JCS_GRAYSCALE, 1)));
  ASSERT_EQ(from_grey.size(), 36u);
  for (std::size_t i = 0; i < 12; ++i)
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(from_grey[3 * i + c], grey[i]);
      EXPECT_EQ(from_alpha[3 * i + c], with_alpha[4 * i + c]);
    }
  EXPECT_EQ(from_jpeg, Bytes(3 * 64, 90));
}

TEST(ImageDecoder, SaysWhatIsWrong) {
  Bytes jpeg = jpeg_of(pattern(32, 32), 32, 32), png = png_of(pattern(32, 32), 32, 32);
  EXPECT_EQ(corruption_of({}), "is empty");
  EXPECT_EQ(corruption_of({'G', 'I', 'F'}), "is neither JPEG nor PNG");
  EXPECT_EQ(corruption_of(jpeg_of(Bytes(4 * 64, 9), 8, 8, JCS_CMYK, 4)),
            "has CMYK colours; convert it to RGB");
  EXPECT_THAT(corruption_of({jpeg.begin(), jpeg.end() - 40}), HasSubstr("damaged JPEG: "));
  EXPECT_THAT(corruption_of({jpeg.begin(), jpeg.begin() + 30}), HasSubstr("damaged JPEG: "));
  EXPECT_THAT(corruption_of({png.begin(), png.end() - 40}),
              HasSubstr("damaged PNG: the file ends early"));
  Bytes flipped = png;
  flipped[flipped.size() / 2] ^= 0xff;
  EXPECT_THAT(corruption_of(flipped), HasSubstr("damaged PNG: "));
  Bytes huge = png;  // a header that claims 2^31 − 1 pixels a row
  const Bytes width = {0x7f, 0xff, 0xff, 0xff};
  std::copy(width.begin(), width.end(), huge.begin() + 16);
  EXPECT_THAT(corruption_of(huge), HasSubstr("damaged PNG: "));
  EXPECT_EQ(corruption_of(jpeg), "none");
}

Bytes resampled(const RgbImage& image, const Resize& resize) {
  Bytes out(3 * static_cast<std::size_t>(resize.window_height) *
            static_cast<std::size_t>(resize.window_width));
  Resampler().resample(image, resize, out.data());
  return out;
}

TEST(Resample, SameSizeIsTheCrop) {
  const RgbImage image = image_of(pattern(6, 8), 6, 8);
  const Bytes out = resampled(image, {{1, 2, 3, 4}, 3, 4, 0, 0, 3, 4});
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 3; ++c)
        EXPECT_EQ(out[static_cast<std::size_t>((y * 4 + x) * 3 + c)],
                  image.row(y + 1)[3 * (x + 2) + c]);
}

TEST(Resample, ConstantStaysConstantAtAnySize) {
  for (const int value : {0, 1, 77, 254, 255}) {
    const RgbImage image = image_of(Bytes(3 * 37 * 53, static_cast<std::uint8_t>(value)), 37, 53);
    for (const int size : {1, 7, 36, 53, 200}) {
      const Bytes out = resampled(image, {{0, 0, 37, 53}, size, size + 1, 0, 0, size, size + 1});
      EXPECT_EQ(out, Bytes(out.size(), static_cast<std::uint8_t>(value)));
    }
  }
}

TEST(Resample, HalvesUnderATriangleFourPixelsWide) {
  RgbImage image = image_of(Bytes(24, 0), 1, 8);
  for (std::size_t x = 0; x < 8; ++x) image.row(0)[3 * x] = static_cast<std::uint8_t>(x * 16);
  const Bytes out = resampled(image, {{0, 0, 1, 8}, 1, 4, 0, 0, 1, 4});
  // Weights 1/8, 3/8, 3/8, 1/8 in the middle; at the border 3/7, 3/7, 1/7 are left.
  EXPECT_EQ(out[3], 40);  // (1·16 + 3·32 + 3·48 + 1·64) / 8
  EXPECT_EQ(out[0], static_cast<int>(48.0 / 7 + 32.0 / 7 + 0.5));  // (3·0 + 3·16 + 1·32) / 7
}

/// Of pattern(9, 11), by Pillow 9.4: resize((4, 5), BILINEAR), and resize((3, 13), BILINEAR) of the
/// crop of 4 × 6 pixels at (1, 2), which enlarges one side and shrinks the other.
constexpr std::array kPillowWhole = {19, 69,  119, 51, 101, 151, 87,  137, 187, 119, 169, 219,
                                     30, 80,  130, 62, 112, 162, 98,  148, 198, 130, 180, 230,
                                     43, 93,  143, 75, 125, 175, 111, 161, 211, 143, 193, 189,
                                     56, 106, 156, 88, 138, 188, 124, 174, 221, 156, 206, 116,
                                     67, 117, 167, 99, 149, 199, 135, 185, 211, 167, 217, 66};
constexpr std::array kPillowCrop = {
    42,  92,  142, 66,  116, 166, 89,  139, 189, 42,  92,  142, 66,  116, 166, 89,  139,
    189, 44,  94,  144, 68,  118, 168, 91,  141, 191, 46,  96,  146, 70,  120, 170, 93,
    143, 193, 48,  98,  148, 72,  122, 172, 95,  145, 195, 50,  100, 150, 74,  124, 174,
    97,  147, 197, 53,  103, 153, 77,  127, 177, 100, 150, 200, 55,  105, 155, 79,  129,
    179, 102, 152, 202, 57,  107, 157, 81,  131, 181, 104, 154, 204, 59,  109, 159, 83,
    133, 183, 106, 156, 206, 61,  111, 161, 85,  135, 185, 108, 158, 208, 63,  113, 163,
    87,  137, 187, 110, 160, 210, 63,  113, 163, 87,  137, 187, 110, 160, 210};

TEST(Resample, IsPillowsWithinOneLevel) {
  const RgbImage image = image_of(pattern(9, 11), 9, 11);
  const auto compare = [](const Bytes& ours, const auto& theirs) {
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 1) << i;
  };
  compare(resampled(image, {{0, 0, 9, 11}, 5, 4, 0, 0, 5, 4}), kPillowWhole);
  compare(resampled(image, {{1, 2, 4, 6}, 13, 3, 0, 0, 13, 3}), kPillowCrop);
}

TEST(Resample, AWindowIsAPartOfTheWhole) {
  const RgbImage image = image_of(pattern(20, 30), 20, 30);
  const Bytes whole = resampled(image, {{0, 0, 20, 30}, 13, 17, 0, 0, 13, 17});
  const Bytes window = resampled(image, {{0, 0, 20, 30}, 13, 17, 4, 5, 6, 7});
  for (std::size_t y = 0; y < 6; ++y)
    for (std::size_t i = 0; i < 21; ++i)
      EXPECT_EQ(window[y * 21 + i], whole[(y + 4) * 51 + 15 + i]);
}

const std::array<const PixelLoops*, 2> kLoops = {&pixel_loops_baseline, &pixel_loops()};

Bytes random_bytes(std::size_t count, std::mt19937& random) {
  Bytes bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

/// Weights of all `size` source pixels for pixel i of `scaled`, as image_resample.h tells them.
std::vector<float> plain_weights(int i, int size, int scaled) {
  const double step = static_cast<double>(size) / scaled, center = (i + 0.5) * step;
  std::vector<double> exact;
  double sum = 0.0;
  for (int k = 0; k < size; ++k) {
    exact.push_back(std::max(0.0, 1.0 - std::abs(k + 0.5 - center) / std::max(step, 1.0)));
    sum += exact.back();
  }
  std::vector<float> weights;
  for (const double weight : exact) weights.push_back(static_cast<float>(weight / sum));
  return weights;
}

std::uint8_t rounded(float value) {
  return static_cast<std::uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
}

/// Pixel by pixel, over the whole box.
Bytes plainly_resampled(const RgbImage& image, const Resize& resize) {
  Bytes out;
  for (int y = resize.top; y < resize.top + resize.window_height; ++y)
    for (int x = resize.left; x < resize.left + resize.window_width; ++x)
      for (int c = 0; c < 3; ++c) {
        const std::vector<float> down = plain_weights(y, resize.box.height, resize.height);
        const std::vector<float> along = plain_weights(x, resize.box.width, resize.width);
        float sum = 0.0f;
        for (int k = 0; k < resize.box.width; ++k) {
          if (along[static_cast<std::size_t>(k)] == 0.0f) continue;
          float column = 0.0f;
          for (int j = 0; j < resize.box.height; ++j)
            column +=
                down[static_cast<std::size_t>(j)] *
                static_cast<float>(image.row(resize.box.top + j)[3 * (resize.box.left + k) + c]);
          sum += along[static_cast<std::size_t>(k)] * column;
        }
        out.push_back(rounded(sum));
      }
  return out;
}

TEST(Resample, EveryInstructionSetGivesTheBitsOfThePlainFormula) {
  std::mt19937 random(5);
  const auto up_to = [&random](int most) { return 1 + static_cast<int>(random() % most); };
  for (int i = 0; i < 120; ++i) {
    const int height = up_to(40), width = up_to(70);
    const std::size_t values =
        3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const RgbImage image = image_of(random_bytes(values, random), height, width);
    Resize resize;
    resize.box.height = up_to(height);
    resize.box.width = up_to(width);
    resize.box.top = up_to(height - resize.box.height + 1) - 1;
    resize.box.left = up_to(width - resize.box.width + 1) - 1;
    resize.height = up_to(i % 2 == 0 ? 60 : 12);  // larger, and much smaller
    resize.width = up_to(i % 3 == 0 ? 60 : 12);
    resize.window_height = up_to(resize.height);
    resize.window_width = up_to(resize.width);
    resize.top = up_to(resize.height - resize.window_height + 1) - 1;
    resize.left = up_to(resize.width - resize.window_width + 1) - 1;
    const Bytes plain = plainly_resampled(image, resize);
    for (const PixelLoops* loops : kLoops) {
      Bytes out(plain.size() + 1, 7);
      Resampler(*loops).resample(image, resize, out.data());
      EXPECT_EQ(out.back(), 7) << "wrote behind the window";
      out.pop_back();
      EXPECT_EQ(out, plain) << i;
    }
  }
}

/// The changes one after another, value by value.
Bytes plainly_adjusted(Bytes pixels, const ColorFactors& factors) {
  const auto luma = [&pixels](std::size_t i) {
    return (19595u * pixels[i] + 38470u * pixels[i + 1] + 7471u * pixels[i + 2]) / 65536.0;
  };
  const auto blend = [](std::uint8_t& value, float toward, float factor) {
    value = rounded(toward + factor * (static_cast<float>(value) - toward));
  };
  for (std::uint8_t& value : pixels) blend(value, 0.0f, factors.brightness);
  double sum = 0.0;
  for (std::size_t i = 0; i < pixels.size(); i += 3) sum += luma(i);
  const double mean = sum / (static_cast<double>(pixels.size()) / 3.0);
  for (std::uint8_t& value : pixels) blend(value, static_cast<float>(mean), factors.contrast);
  for (std::size_t i = 0; i < pixels.size(); i += 3) {
    const auto own = static_cast<float>(luma(i));
    for (std::size_t c = 0; c < 3; ++c) blend(pixels[i + c], own, factors.saturation);
  }
  return pixels;
}

TEST(Colors, EveryInstructionSetGivesTheBitsOfThePlainFormula) {
  std::mt19937 random(6);
  const auto factor = [&random] { return static_cast<float>(random() % 2001) / 1000.0f; };
  for (std::size_t count : {1u, 2u, 15u, 16u, 17u, 33u, 1000u, 5000u})
    for (int i = 0; i < 20; ++i) {
      const Bytes pixels = random_bytes(3 * count, random);
      const ColorFactors factors{factor(), i % 5 == 0 ? 1.0f : factor(), factor()};
      const Bytes plain = plainly_adjusted(pixels, factors);
      for (const PixelLoops* loops : kLoops) {
        Bytes out = pixels;
        adjust_colors(out.data(), count, factors, *loops);
        EXPECT_EQ(out, plain) << count << " " << i;
      }
    }
}

TEST(Colors, FactorsInClosedForm) {
  const Bytes pixels = {100, 50, 200, 0, 255, 10};
  const auto adjusted = [&](ColorFactors factors) {
    Bytes copy = pixels;
    adjust_colors(copy.data(), 2, factors);
    return copy;
  };
  EXPECT_EQ(adjusted({}), pixels);
  EXPECT_EQ(adjusted({1.5f, 1, 1}), (Bytes{150, 75, 255, 0, 255, 15}));
  EXPECT_EQ(adjusted({0, 1, 1}), Bytes(6, 0));
  const Bytes no_contrast = adjusted({1, 0, 1});  // everything is the mean luma, 116.4
  EXPECT_EQ(no_contrast, Bytes(6, 116));
  EXPECT_EQ(adjusted({1, 1, 0}),
            (Bytes{82, 82, 82, 151, 151, 151}));  // 0.299 R + 0.587 G + 0.114 B
}

TEST(Crops, EvaluationTakesTheMiddle) {
  ImagesConfig config;
  config.height = 8;
  config.width = 10;
  config.resize = 16;
  const Resize crop = evaluation_crop(20, 40, config);
  EXPECT_EQ(crop.height, 16);
  EXPECT_EQ(crop.width, 32);
  EXPECT_EQ(crop.top, 4);
  EXPECT_EQ(crop.left, 11);
  EXPECT_EQ(crop.window_height, 8);
  EXPECT_EQ(crop.window_width, 10);
}

TEST(Crops, TrainingKeepsAreaAndRatio) {
  ImagesConfig config;
  double least = 1.0, most = 0.0;
  for (std::uint32_t i = 0; i < 4000; ++i) {
    const Box box = training_crop(300, 400, config, 1, 2, i).box;
    EXPECT_TRUE(box.top >= 0 && box.left >= 0 && box.top + box.height <= 300 &&
                box.left + box.width <= 400);
    const double area = box.height * box.width / 120000.0;
    const double ratio = static_cast<double>(box.width) / box.height;
    EXPECT_NEAR(std::clamp(ratio, 0.75, 4.0 / 3.0), ratio, 0.02);  // sides are rounded
    least = std::min(least, area);
    most = std::max(most, area);
  }
  EXPECT_NEAR(least, 0.08, 0.01);
  EXPECT_GT(most, 0.95);
  config.crop_area = 1.0;  // does not fit a square share of a long image: the middle
  const Box middle = training_crop(100, 1000, config, 1, 0, 0).box;
  EXPECT_EQ(middle.height, 100);
  EXPECT_EQ(middle.width, 133);
  EXPECT_EQ(middle.left, 433);
}

// ---- Folders and packs.

/// Two classes with `per_class` training images of different sizes, and two test images each.
class ImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"ant", "bee"})
      for (int i = 0; i < 6; ++i) {
        const int height = 10 + 3 * i, width = name[0] == 'a' ? 12 : 20;
        Bytes pixels = pattern(height, width);
        for (std::uint8_t& v : pixels) v = static_cast<std::uint8_t>(v + 31 * i);
        write(fmt("train/%s/%d.%s", name, i, i % 2 == 0 ? "png" : "JPEG"),
              i % 2 == 0 ? png_of(pixels, height, width) : jpeg_of(pixels, height, width));
        if (i < 2) write(fmt("test/%s/%d.png", name, i, ""), png_of(pixels, height, width));
      }
  }
  template <class... Values>
  static std::string fmt(const char* format, Values... values) {
    std::array<char, 100> text{};
    std::snprintf(text.data(), text.size(), format, values...);
    return text.data();
  }
  void write(const std::string& name, const Bytes& bytes) {
    fs::create_directories((fs::path(folder()) / name).parent_path());
    folder_.write("images/" + name, bytes);
  }
  std::string folder() const { return folder_.path() + "/images"; }
  std::string pack_folder() const { return folder_.path() + "/pack"; }

  DataConfig config(const std::string& kind) const {
    DataConfig data;
    data.dataset = kind;
    data.path = kind == "packed" ? pack_folder() : folder();
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
    options.plan = {4, 1, false, static_cast<std::int64_t>(samples.size())};
    options.augment = AugmentConfig::from(data);
    options.total_steps = 2 * options.plan.steps_per_epoch();
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

  TemporaryFolder folder_;
};

TEST_F(ImagesTest, FolderIsListedByName) {
  write("train/ant/notes.txt", {'x'});
  write("train/ant/.hidden.png", {'x'});
  const Dataset dataset = load_dataset(config("image_folder"), 1, 4);
  EXPECT_EQ(dataset.train.labels, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(dataset.test.size(), 4u);
  EXPECT_EQ(dataset.train.classes, 2);
  EXPECT_EQ(dataset.train.height, 8);
  EXPECT_EQ(dataset.train.width, 6);
  EXPECT_EQ(dataset.train.channels, 3);
  EXPECT_EQ(dataset.train.stored->files->name(7), folder() + "/train/bee/1.JPEG");
  EXPECT_EQ(dataset.mean, (std::vector<float>{0.485f, 0.456f, 0.406f}));
  write("train/bee/6.png", png_of(pattern(4, 4), 4, 4));
  EXPECT_NE(load_dataset(config("image_folder"), 1, 4).fingerprint, dataset.fingerprint);
}

TEST_F(ImagesTest, FolderMistakesAreNamed) {
  const auto error = [&] { return input_error_of([&] { list_image_folder(folder()); }); };
  fs::create_directories(folder() + "/train/cat");
  EXPECT_THAT(error(), HasSubstr("images/train/cat: no images: expected files that end in .jpg"));
  write("train/cat/0.png", png_of(pattern(4, 4), 4, 4));
  EXPECT_EQ(error(), folder() + "/test: class \"cat\" of " + folder() +
                         "/train is missing; both splits need the same class folders");
  fs::remove_all(folder() + "/train/cat");
  fs::rename(folder() + "/test", folder() + "/val");
  EXPECT_EQ(error(), "no error");
  fs::remove_all(folder() + "/val");
  EXPECT_THAT(error(), HasSubstr("found no folder test or val"));
}

TEST_F(ImagesTest, SameImagesWhateverRanksThreadsAndForm) {
  pack_image_folder(folder(), pack_folder(), 1 << 16);
  DataConfig folder_config = config("image_folder"), threads = config("packed");
  threads.images.threads = 4;
  const std::vector<float> one = trained_on(folder_config, 1);
  EXPECT_EQ(one, trained_on(folder_config, 2));
  EXPECT_EQ(one, trained_on(config("packed"), 1));
  EXPECT_EQ(one, trained_on(threads, 1));
  EXPECT_EQ(one, trained_on(threads, 3));
  folder_config.augment.pop_back();
  EXPECT_NE(one, trained_on(folder_config, 1));
}

TEST_F(ImagesTest, SkippedImagesAreReplacedByTheNext) {
  DataConfig skip = config("image_folder");
  skip.images.corrupt = CorruptPolicy::skip;
  skip.augment.clear();
  write("train/ant/5.JPEG", {'x'});  // the last ant: the first bee takes its place, with its label
  const Dataset dataset = load_dataset(skip, 1, 4);
  const std::vector<std::uint32_t> all = {4, 5, 6, 7};
  Bytes replaced(dataset.train.image_size()), next(replaced.size());
  std::vector<CorruptImage> corrupt;
  ImageReader reader(*dataset.train.stored);
  EXPECT_EQ(reader.read(5, all, nullptr, replaced.data(), corrupt).sample, 6u);
  EXPECT_EQ(reader.read(6, all, nullptr, next.data(), corrupt).sample, 6u);
  EXPECT_EQ(replaced, next);
  EXPECT_EQ(
      corrupt,
      (std::vector<CorruptImage>{{folder() + "/train/ant/5.JPEG", "is neither JPEG nor PNG"}}));
  const std::vector<std::uint32_t> last = {3, 5};  // the first follows the last
  EXPECT_EQ(reader.read(5, last, nullptr, next.data(), corrupt).sample, 3u);
  const std::vector<std::uint32_t> alone = {5};
  EXPECT_FALSE(reader.read(5, alone, nullptr, next.data(), corrupt).usable);

  skip.augment = config("image_folder").augment;
  std::vector<CorruptImage> met;
  EXPECT_EQ(trained_on(skip, 1, &met), trained_on(skip, 3));
  EXPECT_EQ(met.size(), 2u);  // once in each epoch
}

TEST_F(ImagesTest, StopMakesTheBatchUnusable) {
  write("train/ant/0.png", {});
  std::vector<CorruptImage> met;
  trained_on(config("image_folder"), 2, &met);
  ASSERT_EQ(met.size(), 2u);
  EXPECT_EQ(corrupt_text(met[0]), folder() +
                                      "/train/ant/0.png: is empty; repair or remove it, or "
                                      "set data.images.corrupt: skip");
}

TEST_F(ImagesTest, EvaluationSkipsByTheSameRule) {
  write("test/ant/1.png", {'x'});
  DataConfig skip = config("image_folder");
  skip.images.corrupt = CorruptPolicy::skip;
  skip.images.threads = 3;
  const Dataset dataset = load_dataset(skip, 1, 4);
  const NormalizationTable table(dataset.mean, dataset.stddev);
  const std::vector<std::uint32_t> all = {0, 1, 2, 3};
  std::vector<float> memory(2 * 4 * dataset.test.image_size());
  EvalFeed feed(dataset.test, table, {all}, all, 4, memory.data());
  const EvalBatch& batch = feed.next();
  EXPECT_TRUE(batch.found.usable);
  ASSERT_EQ(batch.found.corrupt.size(), 1u);
  EXPECT_EQ(batch.found.corrupt[0].path, folder() + "/test/ant/1.png");
  EXPECT_EQ(batch.labels, (std::vector<std::int32_t>{0, 1, 1, 1}));
  const std::size_t size = dataset.test.image_size();
  EXPECT_TRUE(std::equal(batch.images + size, batch.images + 2 * size, batch.images + 2 * size));
}

TEST_F(ImagesTest, ImagesOfAPackAreTheSameInAnyOrder) {
  pack_image_folder(folder(), pack_folder(),
                    1 << 13);  // several shards, each smaller than a window
  const Dataset packed = load_dataset(config("packed"), 1, 4);
  const Dataset plain = load_dataset(config("image_folder"), 1, 4);
  ReadBuffer ahead, single;
  const auto expect_same = [&](std::uint32_t sample) {
    const auto ours = packed.train.stored->files->read(sample, ahead);
    const auto file = plain.train.stored->files->read(sample, single);
    EXPECT_TRUE(std::equal(ours.begin(), ours.end(), file.begin(), file.end())) << sample;
  };
  for (std::uint32_t i = 0; i < 12; ++i) expect_same(i);  // ahead, over shards
  for (std::uint32_t i = 12; i-- > 0;) expect_same(i);    // back, through what is held
  for (std::uint32_t i = 0; i < 60; ++i) expect_same(i * 7 % 12);
}

TEST_F(ImagesTest, APackThatChangesUnderARunIsNoticed) {
  pack_image_folder(folder(), pack_folder(), 1 << 20);
  const Dataset dataset = load_dataset(config("packed"), 1, 4);
  const std::string shard = pack_folder() + "/train-000000.tar";
  fs::resize_file(shard, fs::file_size(shard) / 2);  // the first images stay whole
  ReadBuffer buffer;
  const ImageFiles& files = *dataset.train.stored->files;
  EXPECT_FALSE(files.read(0, buffer).empty());
  EXPECT_FALSE(files.read(1, buffer).empty());
  try {
    files.read(11, buffer);
    ADD_FAILURE() << "no error";
  } catch (const CorruptImageError& error) {
    EXPECT_STREQ(error.what(), "cannot be read (the shard ends)");
  }
  EXPECT_FALSE(files.read(0, buffer).empty());
}

TEST_F(ImagesTest, PackIsWholeOrNotThere) {
  fs::create_directories(pack_folder() + ".partial");  // of a pack that was interrupted
  EXPECT_THAT(input_error_of([&] { load_dataset(config("packed"), 1, 4); }),
              HasSubstr("is no pack: there is no pack.index; make one with syncnorm pack"));
  const PackSummary pack = pack_image_folder(folder(), pack_folder(), 1 << 13);
  EXPECT_EQ(pack.train, 12u);
  EXPECT_EQ(pack.test, 4u);
  EXPECT_GT(pack.shards, 3u);
  EXPECT_FALSE(fs::exists(pack_folder() + ".partial"));
  EXPECT_THAT(input_error_of([&] { pack_image_folder(folder(), pack_folder(), 1 << 16); }),
              HasSubstr("exists; give a new folder, or remove it"));
}

TEST_F(ImagesTest, DamagedPacksAreNamed) {
  pack_image_folder(folder(), pack_folder(), 1 << 20);
  const std::string shard = pack_folder() + "/train-000000.tar";
  const Bytes whole = read_file(shard);
  Bytes flipped = whole;
  flipped[513] ^= 1;  // in the first image
  folder_.write("pack/train-000000.tar", flipped);
  std::vector<CorruptImage> met;
  trained_on(config("packed"), 1, &met);
  ASSERT_EQ(met.size(), 2u);
  EXPECT_EQ(met[0].path, shard + ", sample 000000");
  EXPECT_EQ(met[0].reason, "differs from what was packed: its checksum is wrong");
  folder_.write("pack/train-000000.tar", {whole.begin(), whole.end() - 1});
  EXPECT_THAT(input_error_of([&] { load_dataset(config("packed"), 1, 4); }),
              HasSubstr("bytes, as when it was packed, found"));
  fs::remove(shard);
  EXPECT_THAT(input_error_of([&] { load_dataset(config("packed"), 1, 4); }),
              HasSubstr(shard + ": shard: expected a readable file"));
}

TEST(PackIndex, ReadsBackAndRefusesDamage) {
  PackIndex index;
  index.classes = {"ant", "bee"};
  index.shards = {{"a.tar", 4096}};
  index.train = {{0, 1, 512, 100, 7}};
  index.test = {{0, 0, 1024, 3072, 8}};
  const auto parsed = [](const std::string& text) {
    return parse_pack_index({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, "i");
  };
  const auto error = [&](const PackIndex& bad) {
    return input_error_of([&] { parsed(pack_index_bytes(bad)); });
  };
  const PackIndex back = parsed(pack_index_bytes(index));
  EXPECT_EQ(back.classes, index.classes);
  EXPECT_EQ(back.shards[0].name, "a.tar");
  EXPECT_EQ(back.train[0].offset, 512u);
  EXPECT_EQ(back.test[0].checksum, 8u);
  PackIndex bad = index;
  bad.train[0].label = 2;
  EXPECT_THAT(error(bad), HasSubstr("has a label that is no class"));
  bad = index;
  bad.test[0].length = 3073;
  EXPECT_THAT(error(bad), HasSubstr("has a sample that lies outside its shard"));
  bad.test[0].offset = ~std::uint64_t{0};
  EXPECT_THAT(error(bad), HasSubstr("has a sample that lies outside its shard"));
  bad = index;
  bad.shards[0].name = "../a.tar";
  EXPECT_THAT(error(bad), HasSubstr("names a shard that is no file of its folder"));
  std::string damaged = pack_index_bytes(index), old = damaged;
  old.replace(old.find("\"format\":2"), 10, "\"format\":1");
  EXPECT_EQ(input_error_of([&] { parsed(old); }),
            "i: is of format 1; this program reads 2; make the pack anew with syncnorm pack");
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    std::string text = damaged;
    text[i] = static_cast<char>(text[i] ^ 4);
    EXPECT_NE(input_error_of([&] { parsed(text); }), "no error") << "byte " << i;
    EXPECT_NE(input_error_of([&] { parsed(damaged.substr(0, i)); }), "no error") << "cut at " << i;
  }
}

}  // namespace
}  // namespace syncnorm
