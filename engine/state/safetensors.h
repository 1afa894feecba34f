// The safetensors format: a JSON header with the names of tensors, then their bytes.
//
// The reader is as strict as the reference implementation: offsets must be contiguous from 0 to the
// end, sizes must match shapes, and nothing may overflow. See github.com/huggingface/safetensors,
// "Format".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace syncnorm {

/// A named tensor, row-major, little-endian. `dtype` is a type name of the format, such as "F32".
struct TensorView {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string_view bytes;  // not owned

  template <class T>
  std::vector<T> values() const;
};

/// Returns the bytes of a file with `tensors`, in the given order.
std::string write_safetensors(std::span<const TensorView> tensors);

/// Returns the tensors of a file; their bytes point into `file`. Errors refer to the file as
/// `name`. Throws CheckpointError unless the file is well-formed.
std::vector<TensorView> parse_safetensors(std::string_view file, const std::string& name);

}  // namespace syncnorm
