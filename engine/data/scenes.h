// Scenes with labels per pixel, made from the seed and from Fashion-MNIST's garments.
//
// A scene shows a few garments, scaled and in front of one another, on textured ground. All of it
// is in one light: gain, offset, tint and a gradient that are drawn once per image, from wide
// ranges. So the pixels of an image are alike and those of different images are not, which is what
// makes batch statistics over few images poor. All arithmetic is in integers, so the bytes are the
// same on every machine.
#pragma once

#include <cstdint>

#include "engine/config/experiment.h"
#include "engine/data/dataset.h"
#include "engine/data/synthetic.h"

namespace syncnorm {

/// Returns scenes of height × width with 3 channels, a pure function of the arguments. Class 0 of
/// `masks` is the ground, class 1 + k is class k of `garments` (images of one channel). Throws
/// InputError for splits above kMaxDataBytes.
ImageSet make_scenes(const ScenesConfig& config, const ImageSet& garments, SyntheticSplit split,
                     std::uint64_t seed);

}  // namespace syncnorm
