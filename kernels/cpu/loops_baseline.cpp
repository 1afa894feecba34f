// The loops of loops_impl.h, compiled for the instruction set "baseline" (see CMakeLists.txt).
#include "kernels/cpu/loops_impl.h"

namespace syncnorm::cpu {

const Loops loops_baseline = make_loops<4>("baseline");

}  // namespace syncnorm::cpu
