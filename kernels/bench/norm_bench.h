// The measurements of `syncnorm bench norm`: every pass of a device's normalization kernels, a copy
// of the same tensor and, on the CPU in f32, oneDNN's own batch normalization, interleaved within
// one run.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace syncnorm {

/// A tensor [samples, height, width, channels].
struct NormShape {
  int samples = 1, height = 1, width = 1, channels = 1;
  Storage storage = Storage::f32;
  int pixels() const { return height * width; }
  std::size_t values() const {
    return static_cast<std::size_t>(samples) * static_cast<std::size_t>(pixels()) *
           static_cast<std::size_t>(channels);
  }
  std::size_t bytes() const { return values() * storage_bytes(storage); }
};

/// Seconds per call, one entry per round.
struct NormKernelBench {
  std::string name;
  int passes = 0;  // tensor reads and writes that the kernel cannot avoid
  std::vector<double> seconds;
  std::vector<double> copy_seconds;    // of the faster copy, measured just before
  std::vector<double> onednn_seconds;  // of oneDNN's, measured just after; empty when it has none
};

struct NormBench {
  NormShape shape;
  // streamed: with non-temporal stores; empty where the device has only one kind of copy
  std::vector<double> plain_copy, streamed_copy;
  bool streamed_is_faster = false;  // then kernels are compared with it
  std::string onednn;               // implementation that oneDNN runs; "" for none
  std::vector<NormKernelBench> kernels;
};

/// Runs the benchmark; allocates about seven times the tensor's bytes. `rounds` ≥ 1.
NormBench bench_norms(Device& device, const NormShape& shape, int rounds);

}  // namespace syncnorm
