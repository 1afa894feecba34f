// The forward pass: one function per kind of layer emits its instructions.
#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "engine/program/norm/norm.h"
#include "kernels/bfloat16.h"

namespace syncnorm {
namespace {

class Forward {
 public:
  explicit Forward(Emission& e) : e_(e), options_(e.program.options) {}

  void run() {
    e_.value.assign(e_.graph.layers.size(), -1);
    e_.converted.assign(e_.graph.layers.size(), -1);
    e_.saved.resize(e_.units.size());
    add_images();
    if (options_.per_pixel && options_.mode != ProgramMode::statistics) add_masks();
    for (std::size_t i = 0; i < e_.units.size(); ++i) {
      const Unit& unit = e_.units[i];
      saved_ = &e_.saved[i];
      std::visit([&](const auto& layer) { emit(unit, layer); },
                 e_.graph.layers[static_cast<std::size_t>(unit.layer)].kind);
    }
  }

 private:
  void add_images() {
    const bool read_in_f32 = std::any_of(e_.units.begin(), e_.units.end(), [&](const Unit& unit) {
      return unit.input == 0 && std::holds_alternative<LinearLayer>(e_.layer(unit.layer).kind);
    });
    if (options_.stored_images && !read_in_f32) e_.program.image_storage = options_.storage;
    e_.value[0] = e_.add_values("image", 0, e_.program.image_storage);
    Tensor& images = e_.program.tensors.back();
    images.per = Per::replica;
    images.space = Space::image;
  }

  /// Adds the masks. In training their pixels are counted, and the count over the global batch is
  /// on its way during the forward pass.
  void add_masks() {
    const Shape& shape = e_.shape(e_.graph.output);
    const auto pixels =
        static_cast<std::size_t>(shape.pixels()) * static_cast<std::size_t>(e_.samples());
    e_.masks = e_.add_tensor("mask", pixels, Per::replica, Space::mask, 'o');
    if (!training()) return;
    const auto classes = static_cast<std::size_t>(shape.channels);
    const int counts = e_.add_tensor("pixel counts", classes * sizeof(double), Per::wave_replica,
                                     Space::arena, 'd');
    e_.emit(Pass::forward, Scope::replica, "loss",
            PixelCounts{e_.samples(), shape.pixels(), shape.channels},
            {.mask = e_.masks, .counts = counts});
    e_.pixel_counts = e_.start_global_sum("pixel counts", counts, classes);
  }

  bool training() const { return options_.mode == ProgramMode::training; }

  int pack(const Unit& unit, bool for_dgrad) {
    const ConvPack op{e_.samples(), e_.conv_shape(unit), for_dgrad, options_.storage};
    const int packed = add_packed(e_.name(unit) + (for_dgrad ? " packed for dgrad" : " packed"),
                                  e_.device.packed_bytes(op), 'f');
    e_.emit(Pass::prepare, Scope::once, e_.name(unit), op,
            {.weight = saved_->weight, .packed = packed});
    return packed;
  }

  int add_packed(const std::string& name, std::size_t bytes, char element) {
    const std::size_t size = (bytes + 63) / 64 * 64;
    const int packed = e_.add_tensor(name, size, Per::once, Space::packed, element);
    e_.program.tensors.back().offset = e_.program.packed_bytes;
    e_.program.packed_bytes += size;
    return packed;
  }

  /// Returns the weight as a convolution of a device with channels-last weights reads it: itself in
  /// f32; in bf16 a copy, which for parameters is a part of the copy of all.
  int weight_as_stored(const Unit& unit) {
    if (options_.storage == Storage::f32) return saved_->weight;
    if (computed_weight(*saved_)) return pack(unit, false);
    if (e_.narrowed_weights.empty()) narrow_parameters();
    const int parameter = e_.graph.parameter(unit.layer, ParameterRole::weight);
    const std::size_t count = e_.graph.parameters[static_cast<std::size_t>(parameter)].count();
    const int view = e_.add_tensor(e_.name(unit) + " weight in bf16", count * sizeof(BFloat16),
                                   Per::once, Space::packed, 'h');
    e_.narrowed_weights.emplace_back(view, parameter);
    return view;
  }

  void narrow_parameters() {
    std::size_t count = 0;
    for (const Parameter& parameter : e_.graph.parameters) count += e_.padded(parameter.count());
    const int all = e_.add_tensor("parameters", count * sizeof(float), Per::once, Space::parameter);
    const int narrowed = add_packed("parameters in bf16", count * sizeof(BFloat16), 'h');
    e_.emit(Pass::prepare, Scope::once, "parameters",
            Convert{1, static_cast<int>(count), Storage::f32}, {.x = all, .y = narrowed});
  }

  void emit(const Unit&, const InputLayer&) {}

  void emit(const Unit& unit, const ConvLayer&) {
    saved_->weight = emit_weight(e_, unit, *saved_);
    const bool read_directly = e_.device.channels_last_weights();
    const int packed = read_directly ? weight_as_stored(unit) : pack(unit, false);
    if (training() && unit.input != 0)
      saved_->packed_dgrad = read_directly ? packed : pack(unit, true);
    const int x = e_.input(unit), y = e_.output(unit);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(ConvForward{e_.samples(), e_.conv_shape(unit)}),
            {.x = x, .packed = packed, .bias = e_.parameter(unit, ParameterRole::bias), .y = y});
  }

  /// Its forward pass is the input gradient of the convolution that it mirrors.
  void emit(const Unit& unit, const ConvTransposeLayer& layer) {
    saved_->weight = emit_weight(e_, unit, *saved_);
    const bool read_directly = e_.device.channels_last_weights();
    const int packed = read_directly ? weight_as_stored(unit) : pack(unit, true);
    if (training() && unit.input != 0)
      saved_->packed_dgrad = read_directly ? packed : pack(unit, false);
    const int x = e_.input(unit), y = e_.output(unit);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(ConvDgrad{e_.samples(), e_.conv_shape(unit)}),
            {.dy = x, .packed = packed, .dx = y});
    if (!layer.bias) return;
    const Shape& out = e_.shape(unit.output);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(AddBias{e_.samples(), out.pixels(), out.channels}),
            {.bias = e_.parameter(unit, ParameterRole::bias), .y = y});
  }

  void emit(const Unit& unit, const LinearLayer& layer) {
    saved_->weight = emit_weight(e_, unit, *saved_);
    const int x = e_.value_in(unit.input, Storage::f32), y = e_.output(unit);
    const bool narrowed = e_.storage(unit.output) != Storage::f32;
    const int result =
        narrowed ? e_.add_values(e_.name(unit) + " in f32", unit.output, Storage::f32) : y;
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            LinearForward{e_.samples(), e_.shape(unit.input).size(), layer.out},
            {.x = x,
             .weight = saved_->weight,
             .bias = e_.parameter(unit, ParameterRole::bias),
             .y = result});
    if (narrowed) e_.emit_conversion(Pass::forward, unit.output, Storage::f32, result, y);
  }

  void emit(const Unit& unit, const PoolLayer&) {
    const PoolForward op{e_.samples(), e_.pool_shape(unit), training(), options_.storage};
    const int x = e_.input(unit), y = e_.output(unit);
    const std::size_t workspace = e_.device.workspace_bytes(op);
    if (workspace > 0)
      saved_->workspace = e_.add_tensor(e_.name(unit) + " positions", workspace, Per::wave_replica,
                                        Space::arena, 'o');
    e_.emit(Pass::forward, e_.scope(), e_.name(unit), op,
            {.x = x, .y = y, .workspace = saved_->workspace});
  }

  void emit(const Unit&, const NormLayer& layer) {
    family_of(layer.norm).forward(e_, static_cast<std::size_t>(saved_ - e_.saved.data()));
  }

  void emit(const Unit& unit, const ActivationLayer& layer) {
    const int x = e_.input(unit), y = e_.output(unit);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(ActivationForward{e_.samples(), e_.shape(unit.output).size(), layer.kind}),
            {.x = x, .y = y});
  }

  void emit(const Unit& unit, const DropoutLayer& layer) {
    const int x = e_.input(unit), y = e_.output(unit);
    saved_->sample_ids = e_.sample_ids();
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(Dropout{e_.samples(), e_.shape(unit.output).size(), layer.p, unit.layer,
                              layer.alpha}),
            {.x = x, .sample_ids = saved_->sample_ids, .y = y});
  }

  void emit(const Unit& unit, const AddLayer& layer) {
    const int x = e_.input(unit), other = e_.residual(unit), y = e_.output(unit);
    if (layer.scaled) {
      e_.emit(Pass::forward, Scope::replica, e_.name(unit),
              e_.stored(ScaledAddForward{e_.samples(), e_.shape(unit.output).pixels(),
                                         e_.shape(unit.output).channels, layer.alpha, unit.relu}),
              {.x = x,
               .gain = e_.parameter(unit, ParameterRole::branch_gain),
               .residual = other,
               .y = y});
      return;
    }
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(Add{e_.samples(), e_.shape(unit.output).size()}),
            {.a = x, .b = other, .sum = y});
  }

  void emit(const Unit& unit, const UpsampleLayer&) {
    const int x = e_.input(unit), y = e_.output(unit);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(UpsampleForward{e_.samples(), e_.upsample_shape(unit)}), {.x = x, .y = y});
  }

  void emit(const Unit& unit, const ConcatLayer&) {
    Concat op{e_.samples(), e_.shape(unit.output).pixels(), {}};
    for (const int layer : e_.layer(unit.layer).inputs)
      op.channels.push_back(e_.shape(layer).channels);
    const int first = e_.input(unit);
    const auto other = [&](std::size_t k) {
      return k < unit.others.size() ? e_.stored_value(unit.others[k]) : kAbsent;
    };
    const std::array<int, Concat::kMost - 1> others = {other(0), other(1), other(2), other(3),
                                                       other(4), other(5), other(6)};
    e_.emit(Pass::forward, e_.scope(), e_.name(unit), e_.stored(op),
            {.first = first,
             .second = others[0],
             .third = others[1],
             .fourth = others[2],
             .fifth = others[3],
             .sixth = others[4],
             .seventh = others[5],
             .eighth = others[6],
             .y = e_.output(unit)});
  }

  void emit(const Unit& unit, const MultiplyLayer&) {
    const int a = e_.input(unit), b = e_.stored_value(unit.others[0]), y = e_.output(unit);
    const Shape& shape = e_.shape(unit.output);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(Multiply{e_.samples(), shape.pixels(), shape.channels, e_.factor_of(unit)}),
            {.a = a, .b = b, .y = y});
  }

  void emit(const Unit& unit, const FlattenLayer&) {
    const int x = e_.input(unit), y = e_.output(unit);
    e_.emit(Pass::forward, e_.scope(), e_.name(unit),
            e_.stored(ToChannelsFirst{e_.samples(), e_.shape(unit.input).pixels(),
                                      e_.shape(unit.input).channels, false}),
            {.x = x, .y = y});
  }

  Emission& e_;
  const ProgramOptions& options_;
  Emission::Saved* saved_ = nullptr;
};

/// Emits the loss of every pixel. The Dice loss needs sums over the global batch, and in an
/// evaluation over all of its samples, which the host adds.
void emit_pixel_loss(Emission& e, int logits) {
  Program& program = e.program;
  const ProgramOptions& options = program.options;
  const Shape& shape = e.shape(e.graph.output);
  const int samples = e.samples(), pixels = shape.pixels(), classes = shape.channels;
  const bool training = options.mode == ProgramMode::training;
  int dice = kAbsent;
  if (options.loss.dice > 0.0) {
    const auto count = 2 * static_cast<std::size_t>(classes);
    dice = e.add_tensor("dice sums", count * sizeof(double), Per::replica, Space::arena, 'd');
    program.tensors.back().persistent = !training;
    e.emit(Pass::forward, Scope::replica, "loss", e.stored(DiceSums{samples, pixels, classes}),
           {.logits = logits, .mask = e.masks, .sums = dice});
    if (training) {
      dice = e.start_global_sum("dice sums", dice, count);
      e.wait_for(dice);
    } else {
      program.dice_tensor = std::exchange(dice, kAbsent);
    }
  }
  if (training) {
    e.wait_for(e.pixel_counts);
    e.logits_gradient = e.add_values("logits gradient", e.units.back().output, options.storage);
  }
  e.emit(Pass::forward, Scope::replica, "loss",
         e.stored(PixelLoss{samples, pixels, classes, options.loss.label_smoothing,
                            options.loss.dice, options.loss.class_weights}),
         {.logits = logits,
          .mask = e.masks,
          .counts = training ? e.pixel_counts : kAbsent,
          .dice = dice,
          .totals = program.loss_tensor,
          .dlogits = e.logits_gradient});
}

void emit_image_loss(Emission& e, int logits) {
  Program& program = e.program;
  const int classes = e.shape(e.graph.output).size();
  const int labels =
      e.add_tensor("label", sizeof(std::int32_t) * e.samples(), Per::replica, Space::label, 'o');
  if (program.options.mode == ProgramMode::training)
    e.logits_gradient = e.add_tensor(
        "logits gradient", sizeof(float) * static_cast<std::size_t>(classes * e.samples()),
        Per::wave_replica);
  e.emit(Pass::forward, Scope::replica, "loss",
         SoftmaxCrossEntropy{e.samples(), classes, program.options.loss.label_smoothing,
                             1.0 / program.options.global_samples},
         {.logits = logits,
          .labels = labels,
          .totals = program.loss_tensor,
          .dlogits = e.logits_gradient});
}

void emit_predictions(Emission& e, int logits) {
  const Shape& shape = e.shape(e.graph.output);
  const auto values =
      static_cast<std::size_t>(shape.pixels()) * static_cast<std::size_t>(e.samples());
  Predict op{e.samples(), shape.pixels(), shape.channels};
  if (e.program.options.per_pixel) op = e.stored(op);
  e.program.predictions_tensor =
      e.add_tensor("predictions", values * sizeof(std::int32_t), Per::replica, Space::arena, 'o');
  e.program.tensors.back().persistent = true;
  e.emit(Pass::forward, Scope::replica, "predictions", op,
         {.logits = logits, .predictions = e.program.predictions_tensor});
}

void emit_loss(Emission& e) {
  Program& program = e.program;
  const bool training = program.options.mode == ProgramMode::training;
  // A last layer without a unit (unused dropout, flatten of a vector) leaves the logits in an
  // earlier value.
  const int output = e.units.back().output;
  const int logits =
      program.options.per_pixel ? e.stored_value(output) : e.value_in(output, Storage::f32);
  program.logits_tensor = logits;
  program.loss_tensor =
      e.add_tensor("loss", kLossValues * sizeof(double), Per::replica, Space::arena, 'd');
  program.tensors.back().persistent = true;
  if (program.options.per_pixel)
    emit_pixel_loss(e, logits);
  else
    emit_image_loss(e, logits);
  if (!training) return emit_predictions(e, logits);
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
  e.append_reduction(InstructionKind::reduce_start, Pass::forward, program.loss_reduction, "loss");
}

}  // namespace

void emit_forward(Emission& e) {
  Forward(e).run();
  if (e.program.options.mode != ProgramMode::statistics) emit_loss(e);
}

}  // namespace syncnorm
