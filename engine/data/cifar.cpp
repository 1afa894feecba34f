// The CIFAR parser; see cifar.h.
#include "engine/data/cifar.h"

#include <fmt/format.h>

#include <cassert>
#include <fstream>

#include "base/printable.h"
#include "engine/data/byte_reader.h"
#include "engine/data/near_miss.h"

namespace syncnorm {
namespace {

constexpr int kSide = 32;
constexpr int kChannels = 3;
constexpr std::size_t kPlane = std::size_t{kSide} * kSide;

void check_label(const std::string& file, const char* which, std::size_t record, std::uint8_t label,
                 int classes) {
  if (label < classes) return;
  reject_file(file, fmt::format("{} of record {}", which, record),
              fmt::format("0 to {}", classes - 1), fmt::format("{}", label));
}

/// Appends the file at `path`, one of `names`, and returns its number of records.
std::size_t append_file(const std::filesystem::path& path, const std::vector<std::string>& names,
                        CifarFormat format, ImageSet& set) {
  if (std::error_code error; !std::filesystem::exists(path, error) && !error)
    throw InputError(
        fmt::format("{}: expected it in the folder; {}", printable_name(path.string()),
                    what_lies_in(path.parent_path(), {path.filename().string()}, names)));
  const std::size_t before = set.size();
  parse_cifar(read_file(path), path.string(), format, set);
  return set.size() - before;
}

}  // namespace

void parse_cifar(std::span<const std::uint8_t> bytes, const std::string& file, CifarFormat format,
                 ImageSet& set) {
  assert(format.label_bytes == 1 || format.label_bytes == 2);
  const std::size_t label_bytes = static_cast<std::size_t>(format.label_bytes);
  const std::size_t record_bytes = label_bytes + kPlane * kChannels;
  if (bytes.empty() || bytes.size() % record_bytes != 0) {
    reject_file(file, "size", fmt::format("one or more whole records of {} bytes", record_bytes),
                fmt::format("{} bytes", bytes.size()));
  }
  const std::size_t records = bytes.size() / record_bytes;
  set.height = set.width = kSide;
  set.channels = kChannels;
  set.classes = format.classes;
  set.labels.reserve(set.size() + records);
  std::size_t out = set.pixels.size();
  set.pixels.resize(out + records * kPlane * kChannels);
  for (std::size_t r = 0; r < records; ++r) {
    const std::uint8_t* record = bytes.data() + r * record_bytes;
    if (format.label_bytes == 2) {
      check_label(file, "coarse label", r, record[0], kCifar100CoarseClasses);
    }
    const std::uint8_t label = record[label_bytes - 1];
    check_label(file, "label", r, label, format.classes);
    set.labels.push_back(label);
    const std::uint8_t* planes = record + label_bytes;
    for (std::size_t i = 0; i < kPlane; ++i) {
      for (std::size_t c = 0; c < kChannels; ++c) set.pixels[out++] = planes[c * kPlane + i];
    }
  }
}

std::vector<std::string> cifar10_file_names() {
  std::vector<std::string> names = {"test_batch.bin"};
  for (int batch = 1; batch <= 5; ++batch) names.push_back(fmt::format("data_batch_{}.bin", batch));
  return names;
}

std::vector<std::string> cifar100_file_names() { return {"train.bin", "test.bin"}; }

void load_cifar10_folder(const std::filesystem::path& folder, ImageSet& train, ImageSet& test) {
  const std::vector<std::string> names = cifar10_file_names();
  std::size_t first_count = 0;
  for (int batch = 1; batch <= 5; ++batch) {
    const std::filesystem::path path = folder / fmt::format("data_batch_{}.bin", batch);
    const std::size_t count = append_file(path, names, kCifar10, train);
    if (batch == 1) first_count = count;
    if (count != first_count) {
      reject_file(path.string(), "number of records",
                  fmt::format("{} (as in data_batch_1.bin)", first_count),
                  fmt::format("{}", count));
    }
  }
  append_file(folder / "test_batch.bin", names, kCifar10, test);
}

void load_cifar100_folder(const std::filesystem::path& folder, ImageSet& train, ImageSet& test) {
  append_file(folder / "train.bin", cifar100_file_names(), kCifar100, train);
  append_file(folder / "test.bin", cifar100_file_names(), kCifar100, test);
}

std::vector<std::string> cifar100_class_names(const std::filesystem::path& folder) {
  std::ifstream file(folder / "fine_label_names.txt");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (names.size() != static_cast<std::size_t>(kCifar100.classes)) names.clear();
  return names;
}

}  // namespace syncnorm
