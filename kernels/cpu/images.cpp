// Augmented and normalized images from stored ones. The CPU's loader makes its own as it reads
// (engine/data/augment.cpp); this is the same for devices that are handed stored images.
#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {

KernelPtr compile(Context&, const MakeImages& op) {
  return make_kernel([op](std::span<void* const> args, const StepState&) {
    const auto* stored = arg<const std::uint8_t>(args, 0);
    const auto* maps = arg<const ImageMap>(args, 1);
    const auto* table = arg<const float>(args, 2);
    auto* out = arg<float>(args, 3);
    const std::ptrdiff_t size = std::ptrdiff_t{op.height} * op.width * op.channels;
    for (int n = 0; n < op.samples; ++n, stored += size)
      for (int y = 0; y < op.height; ++y)
        for (int x = 0; x < op.width; ++x)
          for (int c = 0; c < op.channels; ++c)
            *out++ = image_value(op, maps[n], stored, table, y, x, c);
  });
}

}  // namespace syncnorm::cpu
