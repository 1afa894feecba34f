// See nonfinite.h.
#include "engine/program/nonfinite.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "kernels/bfloat16.h"

namespace syncnorm {
namespace {

/// Counts the values that are not finite, and the range of the others.
struct Census {
  std::size_t total = 0, bad = 0;
  double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;

  void take(double value) {
    ++total;
    if (!std::isfinite(value)) {
      ++bad;
      return;
    }
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  std::string text() const {
    if (bad == total) return fmt::format("all {} values", total);
    return fmt::format("{} of {} values, the others from {:.3g} to {:.3g}", bad, total, lowest,
                       highest);
  }
};

Census census(std::span<const std::byte> data, char element) {
  Census found;
  const auto take = [&]<class T>(const T* values, auto widen) {
    for (std::size_t i = 0; i < data.size() / sizeof(T); ++i) found.take(widen(values[i]));
  };
  if (element == 'f')
    take(reinterpret_cast<const float*>(data.data()),
         [](float v) { return static_cast<double>(v); });
  else if (element == 'd')
    take(reinterpret_cast<const double*>(data.data()), [](double v) { return v; });
  else if (element == 'h')
    take(reinterpret_cast<const BFloat16*>(data.data()),
         [](BFloat16 v) { return static_cast<double>(to_float(v)); });
  return found;
}

/// Describes the nonfinite values in an instruction's output for one replica; "" for none.
std::string nonfinite_output(const Executor& executor, const Instruction& instruction,
                             int replica) {
  for (std::size_t a = static_cast<std::size_t>(instruction.first_output);
       a < instruction.args.size(); ++a) {
    if (instruction.args[a] < 0) continue;
    const Tensor& tensor =
        executor.program().tensors[static_cast<std::size_t>(instruction.args[a])];
    if (tensor.space != Space::arena) continue;
    std::vector<std::byte> copy;
    std::span<const std::byte> data = {executor.tensors().at(instruction.args[a], replica),
                                       tensor.bytes};
    if (executor.queued()) {
      copy = executor.tensors().bytes(instruction.args[a], replica);
      data = copy;
    }
    const Census found = census(data, tensor.element);
    if (found.bad > 0) return found.text();
  }
  return "";
}

}  // namespace

NonFinite find_nonfinite(Executor& executor, StepState state, const BatchView& batch) {
  executor.clear_arena();
  NonFinite first;
  executor.run_forward(state, batch, [&](std::size_t i, int replica) {
    const int index = static_cast<int>(i);
    if (first.instruction >= 0 && first.instruction <= index) return;
    if (std::string values =
            nonfinite_output(executor, executor.program().instructions[i], replica);
        !values.empty())
      first = {index, std::move(values)};
  });
  return first;
}

}  // namespace syncnorm
