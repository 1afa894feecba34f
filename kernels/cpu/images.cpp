// Makes augmented and normalized images from stored ones. The CPU's loader does this itself as it
// reads (engine/data/augment.cpp); this operation is for programs that get stored images.
#include "kernels/cpu/context.h"
#include "kernels/pointwise_math.h"

namespace syncnorm::cpu {
namespace {

template <class S>
KernelPtr make_images(const MakeImages& op) {
  return make_kernel<MakeImages, S>([op](const auto& a, const StepState&) {
    const auto* stored = a.stored;
    const auto* maps = a.maps;
    const auto* table = a.table;
    auto* out = a.images;
    const std::ptrdiff_t size = std::ptrdiff_t{op.height} * op.width * op.channels;
    for (int n = 0; n < op.samples; ++n, stored += size)
      for (int y = 0; y < op.height; ++y)
        for (int x = 0; x < op.width; ++x)
          for (int c = 0; c < op.channels; ++c)
            write(*out++, image_value(op, maps[n], stored, table, y, x, c));
  });
}

}  // namespace

template <>
KernelPtr compile(Context&, const MakeImages& op) {
  return with_storage(op.storage, [&]<class S>() { return make_images<S>(op); });
}

}  // namespace syncnorm::cpu
