// Batch norm with batch statistics: sums, a reduction over the replicas that share them, and the
// computations on the total, in both directions. Norms whose sums are ready together share one
// message (share.cpp), whose instructions stand where the last norm has its sums.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

std::size_t forward_sums(const Emission& e, const Unit& unit) {
  return 2 * static_cast<std::size_t>(norm_channels(e, unit)) + 1;
}
bool is_evonorm(const Emission& e, const Unit& unit) {
  return e.norm(unit).kind == NormKind::evonorm_b0;
}
std::size_t gradient_sums(const Emission& e, const Unit& unit) {
  return (is_evonorm(e, unit) ? 1 : 2) * static_cast<std::size_t>(norm_channels(e, unit));
}

std::string joined_names(const Emission& e, const std::vector<std::size_t>& units) {
  std::string names;
  for (const std::size_t n : units) names += (names.empty() ? "" : " and ") + e.name(e.units[n]);
  return names;
}

// ---- Forward.

void add_leaf(Emission& e, Message& message) {
  std::size_t count = 0;
  for (const std::size_t n : message.units) count += forward_sums(e, e.units[n]);
  message.leaf = e.add_tensor(joined_names(e, message.units) + " moments", count * sizeof(double),
                              Per::wave_replica, Space::arena, 'd');
  std::size_t at = 0;
  for (const std::size_t n : message.units) {
    const std::size_t size = forward_sums(e, e.units[n]) * sizeof(double);
    e.saved[n].moments = e.add_view(message.leaf, e.name(e.units[n]) + " moments", size, at);
    at += size;
  }
}

void emit_message(Emission& e, Message& message) {
  std::size_t count = 0;
  for (const std::size_t n : message.units) count += forward_sums(e, e.units[n]);
  message.result = e.emit_statistics_reduction(Pass::forward, joined_names(e, message.units),
                                               message.leaf, count);
  std::size_t at = 0;
  for (const std::size_t n : message.units) {
    const std::size_t size = forward_sums(e, e.units[n]) * sizeof(double);
    e.saved[n].total = message.result == message.leaf
                           ? e.saved[n].moments
                           : e.add_view(message.result, e.name(e.units[n]) + " sums", size, at);
    at += size;
  }
}

/// Adds the batch's statistics to the totals over batches; changes nothing else.
void emit_totals(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  e.emit(Pass::forward, Scope::group, e.name(unit),
         BatchFinalize{1, norm_channels(e, unit), norm.eps, norm.momentum, {}},
         {.sums = saved.total,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .running_mean = kAbsent,
          .running_var = kAbsent,
          .correction = kAbsent});
  emit_accumulate(e, unit, saved.total, forward_sums(e, unit));
}

int emit_deviation_part(Emission& e, std::size_t n, DeviationPart part, int largest) {
  const Unit& unit = e.units[n];
  const bool maximum = part == DeviationPart::largest;
  const std::size_t count = static_cast<std::size_t>(norm_channels(e, unit)) * (maximum ? 1U : 2U);
  const std::string name =
      e.name(unit) +
      (maximum ? " largest deviation" : (part == DeviationPart::maxima ? " maxima" : " deviation"));
  const int leaf = e.add_tensor(name, count * sizeof(double), Per::wave_replica, Space::arena, 'd');
  const int x = e.input(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(BatchDeviation{e.samples(), norm_pixels(e, unit), norm_channels(e, unit), part}),
         {.x = x, .mean = e.saved[n].mean, .largest = largest, .totals = leaf});
  return e.emit_statistics_reduction(Pass::forward, name, leaf, count,
                                     maximum ? Combine::max : Combine::sum);
}

/// Emits the deviation of L1 and L∞: after the mean, one or two more reductions.
void emit_deviation(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  const bool l1 = norm.deviation == Deviation::l1;
  saved.deviation =
      emit_deviation_part(e, n, l1 ? DeviationPart::absolute : DeviationPart::largest, kAbsent);
  if (!l1) saved.maxima = emit_deviation_part(e, n, DeviationPart::maxima, saved.deviation);
  e.emit(Pass::forward, Scope::group, e.name(unit),
         BatchFinalizeDeviation{1, norm_channels(e, unit), norm.deviation, norm.l1_factor(),
                                norm.eps, norm.momentum},
         {.sums = saved.total,
          .deviation = saved.deviation,
          .inv_std = saved.inv_std,
          .running_var = saved.running_var});
}

void emit_finalize(Emission& e, std::size_t n) {
  if (e.program.options.mode != ProgramMode::training) return emit_totals(e, n);
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  if (norm.kind == NormKind::momentum) return emit_momentum_finalize(e, n);
  if (norm.kind == NormKind::mabn) return emit_moving_finalize(e, n);
  if (norm.kind == NormKind::cross_iteration) return emit_cross_iteration_finalize(e, n);
  BatchFinalize op{1, norm_channels(e, unit), norm.eps, norm.momentum, {}};
  if (norm.renormalize)
    op.renormalization = {true, norm.r_max, norm.d_max, norm.renormalize_start,
                          norm.renormalize_ramp};
  const bool l2 = norm.deviation == Deviation::l2;
  e.emit(Pass::forward, Scope::group, e.name(unit), op,
         {.sums = saved.total,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .running_mean = saved.running_mean,
          .running_var = l2 ? saved.running_var : kAbsent,
          .correction = saved.correction});
  if (!l2) emit_deviation(e, n);
}

void add_statistics(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, unit));
  saved.mean = e.add_tensor(e.name(unit) + " mean", 2 * vector, Per::wave_group);
  saved.inv_std = e.add_tensor(e.name(unit) + " inv_std", vector, Per::wave_group);
  const NormConfig& norm = e.norm(unit);
  const bool corrected = norm.renormalize || norm.kind == NormKind::mabn;
  if (e.program.options.mode == ProgramMode::training && corrected)
    saved.correction = e.add_tensor(e.name(unit) + " correction", 2 * vector, Per::wave_group);
}

void emit_moments(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  if (is_evonorm(e, unit)) return emit_evonorm_moments(e, n);
  const int x = e.input(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(BatchMoments{e.samples(), norm_pixels(e, unit), norm_channels(e, unit)}),
         {.x = x, .sums = e.saved[n].moments});
}

void emit_output(Emission& e, std::size_t n) {
  is_evonorm(e, e.units[n]) ? emit_evonorm_apply(e, n) : emit_normalize(e, n);
}

/// Mixes the statistics of each replica's only sample with the running ones.
void mixed_forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  add_statistics(e, n);
  saved.moments = e.add_tensor(e.name(unit) + " moments", forward_sums(e, unit) * sizeof(double),
                               Per::wave_replica, Space::arena, 'd');
  const int x = e.input(unit);
  e.emit(Pass::forward, Scope::replica, e.name(unit),
         e.stored(BatchMoments{e.samples(), norm_pixels(e, unit), norm_channels(e, unit)}),
         {.x = x, .sums = saved.moments});
  e.emit(Pass::forward, Scope::group, e.name(unit),
         BatchMix{1, norm_channels(e, unit), e.norm(unit).eps},
         {.sums = saved.moments,
          .running_mean = saved.running_mean,
          .running_var = saved.running_var,
          .mean = saved.mean,
          .inv_std = saved.inv_std});
  emit_normalize(e, n);
}

void forward(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  add_running_pair(e, unit, e.saved[n]);
  if (e.program.options.mode == ProgramMode::mixed_evaluation) return mixed_forward(e, n);
  if (!e.batch_statistics(unit)) {
    emit_from_running(e, n);
    return emit_output(e, n);
  }
  add_statistics(e, n);
  Message& message = e.messages[static_cast<std::size_t>(unit.message)];
  if (message.leaf < 0) add_leaf(e, message);
  emit_moments(e, n);
  if (n != message.units.back()) return;
  emit_message(e, message);
  for (const std::size_t member : message.units) emit_finalize(e, member);
  for (const std::size_t member : message.units) emit_output(e, member);
}

// ---- Backward.

/// A unit of the message between the two halves of its backward pass.
struct Half {
  std::size_t unit = 0;
  BatchBackward tensors;
};

/// Emits the sums of one norm; into `leaf` from byte `at` if the gradient of its input is needed.
Half emit_sums(Emission& e, Gradients& gradients, std::size_t n, int leaf, std::size_t at) {
  const Unit& unit = e.units[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  Half half;
  half.unit = n;
  BatchBackward& tensors = half.tensors;
  tensors.dy = dy[0];
  if (dy.size() > 1) tensors.dy2 = dy[1];
  if (dy.size() > 1 || gradients.needed(unit.residual))
    tensors.g = gradients.like(unit.output, " masked gradient");
  if (gradients.needed(unit.input)) tensors.dx = gradients.make(unit.input);
  const std::size_t size = gradient_sums(e, unit) * sizeof(double);
  const std::string name = e.name(unit) + " gradient sums";
  tensors.sums = tensors.dx >= 0 ? e.add_view(leaf, name, size, at)
                                 : e.add_tensor(name, size, Per::wave_replica, Space::arena, 'd');
  is_evonorm(e, unit) ? emit_evonorm_sums(e, n, tensors) : emit_gradient_sums(e, n, tensors);
  if (unit.residual >= 0) gradients.contribute(unit.residual, tensors.g);
  return half;
}

/// Emits the reduction of the sums in `leaf`, and the gradients of the units' inputs.
void emit_input_gradients(Emission& e, Gradients& gradients, std::vector<Half>& halves, int leaf,
                          std::size_t count, const std::string& names) {
  const int total = e.emit_statistics_reduction(Pass::backward, names, leaf, count);
  std::size_t at = 0;
  for (Half& half : halves) {
    BatchBackward& tensors = half.tensors;
    if (tensors.dx < 0) continue;
    const Unit& unit = e.units[half.unit];
    const NormConfig& norm = e.norm(unit);
    const std::size_t size = gradient_sums(e, unit) * sizeof(double);
    tensors.total =
        total == leaf ? tensors.sums : e.add_view(total, e.name(unit) + " gradient sums", size, at);
    at += size;
    if (norm.kind == NormKind::momentum || norm.kind == NormKind::cross_iteration)
      tensors.total = emit_momentum_gradient(e, half.unit, tensors.total);
    if (norm.kind == NormKind::mabn)
      tensors.total = emit_moving_gradient(e, half.unit, tensors.total);
    if (is_evonorm(e, unit))
      emit_evonorm_input_gradient(e, half.unit, tensors);
    else
      emit_input_gradient(e, half.unit, tensors, false);
    gradients.contribute(unit.input, tensors.dx);
  }
}

/// Emits all norms of the message when the backward pass reaches its last unit.
void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Message& message = e.messages[static_cast<std::size_t>(e.units[n].message)];
  if (n != message.units.back()) return;
  const std::vector<std::size_t> members(message.units.rbegin(), message.units.rend());
  std::vector<std::size_t> sending;  // γ and β need no reduction of statistics
  std::size_t count = 0;
  for (const std::size_t member : members) {
    if (!gradients.needed(e.units[member].input)) continue;
    sending.push_back(member);
    count += gradient_sums(e, e.units[member]);
  }
  const std::string names = joined_names(e, sending);
  int leaf = kAbsent;
  if (count > 0)
    leaf = e.add_tensor(names + " gradient sums", count * sizeof(double), Per::wave_replica,
                        Space::arena, 'd');
  std::vector<Half> halves;
  std::size_t at = 0;
  for (const std::size_t member : members) {
    halves.push_back(emit_sums(e, gradients, member, leaf, at));
    if (halves.back().tensors.dx >= 0) at += gradient_sums(e, e.units[member]) * sizeof(double);
  }
  if (count > 0) emit_input_gradients(e, gradients, halves, leaf, count, names);
  for (const std::size_t member : members)
    if (e.norm(e.units[member]).kind == NormKind::cross_iteration)
      emit_cross_iteration_keep(e, member);
}

}  // namespace

const NormFamily kBatchNorms = {forward, backward};

}  // namespace syncnorm
