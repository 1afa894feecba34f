// Images that cannot be used: skipped by a rule, or what stops the run.
#include "engine/data/stored_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "engine/data/byte_reader.h"
#include "engine/data/eval_chunks.h"
#include "tests/engine/data/image_files.h"

namespace syncnorm {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::input_error_of;
using testing::pattern;
using testing::png_of;
namespace fs = std::filesystem;

TEST_F(ImagesTest, SameImagesWhateverRanksThreadsAndForm) {
  pack_image_folder(folder(), pack_folder(), 1 << 16);
  DataConfig folder_config = config(DatasetKind::image_folder),
             threads = config(DatasetKind::packed);
  threads.images.threads = 4;
  const std::vector<float> one = trained_on(folder_config, 1);
  EXPECT_EQ(one, trained_on(folder_config, 2));
  EXPECT_EQ(one, trained_on(config(DatasetKind::packed), 1));
  EXPECT_EQ(one, trained_on(threads, 1));
  EXPECT_EQ(one, trained_on(threads, 3));
  folder_config.augment.pop_back();
  EXPECT_NE(one, trained_on(folder_config, 1));
}

TEST_F(ImagesTest, SkippedImagesAreReplacedByTheNext) {
  DataConfig skip = config(DatasetKind::image_folder);
  skip.images.corrupt = CorruptPolicy::skip;
  skip.augment.clear();
  write("train/ant/5.JPEG", {'x'});  // the last ant: the first bee takes its place, with its label
  const Dataset dataset = load_dataset(skip, 1, 4);
  const std::vector<std::uint32_t> all = {4, 5, 6, 7};
  Bytes replaced(dataset.train.image_size()), next(replaced.size());
  std::vector<CorruptImage> corrupt;
  ImageReader reader(*dataset.train.stored);
  EXPECT_EQ(reader.read(5, all, nullptr, replaced.data(), nullptr, corrupt).sample, 6u);
  EXPECT_EQ(reader.read(6, all, nullptr, next.data(), nullptr, corrupt).sample, 6u);
  EXPECT_EQ(replaced, next);
  EXPECT_EQ(
      corrupt,
      (std::vector<CorruptImage>{{folder() + "/train/ant/5.JPEG", "is neither JPEG nor PNG"}}));
  const std::vector<std::uint32_t> last = {3, 5};  // the first follows the last
  EXPECT_EQ(reader.read(5, last, nullptr, next.data(), nullptr, corrupt).sample, 3u);
  const std::vector<std::uint32_t> alone = {5};
  EXPECT_FALSE(reader.read(5, alone, nullptr, next.data(), nullptr, corrupt).usable);

  skip.augment = config(DatasetKind::image_folder).augment;
  std::vector<CorruptImage> met;
  EXPECT_EQ(trained_on(skip, 1, &met), trained_on(skip, 3));
  EXPECT_EQ(met.size(), 2u);  // once in each epoch
}

TEST_F(ImagesTest, StopMakesTheBatchUnusable) {
  write("train/ant/0.png", {});
  std::vector<CorruptImage> met;
  trained_on(config(DatasetKind::image_folder), 2, &met);
  ASSERT_EQ(met.size(), 2u);
  EXPECT_EQ(stop_text(met), folder() +
                                "/train/ant/0.png: is empty; repair or remove it, or "
                                "set data.images.corrupt: skip");
}

TEST_F(ImagesTest, EvaluationSkipsByTheSameRule) {
  write("test/ant/1.png", {'x'});
  DataConfig skip = config(DatasetKind::image_folder);
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

constexpr const char* kNotSkipped =
    "; nothing is known of the image, so it is not skipped: mend that and go on with --resume auto";

TEST_F(ImagesTest, AnImageThatCannotBeReadStopsTheRunWhateverThePolicy) {
  DataConfig skip = config(DatasetKind::image_folder);
  skip.images.corrupt = CorruptPolicy::skip;
  write("train/ant/2.png", {'x'});
  const Dataset dataset = load_dataset(skip, 1, 4);
  fs::remove(folder() + "/train/ant/3.JPEG");
  fs::permissions(folder() + "/train/ant/4.png", fs::perms::none);
  const std::vector<std::uint32_t> all = {0, 1, 2, 3, 4, 5};
  Bytes out(dataset.train.image_size(), 7);
  ImageReader reader(*dataset.train.stored);
  std::vector<CorruptImage> found;
  EXPECT_FALSE(reader.read(3, all, nullptr, out.data(), nullptr, found).usable);
  EXPECT_EQ(out, Bytes(out.size(), 0));
  const std::string gone = folder() + "/train/ant/3.JPEG";
  EXPECT_EQ(found,
            (std::vector<CorruptImage>{{gone, "cannot be read: No such file or directory", true}}));
  EXPECT_EQ(stop_text(found), gone + ": cannot be read: No such file or directory" + kNotSkipped);
  found.clear();
  fs::resize_file(folder() + "/train/ant/1.JPEG", kMaxDataBytes + 1);  // sparse
  EXPECT_EQ(
      reader.read(1, std::vector<std::uint32_t>{0, 1}, nullptr, out.data(), nullptr, found).sample,
      0u);
  EXPECT_EQ(found, (std::vector<CorruptImage>{
                       {folder() + "/train/ant/1.JPEG", "has more than 1073741824 bytes", false}}));
  found.clear();  // what is skipped on the way to it does not stop the run
  EXPECT_FALSE(reader.read(2, all, nullptr, out.data(), nullptr, found).usable);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_FALSE(found[0].unreadable);
  EXPECT_EQ(stop_text(found), gone + ": cannot be read: No such file or directory" + kNotSkipped);
  found.clear();
  {
    const testing::WithoutRights without(folder_.path());
    EXPECT_FALSE(reader.read(4, all, nullptr, out.data(), nullptr, found).usable);
  }
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].reason, "cannot be read: Permission denied");
}

/// Files that cannot be had, for a reason of the machine's.
struct FailingFiles : ImageFiles {
  std::function<void()> fail;
  std::string name(std::uint32_t sample) const override { return std::to_string(sample) + ".jpg"; }
  std::span<const std::uint8_t> read(std::uint32_t, ReadBuffer&) const override {
    fail();
    return {};
  }
};

ImageSet failing_set(std::function<void()> fail) {
  auto files = std::make_unique<FailingFiles>();
  files->fail = std::move(fail);
  ImagesConfig config;
  config.height = config.width = 4;
  config.resize = 4;
  config.corrupt = CorruptPolicy::skip;
  return stored_image_set(std::move(files), {0, 0, 0, 0}, 1, config);
}

TEST(StoredImages, EveryFailureOfTheMachineStopsTheRun) {
  const std::vector<std::pair<std::function<void()>, std::string>> failures = {
      {[] { throw ReadError("f", "Input/output error"); }, "cannot be read: Input/output error"},
      {[] { throw ReadError("f", "Stale file handle"); }, "cannot be read: Stale file handle"},
      {[] { throw std::bad_alloc(); }, "cannot be read: Cannot allocate memory"}};
  for (const auto& [fail, reason] : failures) {
    Dataset dataset;
    dataset.train = failing_set(fail);
    dataset.mean = dataset.stddev = {0.5f, 0.5f, 0.5f};
    LoaderOptions options;
    options.batching = {2, 2, false, 4};
    options.replicas = {0, 2};
    options.total_steps = 1;
    Loader loader(dataset, {0, 1, 2, 3}, options);
    const Batch& batch = loader.next();
    EXPECT_FALSE(batch.usable);
    EXPECT_THAT(stop_text(batch.corrupt), HasSubstr(".jpg: " + reason + kNotSkipped));

    const NormalizationTable table(dataset.mean, dataset.stddev);
    const std::vector<std::uint32_t> all = {0, 1, 2, 3};
    std::vector<float> memory(EvalFeed::buffers(dataset.train) * 4 * dataset.train.image_size());
    EvalFeed feed(dataset.train, table, {all}, all, 4, memory.data());
    const EvalBatch& evaluated = feed.next();
    EXPECT_FALSE(evaluated.found.usable);
    EXPECT_THAT(stop_text(evaluated.found.corrupt), HasSubstr("0.jpg: " + reason + kNotSkipped));
  }
}

TEST_F(ImagesTest, NoDescriptorLeftIsNoCorruption) {
  DataConfig skip = config(DatasetKind::image_folder);
  skip.images.corrupt = CorruptPolicy::skip;
  const Dataset dataset = load_dataset(skip, 1, 4);
  ImageReader reader(*dataset.train.stored);
  Bytes out(dataset.train.image_size());
  std::vector<CorruptImage> found;
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool usable =
      reader.read(0, std::vector<std::uint32_t>{0, 1}, nullptr, out.data(), nullptr, found).usable;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_FALSE(usable);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].reason, "cannot be read: Too many open files");
  EXPECT_TRUE(found[0].unreadable);
}

}  // namespace
}  // namespace syncnorm
