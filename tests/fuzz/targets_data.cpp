// Data sets. The formats of two files take both from one input: two bytes say where the second
// begins.
#include <algorithm>
#include <cstdint>
#include <span>

#include "engine/data/cifar.h"
#include "engine/data/idx.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace syncnorm::fuzz {
namespace {

std::span<const std::uint8_t> unsigned_bytes(std::string_view bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

bool check_set(const ImageSet& set) {
  const std::size_t image = static_cast<std::size_t>(set.height) *
                            static_cast<std::size_t>(set.width) *
                            static_cast<std::size_t>(set.channels);
  promise(!set.labels.empty() && set.pixels.size() == set.labels.size() * image,
          "every image has its pixels and a label");
  promise(std::all_of(set.labels.begin(), set.labels.end(),
                      [&](auto label) { return static_cast<int>(label) < set.classes; }),
          "every label is one of the classes");
  return true;
}

}  // namespace

bool idx(std::string_view bytes) {
  if (bytes.size() < 2) return false;
  const std::size_t length = static_cast<unsigned char>(bytes[0]) * std::size_t{256} +
                             static_cast<unsigned char>(bytes[1]);
  const std::string_view files = bytes.substr(2);
  const std::string_view images = files.substr(0, length), labels = files.substr(images.size());
  ImageSet set;
  const auto read = [&] {
    set = parse_idx_split(unsigned_bytes(images), "images", unsigned_bytes(labels), "labels", 10);
  };
  return answered(read) && check_set(set);
}

bool cifar(std::string_view bytes) {
  bool accepted = false;
  for (const CifarFormat format : {kCifar10, kCifar100}) {
    ImageSet set;
    if (answered([&] { parse_cifar(unsigned_bytes(bytes), "batch", format, set); }))
      accepted = check_set(set);
  }
  return accepted;
}

}  // namespace syncnorm::fuzz
