// What is said of a folder that lacks the file that was looked for.
#include "engine/data/near_miss.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "engine/data/idx.h"
#include "tests/engine/data/test_data.h"

namespace syncnorm {
namespace {

using testing::TemporaryFolder;
namespace fs = std::filesystem;

const std::vector<std::string> kIdx = {kIdxTrainImages, std::string(kIdxTrainImages) + ".gz"};

/// Of a folder with these files, and folders where a name ends in a slash.
std::string said(const std::vector<std::string>& names,
                 const std::vector<std::string>& wanted = kIdx) {
  const TemporaryFolder folder;
  for (const std::string& name : names) {
    const fs::path path = fs::path(folder.path()) / name;
    fs::create_directories(path.parent_path());
    if (!name.ends_with("/")) folder.write(name, {'x'});
  }
  std::string text = what_lies_in(folder.path(), wanted, idx_file_names());
  if (const auto at = text.find(folder.path()); at != std::string::npos)
    text.replace(at, folder.path().size(), "DIR");
  return text;
}

TEST(NearMiss, SlipsInTheNameAreFound) {
  for (const char* name :
       {"train-images.idx3-ubyte", "train_images_idx3_ubyte", "Train-Images-IDX3-ubyte",
        "train-images-idx3-ubyte.bin", "train-images-idx3-ubyte (1)", "train-image-idx3-ubyte"})
    EXPECT_EQ(said({name, "t10k-images-idx3-ubyte"}),
              std::string("it has ") + name + ": rename it to train-images-idx3-ubyte");
  EXPECT_EQ(said({"train-images.idx3-ubyte.gz"}),
            "it has train-images.idx3-ubyte.gz: rename it to train-images-idx3-ubyte.gz");
  EXPECT_EQ(said({"data_batch_1 .bin"}, {"data_batch_1.bin"}),
            "it has data_batch_1 .bin: rename it to data_batch_1.bin");
}

TEST(NearMiss, OtherFilesOfTheSetAreNotTakenForIt) {
  EXPECT_EQ(said({"t10k-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"}),
            "it has only t10k-images-idx3-ubyte and train-labels-idx1-ubyte.gz");
}

TEST(NearMiss, OtherFormsAreNamed) {
  EXPECT_EQ(said({"train-images-idx3-ubyte.zip"}), "it has train-images-idx3-ubyte.zip: unpack it");
  EXPECT_EQ(said({"archive.tar"}), "it has archive.tar: unpack it");
  EXPECT_EQ(said({"train-images-idx3-ubyte.gz.part"}),
            "it has train-images-idx3-ubyte.gz.part: finish the download");
  EXPECT_EQ(said({"train-images-idx3-ubyte/"}),
            "train-images-idx3-ubyte is a folder there, not a file");
  EXPECT_EQ(said({"cifar-10-python.tar.gz"}, {"data_batch_1.bin"}),
            "it has cifar-10-python.tar.gz, of the version for Python: get the binary version");
  EXPECT_EQ(said({"data_batch_1", "batches.meta"}, {"data_batch_1.bin"}),
            "it has data_batch_1, of the version for Python: get the binary version");
  EXPECT_EQ(said({"a.txt", "mnist_train.csv"}), "it has mnist_train.csv, a form that is not read");
}

TEST(NearMiss, SubFoldersAreLookedInto) {
  EXPECT_EQ(said({"raw/train-images-idx3-ubyte.gz"}),
            "it has raw/train-images-idx3-ubyte.gz: give DIR/raw");
  EXPECT_EQ(said({"train-images-idx3-ubyte/train-images-idx3-ubyte"}),
            "it has train-images-idx3-ubyte/train-images-idx3-ubyte: give "
            "DIR/train-images-idx3-ubyte");
}

TEST(NearMiss, ElseSomeOfWhatLiesThereIsNamed) {
  EXPECT_EQ(said({}), "it is empty");
  EXPECT_EQ(said({".hidden"}), "it is empty");
  EXPECT_EQ(said({"notes"}), "it has only notes");
  EXPECT_EQ(said({"c", "b/", "a"}), "it has only a, b/ and c");
  EXPECT_EQ(said({"1", "2", "3", "4", "5", "6", "7"}), "it has only 1, 2, 3, 4, 5 and 2 more");
  EXPECT_EQ(said({"\x1b[2J"}), "it has only \\x1b[2J");
}

TEST(NearMiss, PlacesThatAreNoFolders) {
  const TemporaryFolder folder;
  EXPECT_EQ(what_lies_in(folder.path() + "/none", kIdx), "there is no such folder");
  EXPECT_EQ(what_lies_in(folder.write("file", {}), kIdx),
            "it is a file; give the folder it lies in");
  folder.write("closed/x", {});
  fs::permissions(folder.path() + "/closed", fs::perms::none);
  {
    const testing::WithoutRights without(folder.path());
    EXPECT_EQ(what_lies_in(folder.path() + "/closed", kIdx),
              "it cannot be listed: Permission denied");
  }
  fs::permissions(folder.path() + "/closed", fs::perms{0755});
}

}  // namespace
}  // namespace syncnorm
