// The backward pass, from the fused nodes, last to first. Every value collects the tensors that
// hold its gradient; they are added when its producer is reached, inside the norm's own pass if
// that is one.
#include <fmt/format.h>

#include "engine/program/passes.h"

namespace syncnorm {
namespace {

class Backward {
 public:
  explicit Backward(Emission& e) : e_(e), gradients_(e.graph.layers.size()) {
    // The gradient of a value is needed when anything before it is trained.
    needed_.assign(e.graph.layers.size(), false);
    for (const Node& node : e.nodes) {
      bool needed = needed_[static_cast<std::size_t>(node.input)];
      if (node.residual >= 0) needed = needed || needed_[static_cast<std::size_t>(node.residual)];
      for (std::size_t p = 0; p < e.graph.parameters.size(); ++p)
        needed =
            needed || (e.graph.parameters[p].layer == node.layer && e.trained(static_cast<int>(p)));
      needed_[static_cast<std::size_t>(node.output)] = needed;
    }
  }

  void run() {
    const int logits = e_.nodes.back().output;
    gradients_[static_cast<std::size_t>(logits)].push_back(narrowed(logits, e_.logits_gradient));
    for (std::size_t i = e_.nodes.size(); i-- > 0;) {
      const Node& node = e_.nodes[i];
      if (!needed_[static_cast<std::size_t>(node.output)] || contributions(node).empty()) continue;
      saved_ = &e_.saved[i];
      index_ = i;
      std::visit([&](const auto& layer) { emit(node, layer); },
                 e_.graph.layers[static_cast<std::size_t>(node.layer)].kind);
    }
  }

 private:
  const Shape& shape(int value) const {
    return e_.graph.layers[static_cast<std::size_t>(value)].shape;
  }
  bool needed(int value) const { return value >= 0 && needed_[static_cast<std::size_t>(value)]; }
  Storage storage() const { return e_.program.options.storage; }
  int value(int v) const { return v < 0 ? -1 : e_.value_in(v, storage()); }
  std::vector<int>& contributions(const Node& node) {
    return gradients_[static_cast<std::size_t>(node.output)];
  }
  void contribute(int to, int tensor) {
    if (needed(to)) gradients_[static_cast<std::size_t>(to)].push_back(tensor);
  }
  int like(int v, const std::string& suffix) {
    // Operations on activations write gradients as they read activations, that of an image too.
    return e_.add_values(e_.graph.layers[static_cast<std::size_t>(v)].name + suffix, v,
                         v == 0 ? storage() : e_.storage(v));
  }
  int new_gradient(int v) { return like(v, " gradient"); }

  /// An f32 gradient of `v` in the storage of `v`.
  int narrowed(int v, int gradient) {
    if (e_.storage(v) == Storage::f32) return gradient;
    const int target = new_gradient(v);
    e_.emit_conversion(Pass::backward, v, Storage::f32, gradient, target);
    return target;
  }
  /// The gradient of `v` in f32.
  int widened(int v, int gradient) {
    if (e_.storage(v) == Storage::f32) return gradient;
    const int target = e_.add_values(
        e_.graph.layers[static_cast<std::size_t>(v)].name + " gradient in f32", v, Storage::f32);
    e_.emit_conversion(Pass::backward, v, e_.storage(v), gradient, target);
    return target;
  }

  /// Adds contributions until at most `most` tensors are left.
  std::vector<int> gathered(const Node& node, std::size_t most) {
    std::vector<int> list = contributions(node);
    while (list.size() > most) {
      const int sum = like(node.output, " gradient sum");
      e_.emit(Pass::backward, e_.scope(), e_.name(node),
              Add{e_.samples(), shape(node.output).size(), e_.storage(node.output)},
              {list[0], list[1], sum}, 2);
      list.erase(list.begin());
      list[0] = sum;
    }
    return list;
  }
  int gradient(const Node& node) { return gathered(node, 1)[0]; }

  /// The gradient of what a norm gave, in at most two tensors: behind noise it passes that first.
  std::vector<int> norm_gradient(std::size_t n) {
    const Node& node = e_.nodes[n];
    if (!e_.program.options.norm.noise) return gathered(node, 2);
    const int dy = gradient(node), dx = like(node.output, " gradient before noise");
    e_.emit(Pass::backward, e_.scope(), e_.name(node), e_.norm_noise(node, true, false),
            {dy, e_.saved[n].workspace, dx}, 2);
    return {dx};
  }

  void emit(const Node&, const InputLayer&) {}

  void emit(const Node& node, const ConvLayer&) {
    const int dy = gradient(node);
    const ConvShape conv = e_.conv_shape(node);
    if (needed(node.input)) {
      const int dx = new_gradient(node.input);
      e_.emit(Pass::backward, e_.scope(), e_.name(node), e_.stored(ConvDgrad{e_.samples(), conv}),
              {dy, saved_->packed_dgrad, dx}, 2);
      contribute(node.input, dx);
    }
    const int dw = weight_gradient(e_, node, *saved_);
    e_.emit(Pass::backward, e_.scope(), e_.name(node), e_.stored(ConvWgrad{e_.samples(), conv}),
            {value(node.input), dy, dw, e_.parameter_gradient(node, ParameterRole::bias)}, 2)
        .deferrable = true;
    emit_weight_backward(e_, node, *saved_, dw);
  }

  void emit(const Node& node, const LinearLayer& layer) {
    const int dy = widened(node.output, gradient(node)), in = shape(node.input).size();
    if (needed(node.input)) {
      const int dx =
          e_.add_values(e_.name(node) + " input gradient in f32", node.input, Storage::f32);
      e_.emit(Pass::backward, e_.scope(), e_.name(node), LinearDgrad{e_.samples(), in, layer.out},
              {dy, saved_->weight, dx}, 2);
      contribute(node.input, narrowed(node.input, dx));
    }
    const int dw = weight_gradient(e_, node, *saved_);
    e_.emit(Pass::backward, e_.scope(), e_.name(node), LinearWgrad{e_.samples(), in, layer.out},
            {e_.value_in(node.input, Storage::f32), dy, dw,
             e_.parameter_gradient(node, ParameterRole::bias)},
            2)
        .deferrable = true;
    emit_weight_backward(e_, node, *saved_, dw);
  }

  void emit(const Node& node, const PoolLayer&) {
    const int dy = gradient(node);
    if (!needed(node.input)) return;
    const int dx = new_gradient(node.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(PoolBackward{e_.samples(), e_.pool_shape(node)}), {dy, saved_->workspace, dx},
            2);
    contribute(node.input, dx);
  }

  /// What the two halves of a norm's backward pass hand on.
  struct NormGradient {
    int dy = -1, g = -1, dx = -1, leaf = -1;
  };

  void emit(const Node& node, const NormLayer&) {
    switch (e_.program.options.norm.kind) {
      case NormKind::batch:
        return batch_norms(node);
      case NormKind::frozen:
        return frozen_norm(node);
      default:
        return group_norm(node);
    }
  }

  /// All norms of the message, where the reverse pass meets its last one.
  void batch_norms(const Node& node) {
    const Message& message = e_.messages[static_cast<std::size_t>(node.message)];
    if (index_ != message.nodes.back()) return;
    std::vector<std::size_t> members(message.nodes.rbegin(), message.nodes.rend());
    std::size_t count = 0;
    std::string names;
    for (const std::size_t n : members) {
      const Node& member = e_.nodes[n];
      if (!needed(member.input)) continue;  // γ and β need no reduction of statistics
      names += (names.empty() ? "" : " and ") + e_.name(member);
      count += sums(member);
    }
    int leaf = -1;
    if (count > 0)
      leaf = e_.add_tensor(names + " gradient sums", count * sizeof(double), Per::wave_replica,
                           Space::arena, 'd');
    std::vector<NormGradient> gradients;
    std::size_t at = 0;
    for (const std::size_t n : members) {
      gradients.push_back(batch_sums(n, leaf, at));
      if (gradients.back().dx >= 0) at += sums(e_.nodes[n]) * sizeof(double);
    }
    if (count == 0) return;
    const int total = e_.emit_statistics_reduction(Pass::backward, names, leaf, count);
    at = 0;
    for (std::size_t m = 0; m < members.size(); ++m) {
      const Node& member = e_.nodes[members[m]];
      if (gradients[m].dx < 0) continue;
      const std::size_t size = sums(member) * sizeof(double);
      const int own = total == leaf
                          ? gradients[m].leaf
                          : e_.add_view(total, e_.name(member) + " gradient sums", size, at);
      at += size;
      batch_input_gradient(members[m], gradients[m], own);
    }
  }

  std::size_t sums(const Node& node) const {
    return 2 * static_cast<std::size_t>(shape(node.layer).channels);
  }

  NormGradient batch_sums(std::size_t n, int leaf, std::size_t at) {
    const Node& node = e_.nodes[n];
    const Emission::Saved& saved = e_.saved[n];
    const int channels = shape(node.layer).channels, pixels = shape(node.layer).pixels();
    const std::vector<int> dy = norm_gradient(n);
    NormGradient out;
    out.dy = dy[0];
    if (dy.size() > 1 || needed(node.residual)) out.g = like(node.output, " masked gradient");
    if (needed(node.input)) out.dx = new_gradient(node.input);
    const std::size_t size = sums(node) * sizeof(double);
    out.leaf = out.dx >= 0 ? e_.add_view(leaf, e_.name(node) + " gradient sums", size, at)
                           : e_.add_tensor(e_.name(node) + " gradient sums", size,
                                           Per::wave_replica, Space::arena, 'd');
    e_.emit(
        Pass::backward, Scope::replica, e_.name(node),
        e_.stored(BatchGradientSums{e_.samples(), pixels, channels, node.relu}),
        {dy[0], dy.size() > 1 ? dy[1] : -1, value(node.input), saved.mean, saved.inv_std,
         e_.parameter(node, ParameterRole::gamma), e_.parameter(node, ParameterRole::beta),
         mask(node), saved.correction, out.leaf, e_.parameter_gradient(node, ParameterRole::gamma),
         e_.parameter_gradient(node, ParameterRole::beta), out.g},
        9);
    if (node.residual >= 0) contribute(node.residual, out.g);
    return out;
  }

  void batch_input_gradient(std::size_t n, const NormGradient& gradient, int total) {
    const Node& node = e_.nodes[n];
    const Emission::Saved& saved = e_.saved[n];
    const NormConfig& norm = e_.program.options.norm;
    e_.emit(
        Pass::backward, Scope::replica, e_.name(node),
        e_.stored(BatchInputGradient{e_.samples(), shape(node.layer).pixels(),
                                     shape(node.layer).channels, node.relu && gradient.g < 0,
                                     norm.deviation, norm.l1_factor(), false}),
        {gradient.g >= 0 ? gradient.g : gradient.dy, value(node.input), saved.mean, saved.inv_std,
         e_.parameter(node, ParameterRole::gamma), e_.parameter(node, ParameterRole::beta), total,
         saved.total, saved.correction, saved.deviation, saved.maxima, gradient.dx},
        11);
    contribute(node.input, gradient.dx);
  }

  /// The statistics are constants: only the masked gradient, scaled, goes on.
  void frozen_norm(const Node& node) {
    const int channels = shape(node.layer).channels, pixels = shape(node.layer).pixels();
    const std::vector<int> dy = norm_gradient(index_);
    const int gamma = e_.parameter(node, ParameterRole::gamma);
    const int beta = e_.parameter(node, ParameterRole::beta);
    int g = -1;
    if (dy.size() > 1 || needed(node.residual)) {
      g = like(node.output, " masked gradient");
      const int unused =
          e_.add_tensor(e_.name(node) + " gradient sums", sums(node) * sizeof(double),
                        Per::wave_replica, Space::arena, 'd');
      e_.emit(Pass::backward, Scope::replica, e_.name(node),
              e_.stored(BatchGradientSums{e_.samples(), pixels, channels, node.relu}),
              {dy[0], dy.size() > 1 ? dy[1] : -1, value(node.input), saved_->mean, saved_->inv_std,
               gamma, beta, mask(node), -1, unused, -1, -1, g},
              9);
      if (node.residual >= 0) contribute(node.residual, g);
    }
    if (!needed(node.input)) return;
    const int dx = new_gradient(node.input);
    e_.emit(Pass::backward, Scope::replica, e_.name(node),
            e_.stored(BatchInputGradient{e_.samples(), pixels, channels, node.relu && g < 0,
                                         Deviation::l2, 1.0, true}),
            {g >= 0 ? g : dy[0], value(node.input), saved_->mean, saved_->inv_std, gamma, beta, -1,
             -1, -1, -1, -1, dx},
            11);
    contribute(node.input, dx);
  }

  /// With a residual the ReLU's input cannot be recomputed from x alone: its output tells.
  int mask(const Node& node) { return node.relu && node.residual >= 0 ? value(node.output) : -1; }

  void group_norm(const Node& node) {
    const std::vector<int> dy = norm_gradient(index_);
    const int g =
        dy.size() > 1 || needed(node.residual) ? like(node.output, " masked gradient") : -1;
    // The kernel writes dx always; a norm on the images themselves has no use for it.
    const int dx = new_gradient(node.input);
    e_.emit(Pass::backward, Scope::replica, e_.name(node),
            e_.stored(GroupNormBackward{e_.samples(), shape(node.layer).pixels(),
                                        shape(node.layer).channels, e_.groups(node), node.relu,
                                        e_.program.options.norm.subtracts_mean()}),
            {dy[0], dy.size() > 1 ? dy[1] : -1, value(node.input), saved_->mean, saved_->inv_std,
             e_.parameter(node, ParameterRole::gamma), e_.parameter(node, ParameterRole::beta),
             mask(node), dx, e_.parameter_gradient(node, ParameterRole::gamma),
             e_.parameter_gradient(node, ParameterRole::beta), g},
            8);
    if (needed(node.input)) contribute(node.input, dx);
    if (node.residual >= 0) contribute(node.residual, g);
  }

  void emit(const Node& node, const ActivationLayer& layer) {
    const int dy = gradient(node), dx = new_gradient(node.input);
    const bool from_input = layer.kind == Activation::gelu;  // the others' slopes follow from y
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(ActivationBackward{e_.samples(), shape(node.output).size(), layer.kind}),
            {dy, from_input ? value(node.input) : -1, from_input ? -1 : value(node.output), dx}, 3);
    contribute(node.input, dx);
  }

  void emit(const Node& node, const DropoutLayer& layer) {
    const int dy = gradient(node), dx = new_gradient(node.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(Dropout{e_.samples(), shape(node.output).size(), layer.p, node.layer,
                              layer.alpha, layer.alpha}),
            {dy, saved_->workspace, dx}, 2);
    contribute(node.input, dx);
  }

  void emit(const Node& node, const AddLayer&) {
    const int dy = gradient(node);
    contribute(node.input, dy);
    contribute(node.residual, dy);
  }

  void emit(const Node& node, const FlattenLayer&) {
    const int dy = gradient(node), dx = new_gradient(node.input);
    e_.emit(Pass::backward, e_.scope(), e_.name(node),
            e_.stored(ToChannelsFirst{e_.samples(), shape(node.input).pixels(),
                                      shape(node.input).channels, true}),
            {dy, dx}, 1);
    contribute(node.input, dx);
  }

  Emission& e_;
  std::vector<std::vector<int>> gradients_;
  std::vector<bool> needed_;
  Emission::Saved* saved_ = nullptr;
  std::size_t index_ = 0;  // of the node
};

}  // namespace

void emit_backward(Emission& e) { Backward(e).run(); }

}  // namespace syncnorm
