// The loops of loops_impl.h, compiled for the instruction set "avx2" (see CMakeLists.txt).
#include "kernels/cpu/loops_impl.h"

namespace syncnorm::cpu {

const Loops loops_avx2 = make_loops<8>("avx2");

}  // namespace syncnorm::cpu
