// CIFAR-10 and CIFAR-100 in their binary version.
//
// A file consists of records without a header: label bytes, then 32×32 red, green and blue planes.
// Source: https://www.cs.toronto.edu/~kriz/cifar.html. No count is stored, so a file cut exactly
// between two records looks like a smaller one, unless it differs from CIFAR-10's other batches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace syncnorm {

struct CifarFormat {
  int classes;      // 10, or 100 (fine labels)
  int label_bytes;  // 1, or 2: coarse then fine; the last one is the label
};
inline constexpr CifarFormat kCifar10 = {10, 1};
inline constexpr CifarFormat kCifar100 = {100, 2};
inline constexpr int kCifar100CoarseClasses = 20;

/// Appends the records in `bytes` to `set`, channels last. Throws InputError unless they are one or
/// more whole records with valid labels.
void parse_cifar(std::span<const std::uint8_t> bytes, const std::string& file, CifarFormat format,
                 ImageSet& set);

/// Return the names of all files of the data set.
std::vector<std::string> cifar10_file_names();
std::vector<std::string> cifar100_file_names();

/// Loads data_batch_1.bin to data_batch_5.bin, which must have the same length, and test_batch.bin.
void load_cifar10_folder(const std::filesystem::path& folder, ImageSet& train, ImageSet& test);

/// Loads train.bin and test.bin.
void load_cifar100_folder(const std::filesystem::path& folder, ImageSet& train, ImageSet& test);

/// Returns the lines of fine_label_names.txt; empty if it is not there or has not 100 of them.
std::vector<std::string> cifar100_class_names(const std::filesystem::path& folder);

}  // namespace syncnorm
