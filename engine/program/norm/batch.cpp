// Batch norm with the batch's own statistics: sums, a reduction over the replicas that share them,
// and what follows from the total, in both directions. Norms whose sums are ready together travel
// in one message (share.cpp): its instructions stand where the last of them has its sums.
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

std::size_t forward_sums(const Emission& e, const Node& node) {
  return 2 * static_cast<std::size_t>(norm_channels(e, node)) + 1;
}
std::size_t gradient_sums(const Emission& e, const Node& node) {
  return 2 * static_cast<std::size_t>(norm_channels(e, node));
}

std::string joined_names(const Emission& e, const std::vector<std::size_t>& nodes) {
  std::string names;
  for (const std::size_t n : nodes) names += (names.empty() ? "" : " and ") + e.name(e.nodes[n]);
  return names;
}

// ---- Forward.

void add_leaf(Emission& e, Message& message) {
  std::size_t count = 0;
  for (const std::size_t n : message.nodes) count += forward_sums(e, e.nodes[n]);
  message.leaf = e.add_tensor(joined_names(e, message.nodes) + " moments", count * sizeof(double),
                              Per::wave_replica, Space::arena, 'd');
  std::size_t at = 0;
  for (const std::size_t n : message.nodes) {
    const std::size_t size = forward_sums(e, e.nodes[n]) * sizeof(double);
    e.saved[n].moments = e.add_view(message.leaf, e.name(e.nodes[n]) + " moments", size, at);
    at += size;
  }
}

void emit_message(Emission& e, Message& message) {
  std::size_t count = 0;
  for (const std::size_t n : message.nodes) count += forward_sums(e, e.nodes[n]);
  message.result = e.emit_statistics_reduction(Pass::forward, joined_names(e, message.nodes),
                                               message.leaf, count);
  std::size_t at = 0;
  for (const std::size_t n : message.nodes) {
    const std::size_t size = forward_sums(e, e.nodes[n]) * sizeof(double);
    e.saved[n].total = message.result == message.leaf
                           ? e.saved[n].moments
                           : e.add_view(message.result, e.name(e.nodes[n]) + " sums", size, at);
    at += size;
  }
}

/// The batch's statistics, added to those of the batches before; nothing else is changed.
void emit_totals(Emission& e, std::size_t n) {
  const Node& node = e.nodes[n];
  const Emission::Saved& saved = e.saved[n];
  const int totals = e.add_persistent(e.name(node) + " totals",
                                      forward_sums(e, node) * sizeof(double), Per::group, 'd');
  for (RunningSlot& slot : e.program.running)
    if (slot.layer == node.layer) slot.totals = totals;
  const NormConfig& norm = e.program.options.norm;
  e.emit(Pass::forward, Scope::group, e.name(node),
         BatchFinalize{1, norm_channels(e, node), norm.eps, norm.momentum, {}},
         {.sums = saved.total,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .running_mean = kAbsent,
          .running_var = kAbsent,
          .correction = kAbsent});
  e.emit(Pass::forward, Scope::group, e.name(node),
         Accumulate{1, static_cast<int>(forward_sums(e, node))},
         {.sums = saved.total, .totals = totals});
}

int emit_deviation_part(Emission& e, std::size_t n, DeviationPart part, int largest) {
  const Node& node = e.nodes[n];
  const bool maximum = part == DeviationPart::largest;
  const std::size_t count = static_cast<std::size_t>(norm_channels(e, node)) * (maximum ? 1U : 2U);
  const std::string name =
      e.name(node) +
      (maximum ? " largest deviation" : (part == DeviationPart::maxima ? " maxima" : " deviation"));
  const int leaf = e.add_tensor(name, count * sizeof(double), Per::wave_replica, Space::arena, 'd');
  const int x = e.input(node);
  e.emit(Pass::forward, Scope::replica, e.name(node),
         e.stored(BatchDeviation{e.samples(), norm_pixels(e, node), norm_channels(e, node), part}),
         {.x = x, .mean = e.saved[n].mean, .largest = largest, .totals = leaf});
  return e.emit_statistics_reduction(Pass::forward, name, leaf, count,
                                     maximum ? Combine::max : Combine::sum);
}

/// L1 and L∞ take the mean first, then one or two reductions more.
void emit_deviation(Emission& e, std::size_t n) {
  const Node& node = e.nodes[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.program.options.norm;
  const bool l1 = norm.deviation == Deviation::l1;
  saved.deviation =
      emit_deviation_part(e, n, l1 ? DeviationPart::absolute : DeviationPart::largest, kAbsent);
  if (!l1) saved.maxima = emit_deviation_part(e, n, DeviationPart::maxima, saved.deviation);
  e.emit(Pass::forward, Scope::group, e.name(node),
         BatchFinalizeDeviation{1, norm_channels(e, node), norm.deviation, norm.l1_factor(),
                                norm.eps, norm.momentum},
         {.sums = saved.total,
          .deviation = saved.deviation,
          .inv_std = saved.inv_std,
          .running_var = saved.running_var});
}

void emit_finalize(Emission& e, std::size_t n) {
  if (e.program.options.mode != ProgramMode::training) return emit_totals(e, n);
  const Node& node = e.nodes[n];
  const Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.program.options.norm;
  BatchFinalize op{1, norm_channels(e, node), norm.eps, norm.momentum, {}};
  if (norm.renormalize)
    op.renormalization = {true, norm.r_max, norm.d_max, norm.renormalize_start,
                          norm.renormalize_ramp};
  const bool l2 = norm.deviation == Deviation::l2;
  e.emit(Pass::forward, Scope::group, e.name(node), op,
         {.sums = saved.total,
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .running_mean = saved.running_mean,
          .running_var = l2 ? saved.running_var : kAbsent,
          .correction = saved.correction});
  if (!l2) emit_deviation(e, n);
}

void add_statistics(Emission& e, std::size_t n) {
  const Node& node = e.nodes[n];
  Emission::Saved& saved = e.saved[n];
  const std::size_t vector = sizeof(float) * static_cast<std::size_t>(norm_channels(e, node));
  saved.mean = e.add_tensor(e.name(node) + " mean", 2 * vector, Per::wave_group);
  saved.inv_std = e.add_tensor(e.name(node) + " inv_std", vector, Per::wave_group);
  if (e.program.options.mode == ProgramMode::training && e.program.options.norm.renormalize)
    saved.correction = e.add_tensor(e.name(node) + " correction", 2 * vector, Per::wave_group);
}

void forward(Emission& e, std::size_t n) {
  const Node& node = e.nodes[n];
  add_running_pair(e, node, e.saved[n]);
  if (!e.batch_statistics()) {
    emit_from_running(e, n);
    return emit_normalize(e, n);
  }
  add_statistics(e, n);
  Message& message = e.messages[static_cast<std::size_t>(node.message)];
  if (message.leaf < 0) add_leaf(e, message);
  const int x = e.input(node);
  e.emit(Pass::forward, Scope::replica, e.name(node),
         e.stored(BatchMoments{e.samples(), norm_pixels(e, node), norm_channels(e, node)}),
         {.x = x, .sums = e.saved[n].moments});
  if (n != message.nodes.back()) return;
  emit_message(e, message);
  for (const std::size_t member : message.nodes) emit_finalize(e, member);
  for (const std::size_t member : message.nodes) emit_normalize(e, member);
}

// ---- Backward.

/// Tensors that the first half of a norm's backward pass hands to the second.
struct Half {
  std::size_t node = 0;
  int dy = kAbsent, g = kAbsent, dx = kAbsent, leaf = kAbsent;
};

/// Sums of one norm; into `leaf` from byte `at` on where its input's gradient is needed.
Half emit_sums(Emission& e, Gradients& gradients, std::size_t n, int leaf, std::size_t at) {
  const Node& node = e.nodes[n];
  const Emission::Saved& saved = e.saved[n];
  const std::vector<int> dy = norm_gradient(e, gradients, n);
  Half half;
  half.node = n;
  half.dy = dy[0];
  if (dy.size() > 1 || gradients.needed(node.residual))
    half.g = gradients.like(node.output, " masked gradient");
  if (gradients.needed(node.input)) half.dx = gradients.make(node.input);
  const std::size_t size = gradient_sums(e, node) * sizeof(double);
  half.leaf = half.dx >= 0 ? e.add_view(leaf, e.name(node) + " gradient sums", size, at)
                           : e.add_tensor(e.name(node) + " gradient sums", size, Per::wave_replica,
                                          Space::arena, 'd');
  e.emit(Pass::backward, Scope::replica, e.name(node),
         e.stored(BatchGradientSums{e.samples(), norm_pixels(e, node), norm_channels(e, node),
                                    node.relu}),
         {.dy = dy[0],
          .dy2 = dy.size() > 1 ? dy[1] : kAbsent,
          .x = e.stored_value(node.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(node, ParameterRole::gamma),
          .beta = e.parameter(node, ParameterRole::beta),
          .y = relu_mask(e, node),
          .correction = saved.correction,
          .sums = half.leaf,
          .dgamma = e.parameter_gradient(node, ParameterRole::gamma),
          .dbeta = e.parameter_gradient(node, ParameterRole::beta),
          .g = half.g});
  if (node.residual >= 0) gradients.contribute(node.residual, half.g);
  return half;
}

void emit_input_gradient(Emission& e, Gradients& gradients, const Half& half, int total) {
  const Node& node = e.nodes[half.node];
  const Emission::Saved& saved = e.saved[half.node];
  const NormConfig& norm = e.program.options.norm;
  const bool masks = node.relu && half.g == kAbsent;
  e.emit(Pass::backward, Scope::replica, e.name(node),
         e.stored(BatchInputGradient{e.samples(), norm_pixels(e, node), norm_channels(e, node),
                                     masks, norm.deviation, norm.l1_factor(), false}),
         {.g = half.g == kAbsent ? half.dy : half.g,
          .x = e.stored_value(node.input),
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .gamma = e.parameter(node, ParameterRole::gamma),
          .beta = e.parameter(node, ParameterRole::beta),
          .gradient_sums = total,
          .sums = saved.total,
          .correction = saved.correction,
          .deviation = saved.deviation,
          .maxima = saved.maxima,
          .dx = half.dx});
  gradients.contribute(node.input, half.dx);
}

/// All norms of the message, where the reverse pass meets its last one.
void backward(Emission& e, Gradients& gradients, std::size_t n) {
  const Message& message = e.messages[static_cast<std::size_t>(e.nodes[n].message)];
  if (n != message.nodes.back()) return;
  const std::vector<std::size_t> members(message.nodes.rbegin(), message.nodes.rend());
  std::vector<std::size_t> sending;  // γ and β need no reduction of statistics
  std::size_t count = 0;
  for (const std::size_t member : members) {
    if (!gradients.needed(e.nodes[member].input)) continue;
    sending.push_back(member);
    count += gradient_sums(e, e.nodes[member]);
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
    if (halves.back().dx >= 0) at += gradient_sums(e, e.nodes[member]) * sizeof(double);
  }
  if (count == 0) return;
  const int total = e.emit_statistics_reduction(Pass::backward, names, leaf, count);
  at = 0;
  for (const Half& half : halves) {
    if (half.dx < 0) continue;
    const Node& node = e.nodes[half.node];
    const std::size_t size = gradient_sums(e, node) * sizeof(double);
    const int own =
        total == leaf ? half.leaf : e.add_view(total, e.name(node) + " gradient sums", size, at);
    at += size;
    emit_input_gradient(e, gradients, half, own);
  }
}

}  // namespace

const NormFamily kBatchNorms = {forward, backward};

}  // namespace syncnorm
