// IDX, the format of MNIST and Fashion-MNIST, plain or gzip.
//
// Layout, big-endian: 00 00, type code, number of dimensions, one 32-bit size per dimension,
// values. Source: http://yann.lecun.com/exdb/mnist, "The IDX file format". The parsers take bytes,
// not paths, so that tests and fuzzers can call them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace syncnorm {

struct IdxTensor {
  std::vector<std::uint32_t> dimensions;
  std::vector<std::uint8_t> values;
};

/// Parses unsigned bytes in `dimensions` dimensions (3: images, 1: labels). Errors refer to the
/// file as `file`. Throws InputError for anything but exactly one whole, non-empty tensor.
IdxTensor parse_idx(std::span<const std::uint8_t> bytes, const std::string& file, int dimensions);

/// Parses one split: images and their labels, which must be below `classes`.
ImageSet parse_idx_split(std::span<const std::uint8_t> image_bytes, const std::string& image_file,
                         std::span<const std::uint8_t> label_bytes, const std::string& label_file,
                         int classes);

/// Names of an IDX data set's four files, plain or with ".gz".
inline constexpr const char* kIdxTrainImages = "train-images-idx3-ubyte";
inline constexpr const char* kIdxTrainLabels = "train-labels-idx1-ubyte";
inline constexpr const char* kIdxTestImages = "t10k-images-idx3-ubyte";
inline constexpr const char* kIdxTestLabels = "t10k-labels-idx1-ubyte";

/// Returns the four names, each also with .gz.
std::vector<std::string> idx_file_names();

/// Reads both splits of the data set in `folder`; their images must have the same size.
void load_idx_folder(const std::filesystem::path& folder, int classes, ImageSet& train,
                     ImageSet& test);

}  // namespace syncnorm
