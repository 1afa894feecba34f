// See augment_rules.h.
#include "engine/config/augment_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "engine/config/names.h"

namespace syncnorm {
namespace {

using enum AugmentKind;

/// The places of augmentations in the list.
class Places {
 public:
  explicit Places(const std::vector<AugmentKind>& kinds) : kinds_(kinds) {}
  bool has(AugmentKind kind) const { return at(kind) < kinds_.size(); }
  /// Returns true if both are listed, `one` first.
  bool before(AugmentKind one, AugmentKind other) const {
    return has(other) && at(one) < at(other);
  }
  bool first(AugmentKind kind) const { return at(kind) == 0; }

 private:
  std::size_t at(AugmentKind kind) const {
    return static_cast<std::size_t>(std::find(kinds_.begin(), kinds_.end(), kind) - kinds_.begin());
  }
  const std::vector<AugmentKind>& kinds_;
};

std::string problem_in_memory(const Places& places) {
  for (const AugmentKind kind : {random_resized_crop, color_jitter})
    if (places.has(kind))
      return fmt::format(
          "{} works on images on disk; set data.dataset to image_folder, segmentation_folder or "
          "packed, or leave it out",
          name_of(kind));
  if (places.has(random_scale))
    return "random_scale works on images on disk with masks; set data.dataset to "
           "segmentation_folder or packed, or leave it out";
  return "";
}

/// Images with masks: scale and place are chosen once, by one of two ways.
std::string problem_of_pairs(const Places& places) {
  if (places.has(random_resized_crop) && (places.has(random_scale) || places.has(random_crop)))
    return "with masks, random_resized_crop chooses scale and place alone; leave out random_scale "
           "and random_crop, or random_resized_crop";
  if (places.before(cutout, random_crop))
    return "with masks, random_crop chooses what is shown; list it before cutout";
  return "";
}

std::string problem_of_images(const Places& places) {
  if (places.has(random_scale))
    return "random_scale works on images with masks (segmentation_folder, or its pack); give "
           "random_resized_crop";
  if (places.before(random_crop, color_jitter))
    return "color_jitter would change padding and what is cut out; list it before random_crop and "
           "cutout";
  return "";
}

}  // namespace

std::string augment_problem(const DataConfig& data, std::optional<bool> per_pixel) {
  const Places places(data.augment);
  if (!data.on_disk()) return problem_in_memory(places);
  for (const AugmentKind kind : {random_resized_crop, random_scale})
    if (places.has(kind) && !places.first(kind))
      return fmt::format("{} makes the image that the others change; list it first", name_of(kind));
  if (places.before(cutout, color_jitter))
    return "color_jitter would change padding and what is cut out; list it before random_crop and "
           "cutout";
  if (!per_pixel) return "";
  return *per_pixel ? problem_of_pairs(places) : problem_of_images(places);
}

}  // namespace syncnorm
