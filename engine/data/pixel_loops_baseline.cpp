// The loops of pixel_loops_impl.h for any x86-64 processor, and the choice.
#include "engine/data/pixel_loops_impl.h"

namespace syncnorm {

const PixelLoops pixel_loops_baseline = kLoops;

const PixelLoops& pixel_loops() {
  return __builtin_cpu_supports("avx2") ? pixel_loops_avx2 : pixel_loops_baseline;
}

}  // namespace syncnorm
