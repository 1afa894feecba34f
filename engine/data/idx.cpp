// The IDX parser; see idx.h.
#include "engine/data/idx.h"

#include <fmt/format.h>

#include <array>
#include <cassert>
#include <utility>

#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/near_miss.h"

namespace syncnorm {
namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;
constexpr std::size_t kMagicBytes = 4;

std::string product_text(const std::vector<std::uint32_t>& dimensions) {
  return fmt::format("{}", fmt::join(dimensions, "×"));
}

void check_magic(const std::array<std::uint8_t, kMagicBytes>& magic, const std::string& file,
                 int dimensions) {
  if (magic[0] != 0 || magic[1] != 0) {
    reject_file(file, "magic", "bytes 00 00", fmt::format("{:02x} {:02x}", magic[0], magic[1]));
  }
  if (magic[2] != kUnsignedByte) {
    reject_file(file, "type code", "0x08 (unsigned byte)", fmt::format("{:#04x}", magic[2]));
  }
  if (magic[3] != dimensions) {
    reject_file(file, "number of dimensions", fmt::format("{}", dimensions),
                fmt::format("{}", magic[3]));
  }
}

/// Returns the number of values. It is compared with the limit after each factor, so it cannot
/// overflow.
std::uint64_t checked_product(const std::vector<std::uint32_t>& dimensions,
                              const std::string& file) {
  std::uint64_t product = 1;
  for (std::size_t i = 0; i < dimensions.size(); ++i) {
    if (dimensions[i] == 0) {
      reject_file(file, fmt::format("size of dimension {}", i), "at least 1", "0");
    }
  }
  for (const std::uint32_t size : dimensions) {
    product *= size;
    if (product > kMaxDataBytes) {
      reject_file(file, "product of dimensions", fmt::format("at most {}", kMaxDataBytes),
                  product_text(dimensions));
    }
  }
  return product;
}

bool is_file(const std::filesystem::path& path) {
  std::error_code error;  // an error is reported when the file is read
  const auto type = std::filesystem::status(path, error).type();
  return type != std::filesystem::file_type::not_found &&
         type != std::filesystem::file_type::directory;
}

std::filesystem::path plain_or_gzip(const std::filesystem::path& folder, const char* name) {
  const std::filesystem::path plain = folder / name;
  const std::filesystem::path gzip = folder / (std::string(name) + ".gz");
  if (is_file(plain)) return plain;
  if (is_file(gzip)) return gzip;
  throw InputError(
      fmt::format("{}: expected it or the same with .gz in the folder, found neither; {}",
                  printable_name(plain.string()),
                  what_lies_in(folder, {plain.filename(), gzip.filename()}, idx_file_names())));
}

ImageSet load_split(const std::filesystem::path& image_path,
                    const std::filesystem::path& label_path, int classes) {
  return parse_idx_split(read_file(image_path), image_path.string(), read_file(label_path),
                         label_path.string(), classes);
}

}  // namespace

std::vector<std::string> idx_file_names() {
  std::vector<std::string> names;
  for (const char* name : {kIdxTrainImages, kIdxTrainLabels, kIdxTestImages, kIdxTestLabels}) {
    names.emplace_back(name);
    names.push_back(std::string(name) + ".gz");
  }
  return names;
}

IdxTensor parse_idx(std::span<const std::uint8_t> bytes, const std::string& file, int dimensions) {
  assert(dimensions >= 1 && dimensions <= 4);
  ByteReader reader(bytes, file);
  std::array<std::uint8_t, kMagicBytes> magic{};
  std::array<std::uint8_t, 16> sizes{};
  const std::size_t header_bytes = kMagicBytes + 4 * static_cast<std::size_t>(dimensions);
  std::size_t got = reader.read(magic);
  if (got == kMagicBytes) {
    check_magic(magic, file, dimensions);
    got += reader.read(std::span(sizes).first(header_bytes - kMagicBytes));
  }
  if (got < header_bytes) {
    reject_file(file, "header", fmt::format("{} bytes", header_bytes), fmt::format("{}", got));
  }
  IdxTensor tensor;
  for (std::size_t i = 0; i < 4 * static_cast<std::size_t>(dimensions); i += 4) {
    tensor.dimensions.push_back(std::uint32_t{sizes[i]} << 24 | std::uint32_t{sizes[i + 1]} << 16 |
                                std::uint32_t{sizes[i + 2]} << 8 | std::uint32_t{sizes[i + 3]});
  }
  const std::uint64_t count = checked_product(tensor.dimensions, file);
  const std::string expected = fmt::format("{} bytes ({})", count, product_text(tensor.dimensions));
  if (reader.most_left() < count) {  // before allocating, since the header may be wrong
    reject_file(file, "data", expected,
                fmt::format("{}{}", reader.compressed() ? "at most " : "", reader.most_left()));
  }
  tensor.values.resize(static_cast<std::size_t>(count));
  const std::size_t read = reader.read(tensor.values);
  if (read < count) reject_file(file, "data", expected, fmt::format("{}", read));
  reader.expect_end();
  return tensor;
}

ImageSet parse_idx_split(std::span<const std::uint8_t> image_bytes, const std::string& image_file,
                         std::span<const std::uint8_t> label_bytes, const std::string& label_file,
                         int classes) {
  IdxTensor images = parse_idx(image_bytes, image_file, 3);
  const IdxTensor labels = parse_idx(label_bytes, label_file, 1);
  if (labels.dimensions[0] != images.dimensions[0]) {
    reject_file(label_file, "number of labels",
                fmt::format("{} (the images of {})", images.dimensions[0], image_file),
                fmt::format("{}", labels.dimensions[0]));
  }
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] >= classes) {
      reject_file(label_file, fmt::format("label of sample {}", i),
                  fmt::format("0 to {}", classes - 1), fmt::format("{}", labels.values[i]));
    }
  }
  ImageSet set;
  set.height = static_cast<int>(images.dimensions[1]);
  set.width = static_cast<int>(images.dimensions[2]);
  set.channels = 1;
  set.classes = classes;
  set.pixels = std::move(images.values);
  set.labels.assign(labels.values.begin(), labels.values.end());
  return set;
}

void load_idx_folder(const std::filesystem::path& folder, int classes, ImageSet& train,
                     ImageSet& test) {
  const auto train_images = plain_or_gzip(folder, kIdxTrainImages);
  const auto train_labels = plain_or_gzip(folder, kIdxTrainLabels);
  const auto test_images = plain_or_gzip(folder, kIdxTestImages);
  const auto test_labels = plain_or_gzip(folder, kIdxTestLabels);
  train = load_split(train_images, train_labels, classes);
  test = load_split(test_images, test_labels, classes);
  if (test.height != train.height || test.width != train.width) {
    reject_file(test_images.string(), "image size",
                fmt::format("{}×{} (as in {})", train.height, train.width, train_images.string()),
                fmt::format("{}×{}", test.height, test.width));
  }
}

}  // namespace syncnorm
