// How a batch reaches the kernels. A CPU reads it where the loader made it. A device with memory of
// its own copies it, and can make the images from stored ones itself.
#pragma once

#include <memory>
#include <span>

#include "engine/program/tensor_memory.h"

namespace syncnorm {

class BatchInput {
 public:
  virtual ~BatchInput() = default;
  /// Returns where kernels find the batch. A device queues the copies: `batch` must stay until the
  /// step is done.
  virtual BatchView take(const BatchView& batch) = 0;
  /// From now on batches may be stored images of this shape (BatchView::pixels), where
  /// takes_stored_images(). `table`: the value of each byte, [channels, 256].
  virtual void make_images(const MakeImages& shape, std::span<const float> table);
  virtual bool takes_stored_images() const { return false; }
};

/// The batch stays in the host's memory.
std::unique_ptr<BatchInput> make_host_input();
/// The batch is copied to `device`, which must outlive it, for `replicas` replicas of `program`.
std::unique_ptr<BatchInput> make_device_input(Device& device, const Program& program, int replicas);

}  // namespace syncnorm
