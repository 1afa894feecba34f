// Switchable norm: statistics of each sample's channels and of each sample beside those of the
// batch, which replicas may share.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

constexpr int kMean = 0, kVariance = 1;

std::size_t channel_doubles(const Emission& e, const Unit& unit) {
  return sizeof(double) * static_cast<std::size_t>(norm_channels(e, unit));
}

std::size_t forward_sums(const Emission& e, const Unit& unit) {
  return 2 * static_cast<std::size_t>(norm_channels(e, unit)) + 1;
}

int parameter(const Emission& e, const Unit& unit, int which) {
  return e.parameter(unit, which == kMean ? ParameterRole::mean_weight : ParameterRole::var_weight);
}

int gradient(const Emission& e, const Unit& unit, int which) {
  return e.parameter_gradient(
      unit, which == kMean ? ParameterRole::mean_weight : ParameterRole::var_weight);
}

/// Emits the moments of all samples; returns the tensor of the replica's sums.
int emit_moments(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const auto samples = static_cast<std::size_t>(e.samples());
  const auto add = [&](const char* suffix, std::size_t bytes) {
    return e.add_tensor(e.name(unit) + suffix, bytes, Per::wave_replica, Space::arena, 'd');
  };
  saved.moments = add(" moments", 2 * samples * channel_doubles(e, unit));
  saved.layer = add(" layer moments", 2 * samples * sizeof(double));
  const int sums = add(" batch sums", forward_sums(e, unit) * sizeof(double));
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(SwitchableMoments{e.samples(), norm_pixels(e, unit), norm_channels(e, unit)}),
         {.x = e.input(unit), .moments = saved.moments, .layer = saved.layer, .sums = sums});
  return sums;
}

/// Emits the batch's statistics: of this batch's sums, or in an evaluation the running ones.
void emit_batch(Emission& e, std::size_t n, int sums) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const SwitchableFinalize op{1, norm_channels(e, unit), e.norm(unit).momentum};
  const std::size_t bytes = 2 * channel_doubles(e, unit);
  const std::string name = e.name(unit) + " batch moments";
  if (!e.batch_statistics(unit)) {
    saved.batch = e.add_persistent(name, bytes, Per::once, 'd');
    e.emit(Pass::prepare, Scope::once, e.name(unit), op,
           {.sums = kAbsent,
            .batch = saved.batch,
            .running_mean = saved.running_mean,
            .running_var = saved.running_var});
    return;
  }
  saved.total =
      e.emit_statistics_reduction(Pass::forward, e.name(unit), sums, forward_sums(e, unit));
  saved.batch = e.add_tensor(name, bytes, Per::wave_group, Space::arena, 'd');
  e.emit(Pass::forward, Scope::group, e.name(unit), op,
         {.sums = saved.total,
          .batch = saved.batch,
          .running_mean = saved.running_mean,
          .running_var = saved.running_var});
  if (e.program.options.mode != ProgramMode::training)
    emit_accumulate(e, unit, saved.total, forward_sums(e, unit));
}

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  add_running_pair(e, unit, saved);
  const int sums = emit_moments(e, n);
  emit_batch(e, n, sums);
  add_sample_statistics(e, unit, saved);
  const int x = e.input(unit), residual = e.residual(unit), y = e.output(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(SwitchableForward{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                    e.norm(unit).eps, unit.relu}),
         {.x = x,
          .moments = saved.moments,
          .layer = saved.layer,
          .batch = saved.batch,
          .mean_weight = parameter(e, unit, kMean),
          .var_weight = parameter(e, unit, kVariance),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .residual = residual,
          .y = y,
          .mean = saved.mean,
          .inv_std = saved.inv_std});
  emit_noise(e, n);
}

void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const LocalBackward tensors = local_backward(e, gradients, n);
  // The input gradient reads one tensor, masked already where there is a residual.
  const int g = tensors.g;
  const auto add = [&](const char* suffix, std::size_t bytes) {
    return e.add_tensor(e.name(unit) + suffix, bytes, Per::wave_replica, Space::arena, 'd');
  };
  const std::size_t channels = channel_doubles(e, unit);
  const int local = add(" mixture gradients", 2 * static_cast<std::size_t>(e.samples()) * channels);
  const int sums = add(" gradient sums", 2 * channels);
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(SwitchableGradientSums{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                         unit.relu}),
         {.dy = tensors.dy,
          .dy2 = tensors.dy2,
          .x = e.input(unit),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .moments = saved.moments,
          .layer = saved.layer,
          .batch = saved.batch,
          .mean_weight = parameter(e, unit, kMean),
          .var_weight = parameter(e, unit, kVariance),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .y = relu_mask(e, unit),
          .local = local,
          .sums = sums,
          .dgamma = e.parameter_gradient(unit, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(unit, ParameterRole::beta),
          .dmean_weight = gradient(e, unit, kMean),
          .dvar_weight = gradient(e, unit, kVariance),
          .g = g});
  if (unit.residual >= 0) gradients.contribute(unit.residual, g);
  if (!gradients.needed(unit.input)) return;
  const int total = e.emit_statistics_reduction(
      Pass::backward, e.name(unit), sums, 2 * static_cast<std::size_t>(norm_channels(e, unit)));
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         e.stored(SwitchableInputGradient{e.samples(), norm_pixels(e, unit), norm_channels(e, unit),
                                          unit.relu && g == kAbsent}),
         {.g = g != kAbsent ? g : tensors.dy,
          .x = e.input(unit),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .moments = saved.moments,
          .layer = saved.layer,
          .batch = saved.batch,
          .mean_weight = parameter(e, unit, kMean),
          .var_weight = parameter(e, unit, kVariance),
          .gamma = e.parameter(unit, ParameterRole::gamma),
          .beta = e.parameter(unit, ParameterRole::beta),
          .local = local,
          .gradient_sums = total,
          .sums = saved.total,
          .dx = tensors.dx});
  gradients.contribute(unit.input, tensors.dx);
}

}  // namespace

const NormFamily kSwitchableNorms = {forward, backward};

}  // namespace syncnorm
