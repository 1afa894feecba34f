// The gradients of values while the backward pass is emitted, last unit to first. Every value
// collects the tensors that hold a part of its gradient; they are added when the unit that produces
// the value is reached.
#pragma once

#include <string>
#include <vector>

#include "engine/program/passes.h"

namespace syncnorm {

class Gradients {
 public:
  explicit Gradients(Emission& emission);

  /// Whether anything before value `v` is trained; false for -1.
  bool needed(int v) const { return v >= 0 && needed_[static_cast<std::size_t>(v)]; }
  bool arrived(int v) const { return !parts_[static_cast<std::size_t>(v)].empty(); }

  /// `tensor` is a part of the gradient of `to`, where that is needed.
  void contribute(int to, int tensor);

  /// The gradient of the unit's output in at most `most` tensors, or in one.
  std::vector<int> gathered(const Unit& unit, std::size_t most);
  int of(const Unit& unit) { return gathered(unit, 1)[0]; }

  /// A new tensor for the gradient of `v`, or like it.
  int make(int v) { return like(v, " gradient"); }
  int like(int v, const std::string& suffix);

  /// An f32 gradient of `v` in the storage of `v`, and the gradient of `v` in f32.
  int narrowed(int v, int gradient);
  int widened(int v, int gradient);

 private:
  Emission& e_;
  std::vector<std::vector<int>> parts_;  // of each value
  std::vector<bool> needed_;
};

}  // namespace syncnorm
