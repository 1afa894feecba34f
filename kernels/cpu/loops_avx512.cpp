// The loops of loops_impl.h, compiled for the instruction set "avx512" (see CMakeLists.txt).
#include "kernels/cpu/loops_impl.h"

namespace syncnorm::cpu {

const Loops loops_avx512 = make_loops<16>("avx512");

}  // namespace syncnorm::cpu
