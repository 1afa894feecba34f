// See divergence.h.
#include "engine/train/divergence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "engine/program/nonfinite.h"

namespace syncnorm {
namespace {

const char* text_of(double value) {
  return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");  // a nan may be "-nan"
}

/// Returns a hash that is not cryptographic: four lanes of multiply and mix, limited by memory
/// speed.
std::uint64_t hash_of(std::span<const std::byte> bytes) {
  constexpr std::size_t kLanes = 4;
  constexpr std::uint64_t kPrime = 0x9E3779B97F4A7C15;
  std::array<std::uint64_t, kLanes> lanes = {1, 2, 3, 4};
  std::array<std::uint64_t, kLanes> words{};
  for (std::size_t at = 0; at < bytes.size(); at += sizeof words) {
    words = {};
    std::memcpy(words.data(), bytes.data() + at, std::min(sizeof words, bytes.size() - at));
    for (std::size_t i = 0; i < kLanes; ++i) {
      lanes[i] = (lanes[i] ^ words[i]) * kPrime;
      lanes[i] ^= lanes[i] >> 32;
    }
  }
  std::uint64_t hash = bytes.size();
  for (const std::uint64_t lane : lanes) hash = (hash ^ lane) * kPrime;
  return hash;
}

/// Describes the ranks whose text differs from the majority's; "" if all are equal. Without a
/// majority no rank is named.
std::string who_differs(const std::vector<std::string>& texts) {
  const auto count = [&](const std::string& text) {
    return static_cast<std::size_t>(std::count(texts.begin(), texts.end(), text));
  };
  const std::string& usual =
      *std::max_element(texts.begin(), texts.end(),
                        [&](const auto& a, const auto& b) { return count(a) < count(b); });
  if (count(usual) == texts.size()) return "";
  if (2 * count(usual) <= texts.size()) return "the ranks have different bits";
  std::vector<std::size_t> odd;
  for (std::size_t rank = 0; rank < texts.size(); ++rank)
    if (texts[rank] != usual) odd.push_back(rank);
  return fmt::format("rank{} {} have other bits than those of the others",
                     odd.size() == 1 ? "" : "s", fmt::join(odd, ", "));
}

bool finite_again(Setup& setup, const StepState& state, const StepDone& step) {
  step.executor->run(state, view_of(*step.batch));
  return std::isfinite(step.executor->loss()[0]) &&
         std::isfinite(setup.optimizer->gradient_norm(setup.memory));
}

std::string where_forward(Setup& setup, const StepState& state, const StepDone& step) {
  const NonFinite found = find_nonfinite(*step.executor, state, view_of(*step.batch));
  NonFinite first;
  for (const std::string& text :
       setup.comm.all_gather_text(fmt::format("{} {}", found.instruction, found.values)))
    if (const int index = std::stoi(text);
        index >= 0 && (first.instruction < 0 || index < first.instruction))
      first = {index, text.substr(text.find(' ') + 1)};
  if (first.instruction < 0) return "every layer's output is finite, the loss itself overflowed";
  return fmt::format("it began in {}: {}", step.executor->instruction_name(first.instruction),
                     first.values);
}

/// Searches from the last layer to the first, as the backward pass runs.
std::string where_backward(const Setup& setup) {
  const Program& program = setup.full->program();
  for (std::size_t p = setup.graph.parameters.size(); p-- > 0;) {
    const Parameter& parameter = setup.graph.parameters[p];
    std::vector<float> values(parameter.count());
    setup.device.copy(values.data(),
                      setup.memory.gradients.as<float>().data() + program.parameter_offset[p],
                      values.size() * sizeof(float));
    setup.device.synchronize();
    const auto bad = std::count_if(values.begin(), values.end(),
                                   [](float value) { return !std::isfinite(value); });
    if (bad > 0 && program.parameter_offset[p] < program.trained_floats)
      return fmt::format("it began at '{}': {} of {} values", parameter.name, bad, values.size());
  }
  return "its parts are finite, their squares overflow";
}

}  // namespace

std::string why_diverged(Setup& setup, StepLoop& loop, const StepDone& step) {
  const auto updates = static_cast<std::int64_t>(step.state.step);
  setup.record(FlightKind::mark, "a search for what is not finite", updates + 1);
  loop.abandon();  // nothing was updated since the step
  setup.steps->go_on();
  StepState state;
  state.seed = step.state.seed;
  state.step = step.state.step;
  state.update_running = false;
  const bool forward = !std::isfinite(step.loss);
  const std::string what =
      forward ? fmt::format("the loss of step {} is {}", updates + 1, text_of(step.loss))
              : fmt::format("the gradient of step {} is not finite", updates + 1);
  if (finite_again(setup, state, step))
    throw Error(ExitCode::peer_lost,
                fmt::format("{}, but not when the step is repeated: a device or its memory gave a "
                            "wrong value; go on from the newest checkpoint with --resume auto",
                            what));
  return fmt::format("training diverged: {}; {}; {}", what,
                     forward ? where_forward(setup, state, step) : where_backward(setup),
                     updates == 0 && !setup.options.init_from.empty()
                         ? "the weights of " + setup.options.init_from +
                               " may be of a run that diverged, or of a model that scales its "
                               "input otherwise"
                         : "lower optimizer.lr, add warm-up or clip the gradient");
}

void compare_parameters(Setup& setup, std::int64_t step) {
  if (setup.comm.size() == 1) return;
  setup.record(FlightKind::mark, "a comparison of the parameters", step);
  setup.memory.parameters.pull();
  const std::vector<std::string> hashes = setup.comm.all_gather_text(
      fmt::format("{:016x}", hash_of(std::as_bytes(setup.memory.parameters.host<float>()))));
  if (const std::string odd = who_differs(hashes); !odd.empty())
    throw Error(ExitCode::peer_lost,
                fmt::format("after step {} the parameters of {}; go on from the newest checkpoint "
                            "with --resume auto",
                            step, odd));
}

}  // namespace syncnorm
