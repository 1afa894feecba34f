// Gradients of values while the backward pass is emitted, from the last unit to the first. Each
// value collects the tensors that hold a part of its gradient; they are added when the unit that
// produces the value is reached.
#pragma once

#include <string>
#include <vector>

#include "engine/program/passes.h"

namespace syncnorm {

class Gradients {
 public:
  explicit Gradients(Emission& emission);

  /// Returns true if `v` depends on a trained parameter; false for -1.
  bool needed(int v) const { return v >= 0 && needed_[static_cast<std::size_t>(v)]; }
  bool arrived(int v) const { return !parts_[static_cast<std::size_t>(v)].empty(); }

  /// Adds `tensor` to the parts of the gradient of `to`, if that gradient is needed.
  void contribute(int to, int tensor);

  /// Returns the gradient of the unit's output as at most `most` tensors; of() returns a single
  /// one.
  std::vector<int> gathered(const Unit& unit, std::size_t most);
  int of(const Unit& unit) { return gathered(unit, 1)[0]; }

  /// Make a new tensor for the gradient of `v`, or one of the same shape with another name.
  int make(int v) { return like(v, " gradient"); }
  int like(int v, const std::string& suffix);

  /// Convert a gradient of `v` from f32 to the storage of `v`, and back.
  int narrowed(int v, int gradient);
  int widened(int v, int gradient);

 private:
  Emission& e_;
  std::vector<std::vector<int>> parts_;  // of each value
  std::vector<bool> needed_;
};

}  // namespace syncnorm
