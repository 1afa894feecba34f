// Fills evaluation chunks; see eval_chunks.h.
#include "engine/data/eval_chunks.h"

#include <algorithm>
#include <cstddef>

namespace syncnorm {

void fill_eval_chunk(const ImageSet& set, const NormalizationTable& normalization,
                     std::span<const std::uint32_t> indices, int slots, float* images,
                     std::int32_t* labels) {
  const auto slot_count = static_cast<std::size_t>(slots);
  assert(indices.size() <= slot_count);
  const std::size_t image_size = set.image_size();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    make_plain_image(set, indices[i], normalization, images + i * image_size);
    labels[i] = set.labels[indices[i]];
  }
  std::fill(images + indices.size() * image_size, images + slot_count * image_size, 0.0f);
  std::fill(labels + indices.size(), labels + slot_count, 0);
}

}  // namespace syncnorm
