// The forward pass: one function per kind of layer emits its instructions.
#include <fmt/format.h>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

class Forward {
 public:
  explicit Forward(Emission& e) : e_(e), options_(e.program.options) {}

  void run() {
    e_.value.assign(e_.graph.layers.size(), -1);
    e_.converted.assign(e_.graph.layers.size(), -1);
    e_.saved.resize(e_.nodes.size());
    const std::size_t images =
        static_cast<std::size_t>(shape(0).size()) * static_cast<std::size_t>(e_.samples());
    e_.value[0] = e_.add_tensor("image", images * sizeof(float), Per::replica, Space::image);
    for (std::size_t i = 0; i < e_.nodes.size(); ++i) {
      const Node& node = e_.nodes[i];
      saved_ = &e_.saved[i];
      std::visit([&](const auto& layer) { emit(node, layer); },
                 e_.graph.layers[static_cast<std::size_t>(node.layer)].kind);
    }
  }

 private:
  bool training() const { return options_.mode == ProgramMode::training; }
  const Shape& shape(int value) const {
    return e_.graph.layers[static_cast<std::size_t>(value)].shape;
  }
  int input(const Node& node) { return e_.value_in(node.input, options_.storage); }
  int residual(const Node& node) {
    return node.residual < 0 ? -1 : e_.value_in(node.residual, options_.storage);
  }
  int output(const Node& node) {
    const int tensor = e_.add_values(e_.graph.layers[static_cast<std::size_t>(node.output)].name,
                                     node.output, e_.storage(node.output));
    e_.value[static_cast<std::size_t>(node.output)] = tensor;
    return tensor;
  }

  int sample_ids() {
    return e_.add_tensor("sample ids", sizeof(std::uint32_t) * e_.samples(), Per::replica,
                         Space::sample_id, 'o');
  }

  int pack(const Node& node, bool for_dgrad) {
    const ConvPack op{e_.samples(), e_.conv_shape(node), for_dgrad, options_.storage};
    const std::size_t size = (e_.device.packed_bytes(op) + 63) / 64 * 64;
    const int packed = e_.add_tensor(e_.name(node) + (for_dgrad ? " packed for dgrad" : " packed"),
                                     size, Per::once, Space::packed);
    e_.program.tensors.back().offset = e_.program.packed_bytes;
    e_.program.packed_bytes += size;
    e_.emit(Pass::prepare, Scope::once, e_.name(node), op, {saved_->weight, packed}, 1);
    return packed;
  }

  void emit(const Node&, const InputLayer&) {}

  void emit(const Node& node, const ConvLayer&) {
    saved_->weight = emit_weight(e_, node, *saved_);
    const int packed = pack(node, false);
    if (training() && node.input != 0) saved_->packed_dgrad = pack(node, true);
    const int x = input(node), y = output(node);
    e_.emit(Pass::forward, e_.scope(), e_.name(node),
            e_.stored(ConvForward{e_.samples(), e_.conv_shape(node)}),
            {x, packed, e_.parameter(node, ParameterRole::bias), y}, 3);
  }

  void emit(const Node& node, const LinearLayer& layer) {
    saved_->weight = emit_weight(e_, node, *saved_);
    const int x = e_.value_in(node.input, Storage::f32), y = output(node);
    const bool narrowed = e_.storage(node.output) != Storage::f32;
    const int result =
        narrowed ? e_.add_values(e_.name(node) + " in f32", node.output, Storage::f32) : y;
    e_.emit(Pass::forward, e_.scope(), e_.name(node),
            LinearForward{e_.samples(), shape(node.input).size(), layer.out},
            {x, saved_->weight, e_.parameter(node, ParameterRole::bias), result}, 3);
    if (narrowed) e_.emit_conversion(Pass::forward, node.output, Storage::f32, result, y);
  }

  void emit(const Node& node, const PoolLayer&) {
    const PoolForward op{e_.samples(), e_.pool_shape(node), training(), options_.storage};
    const int x = input(node), y = output(node);
    const std::size_t workspace = e_.device.workspace_bytes(op);
    if (workspace > 0)
      saved_->workspace = e_.add_tensor(e_.name(node) + " positions", workspace, Per::wave_replica,
                                        Space::arena, 'o');
    e_.emit(Pass::forward, e_.scope(), e_.name(node), op, {x, y, saved_->workspace}, 1);
  }

  void emit(const Node& node, const NormLayer&) {
    const NormKind kind = options_.norm.kind;
    if (kind != NormKind::batch && kind != NormKind::frozen) return emit_group_norm(node);
    add_batch_norm_tensors(node);
    if (!e_.batch_statistics()) {
      emit_from_running(node);
      return emit_normalize(node);
    }
    Message& message = e_.messages[static_cast<std::size_t>(node.message)];
    if (message.leaf < 0) add_leaf(message);
    emit_moments(node);
    if (&node != &e_.nodes[message.nodes.back()]) return;
    emit_message(message);
    for (const std::size_t n : message.nodes) emit_finalize(n);
    for (const std::size_t n : message.nodes) {
      saved_ = &e_.saved[n];
      emit_normalize(e_.nodes[n]);
    }
  }

  int channels(const Node& node) const { return shape(node.layer).channels; }
  int pixels(const Node& node) const { return shape(node.layer).pixels(); }
  std::size_t width(const Node& node) const { return static_cast<std::size_t>(channels(node)); }
  std::size_t sums(const Node& node) const { return 2 * width(node) + 1; }

  void add_batch_norm_tensors(const Node& node) {
    const std::string& name = e_.name(node);
    const RunningSlot slot = add_running(node, channels(node));
    const Space space = e_.batch_statistics() ? Space::running : Space::averaged;
    const Per running_per = e_.batch_statistics() ? Per::group : Per::once;
    const std::size_t vector = sizeof(float) * width(node);
    saved_->running_mean =
        add_running_tensor(name + " running_mean", vector, slot.mean, space, running_per);
    saved_->running_var =
        add_running_tensor(name + " running_var", vector, slot.variance, space, running_per);
    const Per per = e_.batch_statistics() ? Per::wave_group : Per::once;
    saved_->mean = e_.add_tensor(name + " mean", 2 * vector, per);
    saved_->inv_std = e_.add_tensor(name + " inv_std", vector, per);
    if (training() && e_.batch_statistics() && options_.norm.renormalize)
      saved_->correction = e_.add_tensor(name + " correction", 2 * vector, per);
  }

  /// The statistics are the running ones, converted once.
  void emit_from_running(const Node& node) {
    // Read by every chunk of an evaluation, so they must not share their places.
    for (const int t : {saved_->mean, saved_->inv_std})
      e_.program.tensors[static_cast<std::size_t>(t)].persistent = true;
    e_.emit(Pass::prepare, Scope::once, e_.name(node),
            BatchFromRunning{1, channels(node), options_.norm.eps},
            {saved_->running_mean, saved_->running_var, saved_->mean, saved_->inv_std}, 2);
  }

  void add_leaf(Message& message) {
    std::size_t count = 0;
    for (const std::size_t n : message.nodes) count += sums(e_.nodes[n]);
    message.leaf = e_.add_tensor(message_name(message) + " moments", count * sizeof(double),
                                 Per::wave_replica, Space::arena, 'd');
    std::size_t at = 0;
    for (const std::size_t n : message.nodes) {
      const std::size_t size = sums(e_.nodes[n]) * sizeof(double);
      e_.saved[n].moments = e_.add_view(message.leaf, e_.name(e_.nodes[n]) + " moments", size, at);
      at += size;
    }
  }

  std::string message_name(const Message& message) const {
    std::string name;
    for (const std::size_t n : message.nodes)
      name += (name.empty() ? "" : " and ") + e_.name(e_.nodes[n]);
    return name;
  }

  void emit_moments(const Node& node) {
    const int x = input(node);
    e_.emit(Pass::forward, Scope::replica, e_.name(node),
            e_.stored(BatchMoments{e_.samples(), pixels(node), channels(node)}),
            {x, saved_->moments}, 1);
  }

  void emit_message(Message& message) {
    std::size_t count = 0;
    for (const std::size_t n : message.nodes) count += sums(e_.nodes[n]);
    message.result =
        e_.emit_statistics_reduction(Pass::forward, message_name(message), message.leaf, count);
    std::size_t at = 0;
    for (const std::size_t n : message.nodes) {
      const std::size_t size = sums(e_.nodes[n]) * sizeof(double);
      e_.saved[n].total =
          message.result == message.leaf
              ? e_.saved[n].moments
              : e_.add_view(message.result, e_.name(e_.nodes[n]) + " sums", size, at);
      at += size;
    }
  }

  void emit_finalize(std::size_t n) {
    const Node& node = e_.nodes[n];
    const NormConfig& norm = options_.norm;
    saved_ = &e_.saved[n];
    const bool l2 = norm.deviation == Deviation::l2;
    BatchFinalize op{1, channels(node), norm.eps, norm.momentum, {}};
    if (!training()) return emit_totals(node, op);
    if (norm.renormalize)
      op.renormalization = {true, norm.r_max, norm.d_max, norm.renormalize_start,
                            norm.renormalize_ramp};
    e_.emit(Pass::forward, Scope::group, e_.name(node), op,
            {saved_->total, saved_->mean, saved_->inv_std, saved_->running_mean,
             l2 ? saved_->running_var : -1, saved_->correction},
            1);
    if (!l2) emit_deviation(node);
  }

  /// The batch's statistics, added to those of the batches before; nothing else is changed.
  void emit_totals(const Node& node, const BatchFinalize& op) {
    const int totals = e_.add_tensor(e_.name(node) + " totals", sums(node) * sizeof(double),
                                     Per::group, Space::arena, 'd');
    e_.program.tensors.back().persistent = true;
    for (RunningSlot& slot : e_.program.running)
      if (slot.layer == node.layer) slot.totals = totals;
    e_.emit(Pass::forward, Scope::group, e_.name(node), op,
            {saved_->total, saved_->mean, saved_->inv_std, -1, -1, -1}, 1);
    e_.emit(Pass::forward, Scope::group, e_.name(node), Accumulate{1, static_cast<int>(sums(node))},
            {saved_->total, totals}, 1);
  }

  /// L1 and L∞ take the mean first, then one or two reductions more.
  void emit_deviation(const Node& node) {
    const NormConfig& norm = options_.norm;
    const bool l1 = norm.deviation == Deviation::l1;
    saved_->deviation =
        emit_deviation_part(node, l1 ? DeviationPart::absolute : DeviationPart::largest, -1);
    if (!l1) saved_->maxima = emit_deviation_part(node, DeviationPart::maxima, saved_->deviation);
    e_.emit(Pass::forward, Scope::group, e_.name(node),
            BatchFinalizeDeviation{1, channels(node), norm.deviation, norm.l1_factor(), norm.eps,
                                   norm.momentum},
            {saved_->total, saved_->deviation, saved_->inv_std, saved_->running_var}, 2);
  }

  int emit_deviation_part(const Node& node, DeviationPart part, int largest) {
    const bool maximum = part == DeviationPart::largest;
    const std::size_t count = maximum ? width(node) : 2 * width(node);
    const std::string name =
        e_.name(node) + (maximum ? " largest deviation"
                                 : (part == DeviationPart::maxima ? " maxima" : " deviation"));
    const int leaf =
        e_.add_tensor(name, count * sizeof(double), Per::wave_replica, Space::arena, 'd');
    const int x = input(node);
    e_.emit(Pass::forward, Scope::replica, e_.name(node),
            e_.stored(BatchDeviation{e_.samples(), pixels(node), channels(node), part}),
            {x, saved_->mean, largest, leaf}, 3);
    return e_.emit_statistics_reduction(Pass::forward, name, leaf, count,
                                        maximum ? Combine::max : Combine::sum);
  }

  void emit_normalize(const Node& node) {
    const int x = input(node), add = residual(node), y = output(node);
    e_.emit(Pass::forward, Scope::replica, e_.name(node),
            e_.stored(BatchNormalize{e_.samples(), pixels(node), channels(node), node.relu}),
            {x, saved_->mean, saved_->inv_std, e_.parameter(node, ParameterRole::gamma),
             e_.parameter(node, ParameterRole::beta), add, saved_->correction, y},
            7);
    if (options_.norm.noise) emit_noise(node, y);
  }

  /// The value of the node is then what the noise makes of `quiet`, its own output.
  void emit_noise(const Node& node, int quiet) {
    const bool expected = options_.mode == ProgramMode::evaluation;
    saved_->workspace = expected ? -1 : sample_ids();
    const int y = e_.add_values(e_.name(node) + " with noise", node.output, options_.storage);
    e_.emit(Pass::forward, e_.scope(), e_.name(node), e_.norm_noise(node, false, expected),
            {quiet, saved_->workspace, y}, 2);
    e_.value[static_cast<std::size_t>(node.output)] = y;
  }

  RunningSlot add_running(const Node& node, int channels) {
    RunningSlot slot{node.layer, channels, e_.program.running_floats, 0, -1};
    slot.variance = slot.mean + static_cast<std::size_t>(channels);
    e_.program.running_floats = slot.variance + static_cast<std::size_t>(channels);
    e_.program.running.push_back(slot);
    return slot;
  }

  int add_running_tensor(std::string name, std::size_t size, std::size_t offset, Space space,
                         Per per) {
    const int tensor = e_.add_tensor(std::move(name), size, per, space);
    e_.program.tensors.back().offset = offset * sizeof(float);
    return tensor;
  }

  void emit_group_norm(const Node& node) {
    const std::string& name = e_.name(node);
    const std::size_t vector = sizeof(float) * width(node) * static_cast<std::size_t>(e_.samples());
    saved_->mean = e_.add_tensor(name + " mean", 2 * vector, Per::wave_replica);
    saved_->inv_std = e_.add_tensor(name + " inv_std", vector, Per::wave_replica);
    const int x = input(node), add = residual(node), y = output(node);
    e_.emit(
        Pass::forward, Scope::replica, name,
        e_.stored(GroupNormForward{e_.samples(), pixels(node), channels(node), e_.groups(node),
                                   options_.norm.eps, node.relu, options_.norm.subtracts_mean()}),
        {x, e_.parameter(node, ParameterRole::gamma), e_.parameter(node, ParameterRole::beta), add,
         y, saved_->mean, saved_->inv_std},
        4);
    if (options_.norm.noise) emit_noise(node, y);
  }

  void emit(const Node& node, const ActivationLayer& layer) {
    const int x = input(node), y = output(node);
    e_.emit(Pass::forward, e_.scope(), e_.name(node),
            e_.stored(ActivationForward{e_.samples(), shape(node.output).size(), layer.kind}),
            {x, y}, 1);
  }

  void emit(const Node& node, const DropoutLayer& layer) {
    const int x = input(node), y = output(node), ids = sample_ids();
    saved_->workspace = ids;
    e_.emit(Pass::forward, e_.scope(), e_.name(node),
            e_.stored(
                Dropout{e_.samples(), shape(node.output).size(), layer.p, node.layer, layer.alpha}),
            {x, ids, y}, 2);
  }

  void emit(const Node& node, const AddLayer&) {
    const int x = input(node), other = residual(node), y = output(node);
    e_.emit(Pass::forward, e_.scope(), e_.name(node),
            e_.stored(Add{e_.samples(), shape(node.output).size()}), {x, other, y}, 2);
  }

  void emit(const Node& node, const FlattenLayer&) {
    const int x = input(node), y = output(node);
    e_.emit(Pass::forward, e_.scope(), e_.name(node),
            e_.stored(ToChannelsFirst{e_.samples(), shape(node.input).pixels(),
                                      shape(node.input).channels, false}),
            {x, y}, 1);
  }

  Emission& e_;
  const ProgramOptions& options_;
  Emission::Saved* saved_ = nullptr;
};

void emit_loss(Emission& e, int logits) {
  Program& program = e.program;
  const Shape& shape = e.graph.layers[static_cast<std::size_t>(e.graph.output)].shape;
  const bool training = program.options.mode == ProgramMode::training;
  const int labels =
      e.add_tensor("label", sizeof(std::int32_t) * e.samples(), Per::replica, Space::label, 'o');
  program.logits_tensor = logits;
  program.loss_tensor =
      e.add_tensor("loss", kLossValues * sizeof(double), Per::replica, Space::arena, 'd');
  program.tensors.back().persistent = true;
  if (training)
    e.logits_gradient = e.add_tensor(
        "logits gradient", sizeof(float) * static_cast<std::size_t>(shape.size() * e.samples()),
        Per::wave_replica);
  e.emit(Pass::forward, Scope::replica, "loss",
         SoftmaxCrossEntropy{e.samples(), shape.size(), program.options.label_smoothing,
                             1.0 / program.options.global_samples},
         {logits, labels, program.loss_tensor, e.logits_gradient}, 2);
  if (!training) return;
  ReductionSpec spec;
  spec.kind = ReductionKind::loss;
  spec.name = "loss";
  spec.leaf = program.loss_tensor;
  spec.result =
      e.add_tensor("loss reduced", kLossValues * sizeof(double), Per::once, Space::arena, 'd');
  program.tensors.back().persistent = true;
  spec.count = kLossValues;
  program.loss_reduction = static_cast<int>(program.reductions.size());
  program.reductions.push_back(spec);
  Instruction start;
  start.kind = InstructionKind::reduce_start;
  start.layer = "loss";
  start.reduction = program.loss_reduction;
  start.args = {spec.leaf, spec.result};
  start.first_output = 1;
  program.instructions.push_back(std::move(start));
}

}  // namespace

void emit_forward(Emission& e) {
  Forward(e).run();
  // Dropout in front of nothing, or a flatten of a vector, leaves the logits to an earlier value.
  if (e.program.options.mode != ProgramMode::statistics)
    emit_loss(e, e.value_in(e.nodes.back().output, Storage::f32));
}

}  // namespace syncnorm
