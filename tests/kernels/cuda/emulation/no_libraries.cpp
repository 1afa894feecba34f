// Stands in for cuDNN and cuBLASLt on the emulated device: compiling a convolution or a linear
// layer says that it cannot.
#include <stdexcept>

#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_merge.h"

namespace syncnorm::cuda {
namespace {

struct NoLibraries final : Libraries {
  std::string versions() const override { return library_versions(); }
};

KernelPtr refuse(const char* what) {
  throw std::logic_error(std::string("the emulated CUDA device has no ") + what);
}

}  // namespace

std::string library_versions() { return "no libraries"; }

std::unique_ptr<Libraries> make_libraries(cudaStream_t) { return std::make_unique<NoLibraries>(); }

bool merges_convolution(Context&, const Op&, int) { return false; }

template <>
KernelPtr compile(Context&, const ConvForward&) {
  return refuse("cuDNN");
}
template <>
KernelPtr compile(Context&, const ConvDgrad&) {
  return refuse("cuDNN");
}
template <>
KernelPtr compile(Context&, const ConvWgrad&) {
  return refuse("cuDNN");
}
template <>
KernelPtr compile(Context&, const LinearForward&) {
  return refuse("cuBLASLt");
}
template <>
KernelPtr compile(Context&, const LinearDgrad&) {
  return refuse("cuBLASLt");
}
template <>
KernelPtr compile(Context&, const LinearWgrad&) {
  return refuse("cuBLASLt");
}

}  // namespace syncnorm::cuda
