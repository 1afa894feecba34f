// Maps kinds of norm to families, and contains helpers that families share.
#include "engine/program/norm/norm.h"

namespace syncnorm {

const NormFamily& family_of(const NormConfig& norm) {
  switch (norm.kind) {
    case NormKind::batch:
    case NormKind::momentum:
    case NormKind::mabn:
    case NormKind::cross_iteration:
    case NormKind::evonorm_b0:
      return kBatchNorms;
    case NormKind::frozen:
      return norm.over_batch() ? kBatchNorms : kFrozenNorms;
    case NormKind::layer:
      return norm.over == LayerNormOver::channels ? kChannelNorms : kGroupNorms;
    case NormKind::group:
    case NormKind::instance:
    case NormKind::rms:
      return kGroupNorms;
    case NormKind::frn:
    case NormKind::evonorm_s0:
      return kActivatedNorms;
    case NormKind::switchable:
      return kSwitchableNorms;
    case NormKind::dyt:
    case NormKind::derf:
      return kPointwiseNorms;
    case NormKind::none:  // has no layer
      break;
  }
  assert(false);
  return kGroupNorms;
}

int norm_channels(const Emission& e, const Unit& unit) { return e.shape(unit.layer).channels; }
int norm_pixels(const Emission& e, const Unit& unit) { return e.shape(unit.layer).pixels(); }

int norm_groups(const Emission& e, const Unit& unit) {
  return e.norm(unit).groups_of(norm_channels(e, unit));
}

void add_sample_statistics(Emission& e, const Unit& unit, Emission::Saved& saved) {
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, unit)) *
                             static_cast<std::size_t>(e.samples());
  saved.mean = e.add_tensor(e.name(unit) + " mean", 2 * vector, Per::wave_replica);
  saved.inv_std = e.add_tensor(e.name(unit) + " inv_std", vector, Per::wave_replica);
}

namespace {

/// Suffixes, and the number of vectors [C], of the values that a norm keeps beside its running
/// pair.
std::vector<std::pair<const char*, int>> kept_values(const NormConfig& norm) {
  if (norm.kind == NormKind::momentum) return {{".moving_mean", 1}, {".moving_var", 1}};
  if (norm.kind == NormKind::mabn)
    return {{".moving_square", norm.window}, {".moving_gradient", norm.window}};
  return {};
}

}  // namespace

void add_running_pair(Emission& e, const Unit& unit, Emission::Saved& saved) {
  const auto channels = static_cast<std::size_t>(norm_channels(e, unit));
  const NormConfig& norm = e.norm(unit);
  Program& program = e.program;
  RunningSlot slot;
  slot.layer = unit.layer;
  slot.channels = norm_channels(e, unit);
  const std::size_t mean = program.running_floats;
  slot.mean = mean;
  slot.variance = mean + channels;
  program.running_floats = slot.variance + channels;
  const bool own = e.batch_statistics(unit);
  const auto add = [&](const char* suffix, std::size_t offset, std::size_t floats) {
    const int tensor =
        e.add_tensor(e.name(unit) + suffix, floats * sizeof(float), own ? Per::group : Per::once,
                     own ? Space::running : Space::averaged);
    program.tensors.back().offset = offset * sizeof(float);
    return tensor;
  };
  for (const auto& [suffix, vectors] : kept_values(norm)) {
    std::vector<std::int64_t> shape = {slot.channels};
    if (norm.kind == NormKind::mabn) shape.insert(shape.begin(), vectors);
    const std::size_t floats = static_cast<std::size_t>(vectors) * channels;
    slot.kept.push_back({suffix, program.running_floats, std::move(shape)});
    if (own) saved.kept.push_back(add(suffix, program.running_floats, floats));
    program.running_floats += floats;
  }
  program.running.push_back(std::move(slot));
  saved.running_mean = add(" running_mean", mean, channels);
  saved.running_var = add(" running_var", mean + channels, channels);
}

void emit_accumulate(Emission& e, const Unit& unit, int sums, std::size_t count) {
  const int totals =
      e.add_persistent(e.name(unit) + " totals", count * sizeof(double), Per::group, 'd');
  for (RunningSlot& slot : e.program.running)
    if (slot.layer == unit.layer) slot.totals = totals;
  e.emit(Pass::forward, Scope::group, e.name(unit), Accumulate{1, static_cast<int>(count)},
         {.sums = sums, .totals = totals});
}

void emit_from_running(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, unit));
  // Persistent: every chunk of an evaluation reads them.
  saved.mean = e.add_persistent(e.name(unit) + " mean", 2 * vector, Per::once, 'f');
  saved.inv_std = e.add_persistent(e.name(unit) + " inv_std", vector, Per::once, 'f');
  e.emit(Pass::prepare, Scope::once, e.name(unit),
         BatchFromRunning{1, norm_channels(e, unit), e.norm(unit).eps},
         {.running_mean = saved.running_mean,
          .running_var = saved.running_var,
          .mean = saved.mean,
          .inv_std = saved.inv_std});
}

void emit_normalize(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(
             BatchNormalize{e.samples(), norm_pixels(e, unit), norm_channels(e, unit), unit.relu}),
         {.x = x,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .residual = residual,
          .correction = saved.correction,
          .y = y});
  emit_noise(e, n);
}

std::vector<int> norm_gradient(Emission& e, Gradients& gradients, std::size_t n) {
  if (e.norm(e.units[n]).noise) return {emit_noise_backward(e, gradients, n)};
  return gradients.gathered(e.units[n], 2);
}

int relu_mask(Emission& e, const Unit& unit) {
  return unit.relu && unit.residual >= 0 ? e.value_in(unit.output, e.program.options.storage)
                                         : kAbsent;
}

LocalBackward local_backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  LocalBackward tensors;
  tensors.dy = dy[0];
  if (dy.size() > 1) tensors.dy2 = dy[1];
  if (dy.size() > 1 || gradients.needed(unit.residual))
    tensors.g = gradients.like(unit.output, " masked gradient");
  tensors.dx = gradients.make(unit.input);
  return tensors;
}

void contribute(Gradients& gradients, const Unit& unit, const LocalBackward& tensors) {
  if (gradients.needed(unit.input)) gradients.contribute(unit.input, tensors.dx);
  if (unit.residual >= 0) gradients.contribute(unit.residual, tensors.g);
}

void emit_gradient_sums(Emission& e, std::size_t n, const BatchBackward& tensors) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(BatchGradientSums{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                    unit.relu}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .correction = saved.correction,
          .sums = tensors.sums,
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .g = tensors.g});
}

void emit_input_gradient(Emission& e, std::size_t n, const BatchBackward& tensors, bool frozen) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  const bool summed = tensors.g != kAbsent;
  BatchInputGradient op = e.stored(BatchInputGradient{
      e.samples(), norm_pixels(e, unit), norm_channels(e, unit), unit.relu && !summed,
      frozen ? Deviation::l2 : norm.deviation, frozen ? 1.0 : norm.l1_factor(), frozen});
  op.weighted = norm.kind == NormKind::mabn;
  e.emit(Pass::backward, Scope::replica, e.name(unit), op,
         {.g = summed ? tensors.g : tensors.dy,
          .x = e.stored_value(unit.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .gradient_sums = tensors.total,
          .sums = saved.total,
          .correction = saved.correction,
          .deviation = saved.deviation,
          .maxima = saved.maxima,
          .dx = tensors.dx});
}

}  // namespace syncnorm
