// Folders of images: what is listed, what is left out and told, what is a mistake.
#include "engine/data/image_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/engine/data/image_files.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::input_error_of;
using testing::pattern;
using testing::png_of;
namespace fs = std::filesystem;

TEST_F(ImagesTest, FolderIsListedByName) {
  write("train/ant/notes.txt", {'x'});
  write("train/ant/.hidden.png", {'x'});
  const Dataset dataset = load_dataset(config(DatasetKind::image_folder), 1, 4);
  EXPECT_EQ(dataset.train.labels, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(dataset.test.size(), 4u);
  EXPECT_EQ(dataset.train.classes, 2);
  EXPECT_EQ(dataset.train.height, 8);
  EXPECT_EQ(dataset.train.width, 6);
  EXPECT_EQ(dataset.train.channels, 3);
  EXPECT_EQ(dataset.train.stored->files->name(7), folder() + "/train/bee/1.JPEG");
  EXPECT_EQ(dataset.mean, (std::vector<float>{0.485f, 0.456f, 0.406f}));
  write("train/bee/6.png", png_of(pattern(4, 4), 4, 4));
  EXPECT_NE(load_dataset(config(DatasetKind::image_folder), 1, 4).fingerprint, dataset.fingerprint);
}

class FolderTest : public ImagesTest {
 protected:
  std::string error() const {
    return input_error_of([&] { list_image_folder(folder()); });
  }
  std::string left_out() const { return list_image_folder(folder()).left_out.text(); }
  void link(const std::string& to, const std::string& name) const {
    fs::create_symlink(to, folder() + "/" + name);
  }
};

TEST_F(FolderTest, MistakesAreNamed) {
  fs::create_directories(folder() + "/train/cat");
  const std::string no_images =
      folder() +
      "/train/cat: no images: expected files that end in .jpg, .jpeg, .jfif or .png; remove the "
      "folder if it is no class";
  const std::string no_class = folder() + "/test: class \"cat\" of " + folder() +
                               "/train is missing; both splits need the same class folders";
  EXPECT_EQ(error(), no_images + "\n  " + no_class);
  write("train/cat/0.webp", {'x'});
  write("train/cat/deep/0.jpg", {'x'});
  EXPECT_EQ(error(), no_images + " (left out: 1 .webp file (neither JPEG nor PNG) and 1 folder " +
                         "inside a class; for example " + folder() + "/train/cat/0.webp)\n  " +
                         no_class);
  write("train/cat/0.png", png_of(pattern(4, 4), 4, 4));
  EXPECT_EQ(error(), no_class);
  fs::remove_all(folder() + "/train/cat");
  write("test/gnu/0.png", png_of(pattern(4, 4), 4, 4));
  EXPECT_EQ(error(), folder() + "/train: class \"gnu\" of " + folder() +
                         "/test is missing; both splits need the same class folders");
  fs::remove_all(folder() + "/test/gnu");
  fs::rename(folder() + "/test", folder() + "/val");
  EXPECT_EQ(error(), "no error");
  fs::rename(folder() + "/val", folder() + "/validation");
  EXPECT_EQ(error(), folder() +
                         ": expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val), found no "
                         "folder test or val; it has validation: rename it to val");
  fs::remove_all(folder() + "/train");
  fs::create_directories(folder() + "/train");
  fs::rename(folder() + "/validation", folder() + "/val");
  EXPECT_THAT(error(), HasSubstr(folder() + "/train: no classes: expected a folder of images"));
  fs::remove_all(folder());
  EXPECT_EQ(error(), folder() + ": cannot be listed: No such file or directory");
}

TEST_F(FolderTest, ImagesAreKnownByTheirNames) {
  const Bytes jpeg = testing::jpeg_of(pattern(8, 8), 8, 8);
  for (const char* name : {"a.jfif", "b.JFIF", "c.Jpg", "d.jpeg", "e.v2.PNG"})
    write(std::string("test/ant/") + name, jpeg);
  const FolderListing listing = list_image_folder(folder());
  std::vector<std::string> names;
  for (const ImageListing::File& file : listing.test.files) names.push_back(file.name);
  EXPECT_EQ(names, (std::vector<std::string>{"ant/0.png", "ant/1.png", "ant/a.jfif", "ant/b.JFIF",
                                             "ant/c.Jpg", "ant/d.jpeg", "ant/e.v2.PNG", "bee/0.png",
                                             "bee/1.png"}));
  EXPECT_EQ(listing.left_out.text(), "");
}

TEST_F(FolderTest, WhatIsLeftOutIsCountedByKind) {
  EXPECT_EQ(left_out(), "");
  write("train/ant/.DS_Store", {'x'});
  EXPECT_EQ(left_out(),
            "left out: 1 hidden file; for example " + folder() + "/train/ant/.DS_Store");
  write("train/ant/Thumbs.db", {'x'});
  write("train/bee/Thumbs.db", {'x'});
  write("train/ant/deep.jpg/1.jpg", {'x'});
  write("test/bee/x.WEBP", {'x'});
  write("test/ant/.cache/x", {'x'});
  EXPECT_EQ(left_out(),
            "left out: 1 .webp file (neither JPEG nor PNG), 2 .db files, 1 folder inside a class, "
            "1 hidden file and 1 hidden folder; for example " +
                folder() + "/test/bee/x.WEBP");
  write("train/1.jpg", {'x'});
  write("val/ant/1.jpg", {'x'});
  write("test/LICENSE", {'x'});
  link("nowhere", "train/ant/notes");
  ASSERT_EQ(mkfifo((folder() + "/train/ant/pipe.jpg").c_str(), 0600), 0);
  EXPECT_EQ(
      left_out(),
      "left out: 1 .webp file (neither JPEG nor PNG), 2 .db files, 1 dangling link, 1 file of "
      "another name, 1 folder beside train and test, 1 folder inside a class, 1 hidden file, "
      "1 hidden folder and 2 others; for example " +
          folder() + "/test/bee/x.WEBP");
  const Dataset dataset = load_dataset(config(DatasetKind::image_folder), 1, 4);
  EXPECT_EQ(dataset.train.size(), 12u);
  EXPECT_EQ(dataset.notes, std::vector<std::string>{folder() + ": " + left_out()});
  EXPECT_EQ(summary(dataset), "image_folder: 12 training and 4 test images of 2 classes");
}

TEST_F(FolderTest, NamesAreQuoted) {
  write("train/ant/\x1b[2J.\x1b[1m", {'x'});
  EXPECT_EQ(left_out(),
            "left out: 1 .\\x1b[1m file; for example " + folder() + "/train/ant/\\x1b[2J.\\x1b[1m");
}

TEST_F(FolderTest, LinksAreFollowed) {
  fs::rename(folder() + "/train/ant", folder_.path() + "/ants");
  link(folder_.path() + "/ants", "train/ant");
  link(folder_.path() + "/ants/0.png", "test/ant/linked.png");
  const FolderListing listing = list_image_folder(folder());
  EXPECT_EQ(listing.train.files.size(), 12u);
  EXPECT_EQ(listing.test.files.size(), 5u);
  EXPECT_EQ(listing.test.files[2].size, fs::file_size(folder_.path() + "/ants/0.png"));
}

TEST_F(FolderTest, LinksToNothingAndLoopsAreMistakes) {
  link("../../nowhere/7.jpg", "train/ant/7.jpg");
  const std::string first =
      folder() +
      "/train/ant/7.jpg: is a link to ../../nowhere/7.jpg, which is not there; mend or "
      "remove it";
  EXPECT_EQ(error(), first);
  link("8.jpg", "train/ant/8.jpg");
  link("/nowhere/cat", "train/cat");
  EXPECT_EQ(error(),
            first + "\n  " + folder() +
                "/train/ant/8.jpg: cannot be looked at: Too many levels of symbolic links; mend or "
                "remove it\n  " +
                folder() +
                "/train/cat: is a link to /nowhere/cat, which is not there; mend or "
                "remove it");
  for (int i = 10; i < 30; ++i) link("nowhere", "train/bee/" + std::to_string(i) + ".jpg");
  EXPECT_THAT(error(), HasSubstr("\n  and 13 more"));
  fs::remove_all(folder() + "/train");
  link("/nowhere", "train");
  EXPECT_EQ(error(), folder() +
                         "/train: is a link to /nowhere, which is not there; mend or remove "
                         "it");
}

TEST_F(FolderTest, AFolderThatHoldsItselfIsNoClass) {
  link(".", "train/loop");
  EXPECT_EQ(error(),
            folder() +
                "/train/loop: no images: expected files that end in .jpg, .jpeg, .jfif or .png; "
                "remove the folder if it is no class (left out: 3 folders inside classes; for "
                "example " +
                folder() + "/train/loop/ant)\n  " + folder() + "/test: class \"loop\" of " +
                folder() + "/train is missing; both splits need the same class folders");
}

TEST_F(FolderTest, FoldersThatMayNotBeReadAreMistakes) {
  fs::permissions(folder() + "/train/bee", fs::perms::none);
  {
    const testing::WithoutRights without(folder_.path());
    EXPECT_EQ(error(), folder() + "/train/bee: cannot be listed: Permission denied");
  }
  fs::permissions(folder() + "/train/bee", fs::perms{0644});  // names, but nothing behind them
  {
    const testing::WithoutRights without(folder_.path());
    EXPECT_THAT(error(), HasSubstr(folder() + "/train/bee/0.png: cannot be looked at: Permission "
                                              "denied; mend or remove it\n"));
  }
  fs::permissions(folder() + "/train/bee", fs::perms{0755});
}

}  // namespace
}  // namespace syncnorm
