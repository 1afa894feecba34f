// The list of data sets, and the processing common to all after reading; see dataset.h.
#include "engine/data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <span>

#include "base/error.h"
#include "engine/config/augment_rules.h"
#include "engine/config/names.h"
#include "engine/data/cifar.h"
#include "engine/data/content_hash.h"
#include "engine/data/idx.h"
#include "engine/data/image_folder.h"
#include "engine/data/locate.h"
#include "engine/data/pack.h"
#include "engine/data/scenes.h"
#include "engine/data/segmentation_folder.h"
#include "engine/data/synthetic.h"

namespace syncnorm {
namespace {

// ---- One loader per data set: fills both splits.

/// Loads Fashion-MNIST and the names of its classes.
void load_fashion_mnist(const DataConfig& config, Dataset& dataset) {
  const DatasetFiles files = {
      "fashion_mnist",
      {kIdxTrainImages, std::string(kIdxTrainImages) + ".gz"},
      {"/usr/share/datasets/fashion-mnist", "./data/fashion_mnist", "./data/fashion-mnist",
       "./data/FashionMNIST/raw", "~/.cache/syncnorm/fashion_mnist"},
      "",
      "install Debian's package dataset-fashion-mnist, or set data.path to the folder with its "
      "four IDX files",
      idx_file_names()};
  load_idx_folder(locate_dataset(files, config.path), 10, dataset.train, dataset.test);
  dataset.class_names = {"t-shirt", "trouser", "pullover", "dress", "coat",
                         "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
}

void load_fashion_scenes(const DataConfig& config, std::uint64_t seed, Dataset& dataset) {
  load_fashion_mnist(config, dataset);
  dataset.train = make_scenes(config.scenes, dataset.train, SyntheticSplit::train, seed);
  dataset.test = make_scenes(config.scenes, dataset.test, SyntheticSplit::test, seed);
  dataset.class_names.insert(dataset.class_names.begin(), "background");
}

void load_mnist(const DataConfig& config, Dataset& dataset) {
  const DatasetFiles files = {
      "mnist",
      {kIdxTrainImages, std::string(kIdxTrainImages) + ".gz"},
      {"/usr/share/datasets/mnist", "./data/mnist", "./data/MNIST/raw", "~/.cache/syncnorm/mnist"},
      "",
      "download MNIST's four IDX files and set data.path to their folder",
      idx_file_names()};
  load_idx_folder(locate_dataset(files, config.path), 10, dataset.train, dataset.test);
}

void load_cifar10(const DataConfig& config, Dataset& dataset) {
  const DatasetFiles files = {
      "cifar10",
      {"data_batch_1.bin"},
      {"/usr/share/datasets/cifar-10-batches-bin", "./data/cifar10", "./data/cifar-10-batches-bin",
       "~/.cache/syncnorm/cifar10", "~/.cache/syncnorm/cifar-10-batches-bin"},
      "cifar-10-batches-bin",
      "download and unpack cifar-10-binary.tar.gz and set data.path to its folder",
      cifar10_file_names()};
  load_cifar10_folder(locate_dataset(files, config.path), dataset.train, dataset.test);
  dataset.class_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                         "dog",      "frog",       "horse", "ship", "truck"};
}

void load_cifar100(const DataConfig& config, Dataset& dataset) {
  const DatasetFiles files = {
      "cifar100",
      {"train.bin"},
      {"/usr/share/datasets/cifar-100-binary", "./data/cifar100", "./data/cifar-100-binary",
       "~/.cache/syncnorm/cifar100", "~/.cache/syncnorm/cifar-100-binary"},
      "cifar-100-binary",
      "download and unpack cifar-100-binary.tar.gz and set data.path to its folder",
      cifar100_file_names()};
  const std::filesystem::path folder = locate_dataset(files, config.path);
  load_cifar100_folder(folder, dataset.train, dataset.test);
  dataset.class_names = cifar100_class_names(folder);
}

void load_synthetic(const DataConfig& config, std::uint64_t seed, Dataset& dataset) {
  dataset.train = make_synthetic(config.synthetic, SyntheticSplit::train, seed);
  dataset.test = make_synthetic(config.synthetic, SyntheticSplit::test, seed);
}

void load_files(const DataConfig& config, std::uint64_t seed, Dataset& dataset) {
  switch (config.dataset) {
    case DatasetKind::fashion_mnist:
      return load_fashion_mnist(config, dataset);
    case DatasetKind::mnist:
      return load_mnist(config, dataset);
    case DatasetKind::cifar10:
      return load_cifar10(config, dataset);
    case DatasetKind::cifar100:
      return load_cifar100(config, dataset);
    case DatasetKind::synthetic:
      return load_synthetic(config, seed, dataset);
    case DatasetKind::fashion_scenes:
      return load_fashion_scenes(config, seed, dataset);
    case DatasetKind::image_folder:
      return load_image_folder(config, dataset);
    case DatasetKind::segmentation_folder:
      return load_segmentation_folder(config, dataset);
    case DatasetKind::packed:
      return load_pack(config, dataset);
  }
}

// ---- Processing common to all data sets.

void check_augment(const std::vector<AugmentKind>& augment) {
  for (const AugmentKind kind : augment) {
    if (std::count(augment.begin(), augment.end(), kind) > 1) {
      throw InputError(
          fmt::format("data.augment: {} is listed twice; list it once", name_of(kind)));
    }
  }
}

std::span<const std::uint8_t> bytes_of(const auto& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(values[0])};
}

std::string fingerprint(const Dataset& dataset) {
  std::vector<std::uint64_t> parts;
  for (const ImageSet* set : {&dataset.train, &dataset.test}) {
    for (const int size : {set->height, set->width, set->channels, set->classes}) {
      parts.push_back(static_cast<std::uint64_t>(size));
    }
    parts.push_back(set->size());
    parts.push_back(content_hash(set->pixels));
    parts.push_back(content_hash(bytes_of(set->labels)));
    if (set->per_pixel) parts.push_back(content_hash(set->masks));
  }
  return fmt::format("{:016x}", content_hash(bytes_of(parts)));
}

void cut(ImageSet& set, std::size_t limit) {
  if (limit >= set.size()) return;
  set.labels.resize(limit);
  if (set.stored != nullptr) return;
  set.pixels.resize(limit * set.image_size());
  set.pixels.shrink_to_fit();
  if (!set.per_pixel) return;
  set.masks.resize(limit * set.mask_size());
  set.masks.shrink_to_fit();
}

}  // namespace

ImageSet stored_image_set(std::unique_ptr<const ImageFiles> files, std::vector<std::int32_t> labels,
                          std::size_t classes, const ImagesConfig& config,
                          std::optional<StoredMasks> masks) {
  ImageSet set;
  set.height = config.height;
  set.width = config.width;
  set.channels = 3;
  set.classes = static_cast<int>(classes);
  set.labels = std::move(labels);
  set.stored = std::make_shared<const StoredImages>(StoredImages{std::move(files), config, masks});
  return set;
}

ImageSet stored_pair_set(std::unique_ptr<const ImageFiles> files, std::size_t samples,
                         const StoredMasks& masks, const DataConfig& config) {
  ImageSet set = stored_image_set(std::move(files), std::vector<std::int32_t>(samples),
                                  static_cast<std::size_t>(masks.classes), config.images, masks);
  set.per_pixel = true;
  set.whole_height = masks.height;
  set.whole_width = masks.width;
  return set;
}

std::string summary(const Dataset& dataset) {
  return fmt::format("{}: {} training and {} test images of {} classes", dataset.name,
                     dataset.train.size(), dataset.test.size(), dataset.train.classes);
}

void channel_statistics(const ImageSet& images, std::vector<float>& mean,
                        std::vector<float>& stddev) {
  assert(images.size() > 0);
  constexpr std::size_t kBins = 256;
  // Neighbouring pixels are often equal; four histograms keep their increments independent.
  constexpr std::size_t kLanes = 4;
  const auto channels = static_cast<std::size_t>(images.channels);
  const std::size_t count = images.pixels.size() / channels;
  mean.assign(channels, 0.0f);
  stddev.assign(channels, 0.0f);
  for (std::size_t c = 0; c < channels; ++c) {
    std::vector<std::uint64_t> bins(kLanes * kBins, 0);
    const std::uint8_t* values = images.pixels.data() + c;
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        ++bins[lane * kBins + values[(i + lane) * channels]];
      }
    }
    for (; i < count; ++i) ++bins[values[i * channels]];
    std::uint64_t sum = 0;
    for (std::size_t b = 0; b < kBins; ++b) {
      for (std::size_t lane = 1; lane < kLanes; ++lane) bins[b] += bins[lane * kBins + b];
      sum += b * bins[b];
    }
    const double average = static_cast<double>(sum) / static_cast<double>(count);
    double squares = 0.0;
    for (std::size_t b = 0; b < kBins; ++b) {
      const double distance = static_cast<double>(b) - average;
      squares += static_cast<double>(bins[b]) * (distance * distance);
    }
    mean[c] = static_cast<float>(average / 255.0);
    stddev[c] = static_cast<float>(std::sqrt(squares / static_cast<double>(count)) / 255.0);
  }
}

Dataset load_dataset(const DataConfig& config, std::uint64_t seed, std::int64_t global_batch) {
  check_augment(config.augment);
  Dataset dataset;
  dataset.name = name_of(config.dataset);
  load_files(config, seed, dataset);
  if (config.dataset == DatasetKind::packed) {
    const std::string problem = augment_problem(config, dataset.train.per_pixel);
    if (!problem.empty()) throw InputError("data.augment: " + problem);
  }
  if (dataset.train.stored == nullptr) {
    channel_statistics(dataset.train, dataset.mean, dataset.stddev);
    dataset.fingerprint = fingerprint(dataset);
  } else {
    dataset.mean.assign(config.images.mean.begin(), config.images.mean.end());
    dataset.stddev.assign(config.images.std.begin(), config.images.std.end());
  }
  if (config.limit > 0) cut(dataset.train, static_cast<std::size_t>(config.limit));
  const auto left = static_cast<std::int64_t>(dataset.train.size()) - config.validation;
  if (left < global_batch) {
    throw InputError(fmt::format(
        "data: {}: training samples: expected at least {} (one global batch), found {} (of {}, "
        "with "
        "limit {} and validation {})",
        dataset.name, global_batch, left, dataset.train.size(), config.limit, config.validation));
  }
  return dataset;
}

}  // namespace syncnorm
