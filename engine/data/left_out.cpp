// See left_out.h.
#include "engine/data/left_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "base/printable.h"

namespace syncnorm {
namespace {

constexpr std::array<std::string_view, 16> kOtherImages = {
    ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif",
    ".jp2",  ".jxl", ".ppm", ".pgm", ".pbm",  ".pnm",  ".tga",  ".svg"};

constexpr std::size_t kNamed = 8;  // listed kinds

}  // namespace

std::string lower_extension(const std::string& name) {
  std::string extension = std::filesystem::path(name).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

void LeftOut::count(const std::string& one, const std::string& many, bool image,
                    const std::string& path) {
  Kind& kind = kinds_[one];
  if (kind.count++ > 0) return;
  kind.many = many;
  kind.image = image;
  kind.example = path;
}

void LeftOut::add(const std::string& one, const std::string& many, const std::string& path) {
  count(one, many, false, path);
}

void LeftOut::add(const LeftOut& other) {
  for (const auto& [one, kind] : other.kinds_) {
    const std::size_t before = kinds_.contains(one) ? kinds_[one].count : 0;
    if (before == 0) kinds_[one] = kind;
    kinds_[one].count = before + kind.count;
  }
}

void LeftOut::add_file(const std::string& path) {
  constexpr std::size_t kLongest = 16;
  const std::string extension = lower_extension(path);
  if (extension.size() < 2 || extension.size() > kLongest)
    return count("file of another name", "files of other names", false, path);
  const bool image =
      std::find(kOtherImages.begin(), kOtherImages.end(), extension) != kOtherImages.end();
  count(extension + " file", extension + " files", image, path);
}

std::string LeftOut::text() const {
  if (kinds_.empty()) return "";
  std::vector<const std::pair<const std::string, Kind>*> order;
  for (const auto& kind : kinds_) order.push_back(&kind);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.image, a->second.count) >
           std::pair(b->second.image, b->second.count);
  });
  std::string text = "left out: ";
  std::size_t others = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto& [one, kind] = *order[i];
    if (i >= kNamed) {
      others += kind.count;
      continue;
    }
    text += i == 0 ? "" : i + 1 == order.size() ? " and " : ", ";
    text += fmt::format("{} {}{}", kind.count, printable_name(kind.count == 1 ? one : kind.many),
                        kind.image ? " (neither JPEG nor PNG)" : "");
  }
  if (others > 0) text += fmt::format(" and {} others", others);
  return text + "; for example " + printable_name(order.front()->second.example);
}

}  // namespace syncnorm
