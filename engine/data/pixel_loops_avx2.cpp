// The loops of pixel_loops_impl.h, compiled for AVX2 (see engine/CMakeLists.txt).
#include "engine/data/pixel_loops_impl.h"

namespace syncnorm {

const PixelLoops pixel_loops_avx2 = kLoops;

}  // namespace syncnorm
