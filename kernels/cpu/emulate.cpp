// See emulate.h.
#include "kernels/cpu/emulate.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace syncnorm::cpu {
namespace {

constexpr std::size_t kMostArguments = 8;

std::size_t aligned_bytes(std::size_t values) { return (values * sizeof(float) + 63) / 64 * 64; }

}  // namespace

KernelPtr emulate_bf16(Context& context, KernelPtr kernel, std::vector<WidenedArgument> arguments) {
  std::size_t bytes = 0;
  for (const WidenedArgument& argument : arguments) bytes += aligned_bytes(argument.values);
  context.wide.need(bytes);
  return make_kernel([&context, kernel = std::move(kernel), arguments = std::move(arguments)](
                         std::span<void* const> args, const StepState& state) {
    assert(args.size() <= kMostArguments);
    std::array<void*, kMostArguments> widened{};
    std::copy(args.begin(), args.end(), widened.begin());
    std::byte* at = context.wide.data();
    for (const WidenedArgument& a : arguments) {
      auto* values = reinterpret_cast<float*>(at);
      if (!a.written) context.loops.widen(arg<const BFloat16>(args, a.index), values, a.values);
      widened[a.index] = values;
      at += aligned_bytes(a.values);
    }
    kernel->run({widened.data(), args.size()}, state);
    for (const WidenedArgument& a : arguments)
      if (a.written)
        context.loops.narrow(static_cast<const float*>(widened[a.index]),
                             arg<BFloat16>(args, a.index), a.values);
  });
}

}  // namespace syncnorm::cpu
