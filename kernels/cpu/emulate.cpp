// See emulate.h.
#include "kernels/cpu/emulate.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace syncnorm::cpu {
namespace {

std::size_t aligned_bytes(std::size_t values) { return (values * sizeof(float) + 63) / 64 * 64; }

struct Widened {
  std::size_t index;
  std::size_t values;
  bool written;
};

class EmulatedKernel final : public Kernel {
 public:
  EmulatedKernel(Context& context, KernelPtr kernel, std::vector<Widened> widened)
      : context_(context), kernel_(std::move(kernel)), widened_(std::move(widened)) {}

  void run(std::span<void* const> operands, const StepState& state) override {
    std::array<void*, kMostOperands> given{};
    std::copy(operands.begin(), operands.end(), given.begin());
    std::byte* at = context_.wide.data();
    for (const Widened& w : widened_) {
      auto* values = reinterpret_cast<float*>(at);
      if (!w.written)
        context_.loops.widen(static_cast<const BFloat16*>(operands[w.index]), values, w.values);
      given[w.index] = values;
      at += aligned_bytes(w.values);
    }
    kernel_->run({given.data(), operands.size()}, state);
    for (const Widened& w : widened_)
      if (w.written)
        context_.loops.narrow(static_cast<const float*>(given[w.index]),
                              static_cast<BFloat16*>(operands[w.index]), w.values);
  }

 private:
  Context& context_;
  KernelPtr kernel_;
  std::vector<Widened> widened_;
};

}  // namespace

KernelPtr emulate_bf16(Context& context, KernelPtr kernel, std::span<const Operand> operands,
                       const std::vector<std::size_t>& values) {
  std::vector<Widened> widened;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].element != Element::stored) continue;
    const std::size_t count = values.at(widened.size());
    widened.push_back({i, count, operands[i].access != Access::in});
    bytes += aligned_bytes(count);
  }
  assert(widened.size() == values.size());
  context.wide.need(bytes);
  return std::make_unique<EmulatedKernel>(context, std::move(kernel), std::move(widened));
}

}  // namespace syncnorm::cpu
