// Folders of images with masks: what is listed, every mistake by name, classes, and sizes.
#include "engine/data/segmentation_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/data/byte_reader.h"
#include "engine/data/image_header.h"
#include "tests/engine/data/pair_files.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::input_error_of;
using testing::mask_png_of;
using testing::pattern;
using testing::png_of;
namespace fs = std::filesystem;

constexpr const char* kExpected =
    "; expected a PNG with grey values or palette indices of at most 8 bits, each the label of its "
    "pixel";

class SegmentationFolderTest : public PairsTest {
 protected:
  std::string error() const {
    return input_error_of([&] { list_segmentation_folder(folder()); });
  }
  std::string loading_error(const DataConfig& data) const {
    return input_error_of([&] { load_dataset(data, 1, 2); });
  }
};

TEST_F(SegmentationFolderTest, PairsAreListedByName) {
  write("train/images/notes.txt", {'x'});
  write_text("README", "what it is");
  write_text("classes.txt", "sky\r\nsea\n\tsand \nsun\n\n\n");
  const Dataset dataset = load_dataset(config(), 1, 4);
  EXPECT_EQ(dataset.train.size(), 6u);
  EXPECT_EQ(dataset.test.size(), 2u);
  EXPECT_TRUE(dataset.train.per_pixel);
  EXPECT_EQ(dataset.train.classes, 4);
  EXPECT_EQ(dataset.class_names, (std::vector<std::string>{"sky", "sea", "\tsand ", "sun"}));
  EXPECT_EQ(dataset.train.labels, std::vector<std::int32_t>(6, 0));
  EXPECT_EQ(dataset.train.height, 8);
  EXPECT_EQ(dataset.train.stored->files->name(1), folder() + "/train/images/1.png");
  EXPECT_EQ(dataset.train.stored->files->mask_name(1), folder() + "/train/masks/1.png");
  EXPECT_EQ(dataset.notes,
            std::vector<std::string>{folder() + ": left out: 1 .txt file; for example " + folder() +
                                     "/train/images/notes.txt"});
  fs::rename(folder() + "/test", folder() + "/val");
  const Dataset renamed = load_dataset(config(), 1, 4);
  EXPECT_EQ(renamed.test.size(), 2u);
  EXPECT_EQ(renamed.fingerprint, dataset.fingerprint);
  write("train/masks/1.png", mask_png_of(Bytes(13 * 19), 13, 19));
  EXPECT_NE(load_dataset(config(), 1, 4).fingerprint, dataset.fingerprint);
}

TEST_F(SegmentationFolderTest, EveryBadMaskIsNamed) {
  const std::string train = folder() + "/train/", test = folder() + "/test/";
  fs::remove(train + "masks/0.png");
  write("train/masks/1.png", png_of(pattern(13, 19), 13, 19));
  write("train/masks/2.png", png_of(pattern(16, 18, 4), 16, 18, PNG_FORMAT_RGBA));
  write("train/masks/3.png", png_of(pattern(19, 17, 2), 19, 17, PNG_FORMAT_GA));
  write("train/masks/4.png", mask_png_of(Bytes(22 * 15), 22, 15));
  write("train/masks/5.png", mask_png_of(Bytes(2 * 25 * 15), 25, 15, 16));
  write("test/masks/0.png", testing::jpeg_of(pattern(9, 12), 9, 12));
  write("test/masks/1.png", {'x'});
  write("test/masks/extra.png", mask_png_of(Bytes(4), 2, 2));
  write("test/images/1.jpg", {'x'});
  EXPECT_EQ(error(),
            train + "images/0.png: has no mask; expected " + train + "masks/0.png\n  " +  //
                train + "masks/1.png: has RGB colors" + kExpected + "\n  " +              //
                train + "masks/2.png: has RGBA colors" + kExpected + "\n  " +             //
                train + "masks/3.png: has an alpha channel" + kExpected + "\n  " +        //
                train +
                "masks/4.png: is 15×22 pixels and its image 16×22; expected a label for every "
                "pixel of the image\n  " +  //
                train +
                "masks/5.png: has 16 bits" + kExpected + "\n  " +  //
                test +
                "images/1.png: has the name of 1.jpg, and a mask belongs to one image; rename "
                "or remove one\n  " +  //
                test +
                "masks/0.png: is a JPEG, which does not keep labels" + kExpected + "\n  " +  //
                test + "masks/1.png: is no PNG" + kExpected + "\n  " +                       //
                test + "masks/extra.png: has no image; expected " + test +
                "images/extra.jpg (or .png)");
  write("test/masks/more.png", mask_png_of(Bytes(4), 2, 2));
  EXPECT_THAT(error(), HasSubstr("extra.png: has no image"));
  EXPECT_THAT(error(), HasSubstr("\n  and 1 more"));
}

TEST_F(SegmentationFolderTest, WhatIsNoSuchFolder) {
  write("pack.index", {'x'});
  EXPECT_EQ(error(), "no error");
  fs::remove_all(folder() + "/test/masks");
  EXPECT_EQ(error(), folder() + "/test: there is no folder masks; expected images and masks");
  fs::rename(folder() + "/train", folder() + "/training");
  EXPECT_EQ(error(), folder() + ": is a pack, not a folder of images; set data.dataset: packed");
  fs::remove(folder() + "/pack.index");
  EXPECT_EQ(error(),
            folder() +
                ": expected train/images/NAME.jpg, train/masks/NAME.png, and the same in "
                "test (or val), found no folder train; it has training: rename it to train");
  fs::rename(folder() + "/training", folder() + "/train");
  fs::remove_all(folder() + "/test");
  fs::create_directories(folder() + "/test/images");
  fs::create_directories(folder() + "/test/masks");
  EXPECT_EQ(error(), folder() +
                         "/test: no images: expected files that end in .jpg, .jpeg, .jfif or .png "
                         "in images, and .png in masks");
  DataConfig as_classes = config(DatasetKind::image_folder);
  EXPECT_EQ(loading_error(as_classes),
            folder() +
                "/train: has images and masks, not a folder for each class; set "
                "data.dataset: segmentation_folder");
}

TEST_F(SegmentationFolderTest, ClassesAreNamedGivenOrCounted) {
  const Dataset counted = load_dataset(config(), 1, 2);
  EXPECT_EQ(counted.train.classes, 4);
  EXPECT_EQ(counted.test.classes, 4);
  EXPECT_TRUE(counted.class_names.empty());
  EXPECT_EQ(counted.notes, std::vector<std::string>{
                               folder() + ": 4 classes, found by reading all 8 masks; name them in "
                                          "classes.txt, one a line, to start faster"});
  DataConfig data = config();
  data.masks.classes = 9;
  const Dataset given = load_dataset(data, 1, 2);
  EXPECT_EQ(given.train.classes, 9);
  EXPECT_TRUE(given.notes.empty());
  write_text("classes.txt", "a\nb\nc\nd\n");
  EXPECT_EQ(loading_error(data),
            "data.masks.classes: 9, but the data set names 4 classes; leave it out, or correct "
            "classes.txt");
  data.masks.classes = 4;
  EXPECT_EQ(loading_error(data), "no error");
  const std::string file = folder() + "/classes.txt";
  write_text("classes.txt", "a\n\nc\nd\n");
  EXPECT_EQ(error(), file + ": line 2 is blank; expected the name of class 1");
  write_text("classes.txt", "a\n");
  EXPECT_EQ(error(), file + ": has 1 names; expected 2 to 254, one a line");
  std::string many;
  for (int i = 0; i < 255; ++i) many += "x\n";
  write_text("classes.txt", many);
  EXPECT_EQ(error(), file + ": has 255 names; expected 2 to 254, one a line");
}

TEST_F(SegmentationFolderTest, CountingNamesBadLabels) {
  Bytes labels(10 * 20, 1);
  labels[3 * 20 + 7] = 254;
  labels[9 * 20] = 255;
  write("train/masks/0.png", mask_png_of(labels, 10, 20));
  Bytes cut = mask_png_of(Bytes(13 * 19), 13, 19);
  cut.resize(60);
  write("train/masks/1.png", cut);
  const std::string masks = folder() + "/train/masks/";
  EXPECT_EQ(loading_error(config()),
            masks +
                "0.png: has label 254 at x = 7, y = 3, but there are 254 classes: expected 0 to "
                "253, or 255 where the pixel is to be ignored\n  " +
                masks + "1.png: damaged PNG: the file ends early");
  DataConfig data = config();
  data.images.corrupt = CorruptPolicy::skip;
  EXPECT_EQ(load_dataset(data, 1, 2).train.classes, 4);
  data.masks.ignore_label = 254;
  write("train/masks/1.png", mask_png_of(Bytes(13 * 19), 13, 19));
  data.images.corrupt = CorruptPolicy::stop;
  EXPECT_THAT(loading_error(data), HasSubstr("has label 255 at x = 0, y = 9"));
  for (const char* split : {"train", "test"})
    for (const auto& entry : fs::directory_iterator(folder() + "/" + split + "/masks")) {
      const ImageHeader header = read_image_header(entry.path());
      const std::string name = entry.path().filename().string();
      write(std::string(split) + "/masks/" + name,
            mask_png_of(Bytes(static_cast<std::size_t>(header.height * header.width)),
                        header.height, header.width));
    }
  EXPECT_EQ(loading_error(config()),
            folder() + ": its masks have no label but 0; expected at least two classes");
}

TEST_F(SegmentationFolderTest, EvaluationsHaveRoomForEveryImage) {
  DataConfig data = config();  // test images of 9×12 and 14×12, training images up to 25×20
  Dataset dataset = load_dataset(data, 1, 2);
  EXPECT_EQ(dataset.test.evaluation_height(), 32);
  EXPECT_EQ(dataset.test.evaluation_width(), 16);  // as in training, which is enough
  EXPECT_EQ(dataset.train.evaluation_height(), 32);
  EXPECT_EQ(dataset.test.evaluation_size(), 32u * 16u * 3u);
  data.validation = 1;
  EXPECT_EQ(load_dataset(data, 1, 2).test.evaluation_width(), 32);
  write_pair("test", 1, 40, 300);
  dataset = load_dataset(data, 1, 2);
  EXPECT_EQ(dataset.train.evaluation_height(), 64);
  EXPECT_EQ(dataset.train.evaluation_width(), 320);
  data.images.evaluation_limit = 24;
  EXPECT_EQ(loading_error(data),
            folder() +
                "/test/images/1.png: is 300×40 pixels, and evaluations read whole images; scale it "
                "and its mask to at most 24 along a side, or set data.images.evaluation_limit: "
                "300\n  " +
                folder() +
                "/train/images/5.png: is 15×25 pixels, and evaluations read whole images; scale it "
                "and its mask to at most 24 along a side, or set data.images.evaluation_limit: 25");
}

TEST(ImageHeader, SaysWhatDecodingFinds) {
  const testing::TemporaryFolder folder;
  const auto header_of = [&](const Bytes& bytes) {
    return read_image_header(folder.write("image", bytes));
  };
  const ImageHeader png = header_of(mask_png_of(Bytes(5 * 7), 5, 7, 4, PNG_COLOR_TYPE_PALETTE));
  EXPECT_EQ(png.format, ImageHeader::Format::png);
  EXPECT_EQ(std::pair(png.height, png.width), std::pair(5, 7));
  EXPECT_EQ(png.bit_depth, 4);
  const Bytes jpeg = testing::jpeg_of(pattern(11, 13), 11, 13);
  const ImageHeader plain = header_of(jpeg);
  EXPECT_EQ(plain.format, ImageHeader::Format::jpeg);
  EXPECT_EQ(std::pair(plain.height, plain.width), std::pair(11, 13));
  // Behind profiles of 200 KB, and filling bytes.
  Bytes profile = {0xff, 0xff, 0xff, 0xe2, 0xff, 0xff};
  profile.resize(4 + 65535, 0xff);
  Bytes large(jpeg.begin(), jpeg.begin() + 2);
  for (int i = 0; i < 3; ++i) large.insert(large.end(), profile.begin(), profile.end());
  large.insert(large.end(), jpeg.begin() + 2, jpeg.end());
  RgbImage decoded;
  ImageDecoder().decode(large, decoded);
  EXPECT_EQ(decoded.height(), 11);
  EXPECT_EQ(header_of(large).height, 11);
  for (std::size_t size = 0; size < jpeg.size(); ++size)  // never a size that is not there
    EXPECT_THAT(parse_image_header({jpeg.data(), size}).height, ::testing::AnyOf(0, 11));
  EXPECT_EQ(header_of({}).format, ImageHeader::Format::unknown);
  EXPECT_THROW(read_image_header(folder.path() + "/none"), ReadError);
}

}  // namespace
}  // namespace syncnorm
