// The input of a step: hands a batch to the kernels. A CPU reads the loader's memory directly. A
// device with its own memory copies the batch, and can also make the images from stored ones.
#pragma once

#include <memory>
#include <span>

#include "engine/program/tensor_memory.h"

namespace syncnorm {

class BatchInput {
 public:
  virtual ~BatchInput() = default;
  /// Returns the batch as kernels read it. A device only queues the copies: `batch` must stay
  /// unchanged until the step has finished.
  virtual BatchView take(const BatchView& batch) = 0;
  /// Allows batches of stored images of this shape (BatchView::pixels) from now on; no effect on
  /// host memory, see takes_stored_images(). `table` is the value of each byte, [channels, 256].
  virtual void make_images(const MakeImages& shape, std::span<const float> table);
  virtual bool takes_stored_images() const { return false; }
};

/// Returns an input that leaves the batch in host memory.
std::unique_ptr<BatchInput> make_host_input();
/// Returns an input that copies the batch of `replicas` replicas of `program` to `device`, which
/// must outlive it.
std::unique_ptr<BatchInput> make_device_input(Device& device, const Program& program, int replicas);

}  // namespace syncnorm
