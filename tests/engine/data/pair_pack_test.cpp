// Packs of images with masks: the same samples as the folder's, label mistakes named at once, and
// an index that says when it is damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "engine/data/byte_reader.h"
#include "engine/data/loader.h"
#include "engine/data/pack.h"
#include "engine/data/pack_index.h"
#include "tests/engine/data/pair_files.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::input_error_of;
using testing::mask_png_of;
namespace fs = std::filesystem;

class PairPackTest : public PairsTest {
 protected:
  PackSummary pack(std::uint64_t shard_bytes = 1 << 13, int ignore_label = 255) const {
    fs::remove_all(pack_folder());
    return pack_segmentation_folder(folder(), pack_folder(), shard_bytes, ignore_label);
  }
  std::string pack_error(int ignore_label = 255) const {
    return input_error_of([&] { pack(1 << 13, ignore_label); });
  }
};

TEST_F(PairPackTest, HasTheSamplesOfItsFolderInAnyOrder) {
  const PackSummary summary = pack();
  EXPECT_EQ(summary.train, 6u);
  EXPECT_EQ(summary.test, 2u);
  EXPECT_EQ(summary.classes, 4u);
  EXPECT_GT(summary.shards, 1u);
  EXPECT_TRUE(summary.per_pixel);
  DataConfig of_folder = config(), of_pack = config(DatasetKind::packed);
  for (DataConfig* data : {&of_folder, &of_pack}) data->validation = 2;
  const Dataset plain = load_dataset(of_folder, 1, 2), packed = load_dataset(of_pack, 1, 2);
  EXPECT_TRUE(packed.train.per_pixel);
  EXPECT_EQ(packed.train.classes, 4);
  EXPECT_EQ(packed.train.evaluation_height(), plain.train.evaluation_height());
  EXPECT_EQ(packed.train.evaluation_width(), plain.train.evaluation_width());
  EXPECT_EQ(packed.folder_fingerprint, plain.fingerprint);
  ReadBuffer ahead, single;
  const auto bytes = [](std::span<const std::uint8_t> read) {
    return Bytes(read.begin(), read.end());
  };
  const auto expect_same = [&](std::uint32_t sample) {
    const ImageFiles &ours = *packed.train.stored->files, &files = *plain.train.stored->files;
    EXPECT_EQ(bytes(ours.read(sample, ahead)), bytes(files.read(sample, single))) << sample;
    EXPECT_EQ(bytes(ours.read_mask(sample, ahead)), bytes(files.read_mask(sample, single)));
  };
  for (std::uint32_t i = 0; i < 6; ++i) expect_same(i);
  for (std::uint32_t i = 6; i-- > 0;) expect_same(i);
  for (std::uint32_t i = 0; i < 30; ++i) expect_same(i * 5 % 6);
}

TEST_F(PairPackTest, NamesOfClassesAndTheIgnoredLabelComeAlong) {
  EXPECT_TRUE((pack(), load_dataset(config(DatasetKind::packed), 1, 2)).class_names.empty());
  write_text("classes.txt", "a\nb\nc\nd\n");
  pack(1 << 20, 3);
  const Dataset named = load_dataset(config(DatasetKind::packed), 1, 2);
  EXPECT_EQ(named.class_names, (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(named.train.stored->masks->ignore_label, 3);
  DataConfig other = config(DatasetKind::packed);
  other.masks.ignore_label = 3;
  EXPECT_EQ(input_error_of([&] { load_dataset(other, 1, 2); }), "no error");
  other.masks.ignore_label = 4;
  EXPECT_EQ(input_error_of([&] { load_dataset(other, 1, 2); }),
            "data.masks.ignore_label: 4, but " + pack_folder() +
                " was packed with 3; leave it out, or pack anew with --ignore-label 4");
  other = config(DatasetKind::packed);
  other.masks.classes = 5;
  EXPECT_EQ(input_error_of([&] { load_dataset(other, 1, 2); }),
            "data.masks.classes: 5, but " + pack_folder() + " has 4; leave it out");
  other = config(DatasetKind::packed);
  other.augment = {AugmentKind::random_resized_crop, AugmentKind::random_crop};
  EXPECT_THAT(input_error_of([&] { load_dataset(other, 1, 2); }),
              HasSubstr("data.augment: with masks, random_resized_crop chooses scale and place"));
  other.augment.clear();
  other.images.evaluation_limit = 10;
  EXPECT_THAT(input_error_of([&] { load_dataset(other, 1, 2); }),
              HasSubstr(pack_folder() + ", test sample 000000: is 12×9 pixels, and evaluations"));
}

TEST_F(PairPackTest, LabelMistakesAreNamedAllAtOnce) {
  write_text("classes.txt", "a\nb\nc\nd\n");
  Bytes labels(13 * 19, 1);
  labels[40] = 9;
  write("train/masks/1.png", mask_png_of(labels, 13, 19));
  Bytes cut = mask_png_of(Bytes(9 * 12), 9, 12);
  cut.resize(50);
  write("test/masks/0.png", cut);
  EXPECT_EQ(pack_error(),
            folder() +
                "/train/masks/1.png: has label 9 at x = 2, y = 2, but there are 4 classes: "
                "expected 0 to 3, or 255 where the pixel is to be ignored\n  " +
                folder() + "/test/masks/0.png: damaged PNG: the file ends early");
  EXPECT_FALSE(fs::exists(pack_folder()));
  EXPECT_FALSE(fs::exists(pack_folder() + ".partial"));
  write("test/masks/0.png", mask_png_of(Bytes(9 * 12), 9, 12));
  EXPECT_EQ(pack_error(9), "no error");
}

TEST_F(PairPackTest, AChangedMaskIsNoticed) {
  pack(1 << 20);
  const std::string shard = pack_folder() + "/train-000000.tar";
  const Bytes whole = read_file(shard);
  const std::string path = pack_folder() + "/" + kPackIndexName;
  const PackIndex index = parse_pack_index(read_file(path), path);
  ASSERT_GT(index.train[2].mask_length, 0u);
  Bytes flipped = whole;
  flipped[index.train[2].mask_offset + index.train[2].mask_length - 1] ^= 1;
  folder_.write("pack/train-000000.tar", flipped);
  const Dataset dataset = load_dataset(config(DatasetKind::packed), 1, 2);
  ImageReader reader(*dataset.train.stored);
  const std::vector<std::uint32_t> all = {0, 1, 2, 3, 4, 5};
  const Augmentation none;
  Bytes pixels(dataset.train.image_size()), mask(dataset.train.mask_size());
  std::vector<CorruptImage> corrupt;
  for (const std::uint32_t sample : all)
    EXPECT_EQ(reader.read(sample, all, &none, pixels.data(), mask.data(), corrupt).usable,
              sample != 2);
  ASSERT_EQ(corrupt.size(), 1u);
  EXPECT_EQ(corrupt[0].path, shard + ", sample 000002");
  EXPECT_EQ(corrupt[0].reason,
            "its mask 000002.mask.png differs from what was packed: its checksum is wrong");
}

TEST(PairIndex, ReadsBackAndRefusesDamage) {
  PackIndex index;
  index.per_pixel = true;
  index.class_count = 7;
  index.ignore_label = 9;
  index.shards = {{"a.tar", 8192}};
  index.train = {{0, 0, 512, 100, 7, 1536, 60, 8, 11, 13}};
  index.test = {{0, 0, 1024, 3072, 8, 4608, 3584, 9, 0, 0}};
  const auto parsed = [](const std::string& text) {
    return parse_pack_index({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, "i");
  };
  const auto error = [&](const PackIndex& bad) {
    return input_error_of([&] { parsed(pack_index_bytes(bad)); });
  };
  const PackIndex back = parsed(pack_index_bytes(index));
  EXPECT_TRUE(back.per_pixel);
  EXPECT_EQ(back.class_count, 7);
  EXPECT_EQ(back.ignore_label, 9);
  EXPECT_EQ(back.train, index.train);
  EXPECT_EQ(back.test, index.test);
  const auto broken = [&](auto change) {
    PackIndex bad = index;
    change(bad);
    return error(bad);
  };
  EXPECT_THAT(broken([](PackIndex& i) { i.class_count = 255; }), HasSubstr("number of classes"));
  EXPECT_THAT(broken([](PackIndex& i) { i.classes = {"a"}; }), HasSubstr("number of classes"));
  EXPECT_THAT(broken([](PackIndex& i) { i.ignore_label = 256; }), HasSubstr("is no label"));
  EXPECT_THAT(broken([](PackIndex& i) { i.train[0].label = 7; }), HasSubstr("is no class"));
  EXPECT_THAT(broken([](PackIndex& i) { i.train[0].mask_offset = 611; }),
              HasSubstr("has a mask that does not follow its image"));
  EXPECT_THAT(broken([](PackIndex& i) { i.train[0].mask_offset = 512 + 100 + 4097; }),
              HasSubstr("has a mask that does not follow its image"));
  EXPECT_THAT(broken([](PackIndex& i) { i.test[0].mask_length = 3585; }),
              HasSubstr("has a mask that lies outside its shard"));
  EXPECT_THAT(broken([](PackIndex& i) { i.train[0].height = 40000; }),
              HasSubstr("has an image of an impossible size"));
  const std::string whole = pack_index_bytes(index);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string text = whole;
    text[i] = static_cast<char>(text[i] ^ 4);
    EXPECT_NE(input_error_of([&] { parsed(text); }), "no error") << "byte " << i;
    EXPECT_NE(input_error_of([&] { parsed(whole.substr(0, i)); }), "no error") << "cut at " << i;
  }
}

}  // namespace
}  // namespace syncnorm
