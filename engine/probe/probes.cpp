// See probes.h.
#include "engine/probe/probes.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "engine/probe/distribution.h"
#include "engine/probe/gradient_noise.h"
#include "engine/probe/replica_spread.h"

namespace syncnorm {
namespace {

constexpr std::size_t kSums = 4;  // per leaf: count, Σx, Σx², saturated values
constexpr std::size_t kHistogramBins = 32;
constexpr std::size_t kSpreadScalars = 2;  // per leaf and norm: replicas, count per channel

/// A value is saturated if its distance to a limit is below a twentieth of the function's range.
constexpr double kSigmoidLow = 0.05, kSigmoidHigh = 0.95;
constexpr double kTanhLow = -0.9, kTanhHigh = 0.9;

/// Returns the layer that produces `value`, skipping pools, dropout and flattening.
const Layer& source_of(const Graph& graph, int value) {
  const Layer& layer = graph.layers[static_cast<std::size_t>(value)];
  const bool passes_on = std::holds_alternative<PoolLayer>(layer.kind) ||
                         std::holds_alternative<DropoutLayer>(layer.kind) ||
                         std::holds_alternative<FlattenLayer>(layer.kind);
  return passes_on ? source_of(graph, layer.inputs[0]) : layer;
}

/// Returns the conv or linear layer to which a layer's parameters belong: itself, or the one it
/// reads from.
const Layer& owner_of(const Graph& graph, int index) {
  const Layer& layer = graph.layers[static_cast<std::size_t>(index)];
  for (const Layer* at = &layer; !at->inputs.empty();
       at = &graph.layers[static_cast<std::size_t>(at->inputs[0])])
    if (std::holds_alternative<ConvLayer>(at->kind) ||
        std::holds_alternative<ConvTransposeLayer>(at->kind) ||
        std::holds_alternative<LinearLayer>(at->kind))
      return *at;
  return layer;
}

const Layer* find_layer(const Graph& graph, const std::string& name) {
  const auto found = std::find_if(graph.layers.begin(), graph.layers.end(),
                                  [&](const Layer& layer) { return layer.name == name; });
  return found == graph.layers.end() ? nullptr : &*found;
}

/// Returns the input channels of the forward pass of a convolution, a transposed one (an input
/// gradient) or a linear layer; 0 for another operation.
std::size_t input_channels(const Op& op) {
  if (const auto* conv = std::get_if<ConvForward>(&op))
    return static_cast<std::size_t>(conv->shape.channels);
  if (const auto* transposed = std::get_if<ConvDgrad>(&op))
    return static_cast<std::size_t>(transposed->shape.filters);
  if (const auto* linear = std::get_if<LinearForward>(&op))
    return static_cast<std::size_t>(linear->in);
  return 0;
}

/// Returns the input channels of an operation that starts a norm, except a frozen one; 0 for
/// another operation.
std::size_t norm_channels(const Op& op) {
  if (const auto* moments = std::get_if<BatchMoments>(&op))
    return static_cast<std::size_t>(moments->channels);
  if (const auto* moments = std::get_if<EvoNormMoments>(&op))
    return static_cast<std::size_t>(moments->channels);
  if (const auto* group = std::get_if<GroupNormForward>(&op))
    return static_cast<std::size_t>(group->channels);
  if (const auto* pointwise = std::get_if<PointwiseNormForward>(&op))
    return static_cast<std::size_t>(pointwise->channels);
  return 0;
}

/// Returns n, n·mean and M2 + n·mean² per channel, computed in two passes in f64.
std::vector<double> moments_of_channels(const std::vector<float>& values, std::size_t channels) {
  std::vector<double> sums(2 * channels + 1, 0.0), mean(channels, 0.0);
  const double n = sums[0] = static_cast<double>(values.size()) / static_cast<double>(channels);
  for (std::size_t i = 0; i < values.size(); ++i)
    mean[i % channels] += static_cast<double>(values[i]) / n;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double rest = static_cast<double>(values[i]) - mean[i % channels];
    sums[1 + channels + i % channels] += rest * rest;
  }
  for (std::size_t c = 0; c < channels; ++c) {
    sums[1 + c] = n * mean[c];
    sums[1 + channels + c] += n * mean[c] * mean[c];
  }
  return sums;
}

}  // namespace

Probes::Probes(const Graph& graph, const ProbesConfig& config, Executor& executor, Device& device,
               Communicator& comm, const Placement& placement, Memory& memory)
    : config_(config),
      executor_(executor),
      device_(device),
      memory_(memory),
      first_position_(static_cast<std::int64_t>(placement.block(comm.rank()).begin) *
                      executor.program().options.batch_per_replica) {
  find_inputs(graph);
  find_norm_inputs();
  find_layers(graph);
  if (leaf_size_ == 0) return;
  reduction_ = std::make_unique<Reduction<double>>(comm, placement.blocks(), leaf_size_,
                                                   ReductionAlgorithm::tree,
                                                   "probe of activations and statistics");
}

void Probes::find_inputs(const Graph& graph) {
  const Program& program = executor_.program();
  for (std::size_t i = 0; i < program.instructions.size() && config_.activations; ++i) {
    const Instruction& instruction = program.instructions[i];
    if (instruction.kind != InstructionKind::compute || instruction.pass != Pass::forward) continue;
    Input input{instruction.layer, i, -1, input_channels(instruction.op), false, false, 0, 0, 0};
    const syncnorm::Layer* layer = find_layer(graph, instruction.layer);
    if (input.channels == 0 || layer == nullptr) continue;
    const LayerKind& made_by = source_of(graph, layer->inputs[0]).kind;
    if (std::holds_alternative<InputLayer>(made_by)) continue;
    input.tensor = instruction.args[0];
    if (const auto* activation = std::get_if<ActivationLayer>(&made_by)) {
      const bool sigmoid = activation->kind == Activation::sigmoid;
      input.saturates = sigmoid || activation->kind == Activation::tanh;
      input.low = sigmoid ? kSigmoidLow : kTanhLow;
      input.high = sigmoid ? kSigmoidHigh : kTanhHigh;
      input.dies = activation->kind == Activation::relu;
    }
    input.offset = leaf_size_;
    leaf_size_ += kSums + kDistributionBins + input.channels;
    inputs_.push_back(std::move(input));
  }
}

void Probes::find_norm_inputs() {
  const Program& program = executor_.program();
  for (std::size_t i = 0; i < program.instructions.size() && config_.replica_spread; ++i) {
    const Instruction& instruction = program.instructions[i];
    if (instruction.kind != InstructionKind::compute) continue;
    const std::size_t channels = norm_channels(instruction.op);
    if (channels == 0) continue;
    norm_inputs_.push_back({instruction.layer, i, instruction.args[0], channels, leaf_size_});
    leaf_size_ += kSpreadScalars + kReplicaVectors * channels;
  }
}

void Probes::find_layers(const Graph& graph) {
  const Program& program = executor_.program();
  for (std::size_t p = 0; p < graph.parameters.size(); ++p) {
    const std::size_t begin = program.parameter_offset[p];
    if (begin >= program.trained_floats) continue;
    const std::string& name = owner_of(graph, graph.parameters[p].layer).name;
    auto layer = std::find_if(layers_.begin(), layers_.end(),
                              [&](const Layer& known) { return known.name == name; });
    if (layer == layers_.end()) layer = layers_.insert(layers_.end(), {name, {}});
    layer->ranges.push_back({begin, begin + graph.parameters[p].count()});
  }
}

void Probes::remember() {
  memory_.parameters.pull();
  const std::span<const float> parameters = memory_.parameters.host<float>();
  before_.assign(parameters.begin(), parameters.end());
}

std::vector<float> Probes::gradient() const {
  std::vector<float> values(executor_.program().trained_floats);
  device_.copy(values.data(), memory_.gradients.data(), values.size() * sizeof(float));
  device_.synchronize();
  to_channels_first(executor_.program().weight_blocks, values);
  return values;
}

void Probes::set_parameters(std::span<const float> values) {
  std::copy(values.begin(), values.end(), memory_.parameters.host<float>().begin());
  memory_.parameters.push();
}

LossAndGradient Probes::evaluate(std::span<const float> parameters) {
  set_parameters(parameters);
  executor_.run(state_, batch_);
  return {executor_.loss()[0] / samples_, gradient()};
}

ProbeEvent Probes::measure(StepState state, const BatchView& batch, double samples, double loss) {
  const auto begin = Clock::now();
  state_ = state;
  state_.update_running = false;
  batch_ = batch;
  samples_ = samples;
  memory_.parameters.pull();
  const std::span<const float> live = memory_.parameters.host<float>();
  const std::vector<float> after(live.begin(), live.end());
  gradient_ = gradient();
  ProbeEvent event;
  if (leaf_size_ > 0) {
    Leaf old_values = distributions(before_);
    event.replica_spread = replica_spread(old_values);
    if (!inputs_.empty()) {
      const Leaf new_values = distributions(after);
      for (const Input& input : inputs_)
        event.activations.push_back(compare(input, old_values, new_values));
    }
  }
  if (config_.gradients) event.gradients = gradients(after);
  if (config_.landscape) event.landscape = landscape(loss);
  if (config_.covariate_shift) event.covariate_shift = covariate_shift(after);
  if (config_.signal_to_noise) event.signal_to_noise = signal_to_noise();
  set_parameters(after);
  event.seconds = seconds_since(begin);
  return event;
}

Probes::Leaf Probes::distributions(std::span<const float> parameters) {
  set_parameters(parameters);
  std::vector<Leaf> leaves(static_cast<std::size_t>(executor_.replicas().count),
                           Leaf(leaf_size_, 0.0));
  executor_.run_forward(state_, batch_, [&](std::size_t instruction, int replica) {
    for (const Input& input : inputs_)
      if (input.instruction == instruction)
        add_values(input, replica, leaves[static_cast<std::size_t>(replica)]);
    for (const NormInput& input : norm_inputs_)
      if (input.instruction == instruction)
        add_norm_values(input, replica, leaves[static_cast<std::size_t>(replica)]);
  });
  return reduced(leaves);
}

void Probes::add_values(const Input& input, int replica, Leaf& leaf) const {
  double* sums = leaf.data() + input.offset;
  double* bins = sums + kSums;
  double* alive = bins + kDistributionBins;
  const std::vector<float> values = executor_.tensors().floats(input.tensor, replica);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto v = static_cast<double>(values[i]);
    sums[0] += 1.0;
    sums[1] += v;
    sums[2] += v * v;
    sums[3] += v < input.low || v > input.high ? 1.0 : 0.0;
    bins[bin_of(values[i])] += 1.0;
    alive[i % input.channels] += v != 0.0 ? 1.0 : 0.0;
  }
}

void Probes::add_norm_values(const NormInput& input, int replica, Leaf& leaf) const {
  const std::vector<double> moments =
      moments_of_channels(executor_.tensors().floats(input.tensor, replica), input.channels);
  double* sums = leaf.data() + input.offset;
  sums[0] += 1.0;
  sums[1] += moments[0];
  add_replica(moments, replica_sums_in(sums + kSpreadScalars, input.channels));
}

/// Returns the sum of all replicas' leaves, in tree order.
Probes::Leaf Probes::reduced(std::vector<Leaf>& leaves) {
  std::vector<double*> own;
  for (Leaf& leaf : leaves) own.push_back(leaf.data());
  Leaf sum(leaf_size_);
  reduction_->start_leaves(own, sum.data());
  reduction_->wait();
  return sum;
}

ActivationProbe Probes::compare(const Input& input, const Leaf& before, const Leaf& after) const {
  const double* sums = before.data() + input.offset;
  const double* later = after.data() + input.offset;
  const std::span<const double> bins(sums + kSums, kDistributionBins);
  const std::span<const double> later_bins(later + kSums, kDistributionBins);
  const Moments m = moments_of(sums[0], sums[1], sums[2]);
  const Moments n = moments_of(later[0], later[1], later[2]);
  ActivationProbe probe;
  probe.layer = input.layer;
  probe.mean = m.mean;
  probe.deviation = m.deviation;
  probe.p15 = percentile(bins, 0.15);
  probe.p50 = percentile(bins, 0.50);
  probe.p85 = percentile(bins, 0.85);
  probe.low = percentile(bins, 0.0);
  probe.high = percentile(bins, 1.0);
  if (probe.high > probe.low)
    probe.histogram = histogram(bins, probe.low, probe.high, kHistogramBins);
  if (input.saturates) probe.saturated = sums[3] / sums[0];
  if (input.dies) {
    const double* alive = sums + kSums + kDistributionBins;
    const auto dead = std::count(alive, alive + input.channels, 0.0);
    probe.dead = static_cast<double>(dead) / static_cast<double>(input.channels);
  }
  probe.gaussian_divergence = gaussian_divergence(m, n);
  probe.histogram_divergence = histogram_divergence(bins, later_bins);
  probe.mean_shift = m.deviation > 0.0 ? (n.mean - m.mean) / m.deviation : 0.0;
  probe.deviation_ratio = m.deviation > 0.0 ? n.deviation / m.deviation : 1.0;
  return probe;
}

std::vector<GradientProbe> Probes::gradients(std::span<const float> after) const {
  std::vector<GradientProbe> probes;
  for (const Layer& layer : layers_) {
    double gradient = 0.0, weights = 0.0, update = 0.0;
    for (const Range& range : layer.ranges) {
      const std::size_t count = range.end - range.begin;
      const auto part = [&](std::span<const float> values) {
        return values.subspan(range.begin, count);
      };
      gradient = std::hypot(gradient, norm_of(part(gradient_)));
      weights = std::hypot(weights, norm_of(part(before_)));
      update = std::hypot(update, distance_of(part(before_), part(after)));
    }
    probes.push_back({layer.name, gradient, update / weights});
  }
  return probes;
}

LandscapeProbe Probes::landscape(double loss) {
  std::vector<double> steps;
  const int last = std::max(config_.landscape_points - 1, 1);
  for (int i = 0; i < config_.landscape_points; ++i)
    steps.push_back(config_.landscape_from +
                    (config_.landscape_to - config_.landscape_from) * i / last);
  const Landscape l = measure_landscape(before_, {loss, gradient_}, steps,
                                        [&](std::span<const float> x) { return evaluate(x); });
  return {l.alpha, l.loss, l.predictiveness, l.loss_low, l.loss_high, l.smoothness, l.lipschitz};
}

std::vector<std::vector<Range>> Probes::layer_ranges() const {
  std::vector<std::vector<Range>> ranges;
  for (const Layer& layer : layers_) ranges.push_back(layer.ranges);
  return ranges;
}

std::vector<CovariateShiftProbe> Probes::covariate_shift(std::span<const float> after) {
  const std::vector<CovariateShift> shifts =
      measure_covariate_shift(before_, after, gradient_, layer_ranges(),
                              [&](std::span<const float> x) { return evaluate(x); });
  std::vector<CovariateShiftProbe> probes;
  for (std::size_t i = 0; i < shifts.size(); ++i)
    probes.push_back(
        {layers_[i].name, shifts[i].gradient_norm, shifts[i].distance, shifts[i].cosine});
  return probes;
}

/// Returns the gradient of the mean loss over every other sample of the global batch, starting at
/// position `which`; there are `samples` of them. The other samples have no label, and thus no
/// loss.
std::vector<float> Probes::gradient_of_half(std::int64_t which, double samples) {
  const auto count = static_cast<std::int64_t>(executor_.replicas().count) *
                     executor_.program().options.batch_per_replica;
  std::vector<std::int32_t> labels(batch_.labels, batch_.labels + count);
  for (std::int64_t i = 0; i < count; ++i)
    if ((first_position_ + i) % 2 != which) labels[static_cast<std::size_t>(i)] = -1;
  BatchView half = batch_;
  half.labels = labels.data();
  executor_.run(state_, half);
  std::vector<float> found = gradient();
  for (float& g : found) g = static_cast<float>(static_cast<double>(g) * samples_ / samples);
  return found;
}

std::vector<SignalToNoiseProbe> Probes::signal_to_noise() {
  const double first = std::ceil(samples_ / 2.0), second = samples_ - first;
  if (second == 0.0) return {};  // one image cannot be split
  set_parameters(before_);
  const std::vector<float> a = gradient_of_half(0, first), b = gradient_of_half(1, second);
  const std::vector<GradientNoise> found =
      measure_gradient_noise({a, first}, {b, second}, layer_ranges());
  std::vector<SignalToNoiseProbe> probes;
  for (std::size_t i = 0; i < found.size(); ++i)
    probes.push_back({layers_[i].name, found[i].signal, found[i].noise, found[i].ratio});
  return probes;
}

std::vector<ReplicaSpreadProbe> Probes::replica_spread(Leaf& sums) const {
  std::vector<ReplicaSpreadProbe> probes;
  for (const NormInput& input : norm_inputs_) {
    double* at = sums.data() + input.offset;
    const ReplicaSpread found = syncnorm::replica_spread(
        at[0], at[1], replica_sums_in(at + kSpreadScalars, input.channels));
    probes.push_back({input.layer, found.mean, found.variance});
  }
  return probes;
}

}  // namespace syncnorm
