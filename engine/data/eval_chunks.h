// Evaluation data: fixed chunks of samples, without augmentation.
//
// A chunk is the unit that evaluation sums over; which samples it holds depends on its number and
// nothing else, so evaluation does not depend on how chunks are spread over ranks.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/replicas.h"
#include "engine/data/augment.h"
#include "engine/data/dataset.h"

namespace syncnorm {

/// Positions 0..samples-1 of a split cut into chunks of `chunk_size`; the last may be smaller.
struct EvalChunks {
  int samples = 0;
  int chunk_size = 1;

  int count() const { return samples / chunk_size + (samples % chunk_size > 0 ? 1 : 0); }
  Interval positions(int chunk) const {
    assert(chunk >= 0 && chunk < count());
    const int begin = chunk * chunk_size;
    return {begin, samples - begin < chunk_size ? samples : begin + chunk_size};
  }
};

/// What came of a chunk.
struct FilledChunk {
  std::vector<CorruptImage> corrupt;  // in order
  bool usable = true;                 // false: one of them must stop the run
};

/// Writes the images and labels of `indices` to images[slots, H, W, C] and labels[slots]; slots
/// beyond the indices become zeros. Requires indices.size() ≤ slots. Images on disk are decoded by
/// data.images.threads; what must be skipped is replaced from `all` (ImageReader::read).
FilledChunk fill_eval_chunk(const ImageSet& set, const NormalizationTable& normalization,
                            std::span<const std::uint32_t> indices,
                            std::span<const std::uint32_t> all, int slots, float* images,
                            std::int32_t* labels);

}  // namespace syncnorm
