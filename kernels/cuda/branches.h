// Work of a call that runs side by side: on streams that begin where the context's stream stands,
// and that it waits for afterwards. A recorded step has it as branches of its graph.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/cuda/context.h"
#include "kernels/cuda/launch.h"

namespace syncnorm::cuda {

class Branches {
 public:
  /// Each branch needs scratch of its own.
  static constexpr int kMost = 4;

  Branches() {
    const auto make = [](cudaEvent_t& event) {
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "could not make an event");
    };
    make(begin_);
    std::for_each(ends_.begin(), ends_.end(), make);
    for (cudaStream_t& stream : streams_)
      check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "could not make a stream");
  }
  ~Branches() {
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
    for (cudaEvent_t event : ends_) cudaEventDestroy(event);
    cudaEventDestroy(begin_);
  }
  Branches(const Branches&) = delete;
  Branches& operator=(const Branches&) = delete;

  /// Calls run(i, branch) for i from 0 to count − 1 with context.stream set to the stream of
  /// branch i % kMost. What the calls of one branch queue runs in order.
  template <class Run>
  void run(Context& context, int count, const Run& run_one) {
    const cudaStream_t before = context.stream;
    check(cudaEventRecord(begin_, before), "could not record an event");
    const int used = std::min(count, kMost);
    for (int b = 0; b < used; ++b)
      check(cudaStreamWaitEvent(streams_[static_cast<std::size_t>(b)], begin_, 0),
            "could not order the branches");
    try {
      for (int i = 0; i < count; ++i) {
        context.stream = streams_[static_cast<std::size_t>(i % kMost)];
        run_one(i, i % kMost);
      }
    } catch (...) {
      context.stream = before;
      throw;
    }
    context.stream = before;
    for (int b = 0; b < used; ++b) {
      const auto index = static_cast<std::size_t>(b);
      check(cudaEventRecord(ends_[index], streams_[index]), "could not record an event");
      check(cudaStreamWaitEvent(before, ends_[index], 0), "could not order the branches");
    }
  }

 private:
  std::array<cudaStream_t, kMost> streams_{};
  cudaEvent_t begin_ = nullptr;
  std::array<cudaEvent_t, kMost> ends_{};
};

}  // namespace syncnorm::cuda
