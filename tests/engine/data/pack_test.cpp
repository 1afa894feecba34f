// Packs: the same images as the folder's, in any order, and damage that is found.
#include "engine/data/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/data/byte_reader.h"
#include "engine/data/content_hash.h"
#include "engine/data/pack_index.h"
#include "tests/engine/data/image_files.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::input_error_of;
using testing::pattern;
using testing::png_of;
namespace fs = std::filesystem;

TEST_F(ImagesTest, ImagesOfAPackAreTheSameInAnyOrder) {
  pack_image_folder(folder(), pack_folder(),
                    1 << 13);  // several shards, each smaller than a window
  const Dataset packed = load_dataset(config(DatasetKind::packed), 1, 4);
  const Dataset plain = load_dataset(config(DatasetKind::image_folder), 1, 4);
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
  const Dataset dataset = load_dataset(config(DatasetKind::packed), 1, 4);
  const std::string shard = pack_folder() + "/train-000000.tar";
  fs::resize_file(shard, fs::file_size(shard) / 2);  // the first images stay whole
  ReadBuffer buffer;
  const ImageFiles& files = *dataset.train.stored->files;
  EXPECT_FALSE(files.read(0, buffer).empty());
  EXPECT_FALSE(files.read(1, buffer).empty());
  try {
    files.read(11, buffer);
    ADD_FAILURE() << "no error";
  } catch (const ReadError& error) {
    EXPECT_EQ(error.what(),
              shard + ": cannot be read: the shard ends early: it was cut off meanwhile");
  }
  EXPECT_FALSE(files.read(0, buffer).empty());
}

TEST_F(ImagesTest, PackIsWholeOrNotThere) {
  fs::create_directories(pack_folder() + ".partial");  // of a pack that was interrupted
  EXPECT_THAT(input_error_of([&] { load_dataset(config(DatasetKind::packed), 1, 4); }),
              HasSubstr("pack: is no pack: there is no pack.index (there is no such folder); make "
                        "one with syncnorm pack"));
  DataConfig not_packed = config(DatasetKind::packed);
  not_packed.path = folder();
  EXPECT_EQ(
      input_error_of([&] { load_dataset(not_packed, 1, 4); }),
      folder() +
          ": is no pack: there is no pack.index (it has only test/ and train/); make one with "
          "syncnorm pack, or set data.dataset: image_folder");
  folder_.write(std::string("other/") + kPackIndexName, {'x'});
  EXPECT_EQ(input_error_of([&] { pack_image_folder(folder_.path() + "/other", pack_folder(), 1); }),
            folder_.path() + "/other: is a pack, not a folder of images; set data.dataset: packed");
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
  trained_on(config(DatasetKind::packed), 1, &met);
  ASSERT_EQ(met.size(), 2u);
  EXPECT_EQ(met[0].path, shard + ", sample 000000");
  EXPECT_EQ(met[0].reason, "differs from what was packed: its checksum is wrong");
  folder_.write("pack/train-000000.tar", {whole.begin(), whole.end() - 1});
  EXPECT_THAT(input_error_of([&] { load_dataset(config(DatasetKind::packed), 1, 4); }),
              HasSubstr("bytes, as when it was packed, found"));
  fs::remove(shard);
  EXPECT_THAT(input_error_of([&] { load_dataset(config(DatasetKind::packed), 1, 4); }),
              HasSubstr(shard + ": cannot be read: No such file or directory"));
}

TEST_F(ImagesTest, APackHasTheIdentityOfItsFolderAndOfItsImages) {
  const std::string of_folder = load_dataset(config(DatasetKind::image_folder), 1, 4).fingerprint;
  pack_image_folder(folder(), pack_folder(), 1 << 20);
  const Dataset one = load_dataset(config(DatasetKind::packed), 1, 4);
  EXPECT_EQ(one.folder_fingerprint, of_folder);
  EXPECT_NE(one.fingerprint, of_folder);
  fs::remove_all(pack_folder());
  pack_image_folder(folder(), pack_folder(), 1 << 13);  // other shards
  EXPECT_EQ(load_dataset(config(DatasetKind::packed), 1, 4).fingerprint, one.fingerprint);
  Bytes image = read_file(folder() + "/train/bee/4.png");  // of the same size
  image[image.size() - 1] ^= 1;
  write("train/bee/4.png", image);
  fs::remove_all(pack_folder());
  pack_image_folder(folder(), pack_folder(), 1 << 13);
  const Dataset other = load_dataset(config(DatasetKind::packed), 1, 4);
  EXPECT_EQ(other.folder_fingerprint, of_folder);
  EXPECT_NE(other.fingerprint, one.fingerprint);
}

TEST_F(ImagesTest, APackOfAnEarlierVersionIsRead) {
  pack_image_folder(folder(), pack_folder(), 1 << 20);
  const std::string path = pack_folder() + "/" + kPackIndexName;
  PackIndex index = parse_pack_index(read_file(path), path);
  index.folder_fingerprint.clear();
  const std::string text = pack_index_bytes(index);
  const Bytes bytes(text.begin(), text.end());
  folder_.write(std::string("pack/") + kPackIndexName, bytes);
  const Dataset dataset = load_dataset(config(DatasetKind::packed), 1, 4);
  EXPECT_EQ(dataset.folder_fingerprint, "");
  std::array<char, 17> hash{};
  std::snprintf(hash.data(), hash.size(), "%016llx",
                static_cast<unsigned long long>(content_hash(bytes)));
  EXPECT_EQ(dataset.fingerprint, hash.data());  // as its checkpoints have it
}

TEST_F(ImagesTest, PackingTellsWhatItLeftOutAndStopsAtWhatItCannotRead) {
  write("train/ant/x.gif", {'x'});
  write("train/ant/a.Png", png_of(pattern(4, 4), 4, 4));
  const PackSummary pack = pack_image_folder(folder(), pack_folder(), 1 << 20);
  EXPECT_EQ(pack.classes, 2u);
  EXPECT_EQ(pack.left_out, "left out: 1 .gif file (neither JPEG nor PNG); for example " + folder() +
                               "/train/ant/x.gif");
  const Bytes tar = read_file(pack_folder() + "/train-000000.tar");
  const std::string text(tar.begin(), tar.end());
  EXPECT_NE(text.find("000006.png"), std::string::npos);
  fs::remove_all(pack_folder());
  fs::permissions(folder() + "/train/bee/3.JPEG", fs::perms::none);
  fs::permissions(folder_.path(), fs::perms{0777});
  const testing::WithoutRights without(folder());
  EXPECT_EQ(input_error_of([&] { pack_image_folder(folder(), pack_folder(), 1 << 20); }),
            folder() + "/train/bee/3.JPEG: cannot be read: Permission denied");
  EXPECT_FALSE(fs::exists(pack_folder()));
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
  index.folder_fingerprint = "0123456789abcdef";
  const PackIndex back = parsed(pack_index_bytes(index));
  EXPECT_EQ(back.folder_fingerprint, "0123456789abcdef");
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
            "i: is of format 1; this program reads 2 and 3; make the pack anew with syncnorm pack");
  for (std::size_t i = 0; i < damaged.size(); ++i) {
    std::string text = damaged;
    text[i] = static_cast<char>(text[i] ^ 4);
    EXPECT_NE(input_error_of([&] { parsed(text); }), "no error") << "byte " << i;
    EXPECT_NE(input_error_of([&] { parsed(damaged.substr(0, i)); }), "no error") << "cut at " << i;
  }
}

}  // namespace
}  // namespace syncnorm
