// Cross-iteration batch norm: what stands between batch norm's passes (batch.cpp) in their place.
#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "engine/program/norm/norm.h"

namespace syncnorm {
namespace {

CrossIterationWindow window_of(const NormConfig& norm) { return {norm.window, norm.window_start}; }

/// The layer whose output the norm reads, as a convolution; lower() made sure that there is one.
struct Before {
  const Unit* unit = nullptr;
  ConvShape shape;
  bool linear = false;

  int inputs() const { return shape.filter_channels() * shape.kernel * shape.kernel; }
};

Before before(const Emission& e, const Unit& norm) {
  const auto found = std::find_if(e.units.begin(), e.units.end(),
                                  [&](const Unit& unit) { return unit.output == norm.input; });
  assert(found != e.units.end());
  const auto* linear = std::get_if<LinearLayer>(&e.layer(found->layer).kind);
  if (linear == nullptr) return {&*found, e.conv_shape(*found), false};
  return {&*found,
          {1, 1, e.shape(found->input).size(), linear->out, 1, 1, 0, false, e.samples()},
          true};
}

std::vector<std::int64_t> filter_shape(const Before& layer) {
  if (layer.linear) return {layer.shape.channels};
  return {layer.shape.filter_channels(), layer.shape.kernel, layer.shape.kernel};
}

/// Adds the tensors of the kept updates in the order of the operands. Fills saved.kept.
void add_history(Emission& e, const Unit& unit, const Before& layer, Emission::Saved& saved) {
  Program& program = e.program;
  const int kept = window_of(e.norm(unit)).kept(), filters = layer.shape.filters;
  const auto slot = std::find_if(program.running.begin(), program.running.end(),
                                 [&](const RunningSlot& one) { return one.layer == unit.layer; });
  assert(slot != program.running.end());
  const auto add = [&](const char* suffix, std::vector<std::int64_t> shape, bool has_filters) {
    const std::vector<std::int64_t> filter = filter_shape(layer);
    if (has_filters) shape.insert(shape.end(), filter.begin(), filter.end());
    const KeptValues values{suffix, program.history_floats, shape};
    saved.kept.push_back(e.add_tensor(e.name(unit) + suffix, values.count() * sizeof(float),
                                      Per::group, Space::history));
    program.tensors.back().offset = values.offset * sizeof(float);
    program.history_floats += values.count();
    const int window = layer.shape.kernel * layer.shape.kernel;
    if (has_filters && window > 1 && e.device.channels_last_weights())
      program.history_blocks.push_back({values.offset,
                                        static_cast<int>(values.count()) / layer.inputs(),
                                        layer.shape.channels, window});
    slot->history.push_back(values);
  };
  add(".window_count", {kept}, false);
  add(".window_mean", {kept, filters}, false);
  add(".window_square", {kept, filters}, false);
  add(".window_mean_slope", {kept, layer.shape.groups}, true);
  add(".window_square_slope", {kept, filters}, true);
}

/// Emits Σ y·p of a replica, where y is the output of the layer and p the patches of its input;
/// returns their tensor.
int emit_products(Emission& e, const Unit& unit, const Before& layer, int x) {
  const int products = e.add_tensor(e.name(unit) + " products with its input",
                                    layer.shape.weights() * sizeof(float), Per::wave_replica);
  if (!layer.linear) {
    ConvShape shape = layer.shape;
    shape.bias = false;
    e.emit(Pass::backward, Scope::replica, e.name(unit), e.stored(ConvWgrad{e.samples(), shape}),
           {.x = x, .dy = e.input(unit), .dweight = products, .dbias = kAbsent});
    return products;
  }
  int y = e.input(unit);
  if (e.storage(unit.input) != Storage::f32) {
    y = e.add_values(e.name(unit) + " input in f32", unit.input, Storage::f32);
    e.emit_conversion(Pass::backward, unit.input, e.storage(unit.input), e.input(unit), y);
  }
  e.emit(Pass::backward, Scope::replica, e.name(unit),
         LinearWgrad{e.samples(), layer.shape.channels, layer.shape.filters},
         {.x = x, .dy = y, .dweight = products, .dbias = kAbsent});
  return products;
}

}  // namespace

void emit_cross_iteration_finalize(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  Emission::Saved& saved = e.saved[n];
  const NormConfig& norm = e.norm(unit);
  const Before layer = before(e, unit);
  const int channels = norm_channels(e, unit);
  add_history(e, unit, layer, saved);
  saved.mixing = e.add_tensor(e.name(unit) + " mixing",
                              (1 + static_cast<std::size_t>(channels)) * sizeof(double),
                              Per::wave_group, Space::arena, 'd');
  e.emit(Pass::forward, Scope::group, e.name(unit),
         CrossIterationFinalize{1, channels, layer.inputs(), layer.shape.groups, norm.eps,
                                norm.momentum, window_of(norm)},
         {.sums = saved.total,
          .weight = e.parameter(*layer.unit, ParameterRole::weight),
          .counts = saved.kept[0],
          .means = saved.kept[1],
          .squares = saved.kept[2],
          .mean_slopes = saved.kept[3],
          .square_slopes = saved.kept[4],
          .mean = saved.mean,
          .inv_std = saved.inv_std,
          .mixing = saved.mixing,
          .running_mean = saved.running_mean,
          .running_var = saved.running_var});
}

void emit_cross_iteration_keep(Emission& e, std::size_t n) {
  const Unit& unit = e.units[n];
  const Emission::Saved& saved = e.saved[n];
  const Before layer = before(e, unit);
  const int x = layer.linear ? e.value_in(layer.unit->input, Storage::f32) : e.input(*layer.unit);
  const std::size_t count =
      static_cast<std::size_t>(layer.shape.groups * layer.inputs()) + layer.shape.weights();
  const int leaf = e.add_tensor(e.name(unit) + " slopes", count * sizeof(double), Per::wave_replica,
                                Space::arena, 'd');
  const int products = emit_products(e, unit, layer, x);
  CrossIterationSums sums{e.samples(), layer.shape};
  if (!layer.linear) sums = e.stored(sums);
  e.emit(Pass::backward, Scope::replica, e.name(unit), sums,
         {.x = x, .products = products, .sums = leaf});
  const int total =
      e.emit_statistics_reduction(Pass::backward, e.name(unit) + " slopes", leaf, count);
  e.emit(Pass::backward, Scope::group, e.name(unit),
         CrossIterationKeep{1, norm_channels(e, unit), layer.inputs(), layer.shape.groups,
                            window_of(e.norm(unit))},
         {.sums = saved.total,
          .slopes = total,
          .weight = e.parameter(*layer.unit, ParameterRole::weight),
          .counts = saved.kept[0],
          .means = saved.kept[1],
          .squares = saved.kept[2],
          .mean_slopes = saved.kept[3],
          .square_slopes = saved.kept[4]});
}

}  // namespace syncnorm
