// See gradients.h.
#include "engine/program/gradients.h"

#include <algorithm>

namespace syncnorm {

Gradients::Gradients(Emission& e)
    : e_(e), parts_(e.graph.layers.size()), needed_(e.graph.layers.size(), false) {
  for (const Unit& unit : e.units) {
    bool before = needed(unit.input) || needed(unit.residual) ||
                  std::any_of(unit.others.begin(), unit.others.end(),
                              [&](int value) { return needed(value); });
    for (std::size_t p = 0; p < e.graph.parameters.size(); ++p)
      before =
          before || (e.graph.parameters[p].layer == unit.layer && e.trained(static_cast<int>(p)));
    needed_[static_cast<std::size_t>(unit.output)] = before;
  }
}

void Gradients::contribute(int to, int tensor) {
  if (needed(to)) parts_[static_cast<std::size_t>(to)].push_back(tensor);
}

std::vector<int> Gradients::gathered(const Unit& unit, std::size_t most) {
  std::vector<int> list = parts_[static_cast<std::size_t>(unit.output)];
  while (list.size() > most) {
    const int sum = like(unit.output, " gradient sum");
    e_.emit(Pass::backward, e_.scope(), e_.name(unit),
            Add{e_.samples(), e_.shape(unit.output).size(), e_.storage(unit.output)},
            {.a = list[0], .b = list[1], .sum = sum});
    list.erase(list.begin());
    list[0] = sum;
  }
  return list;
}

int Gradients::like(int v, const std::string& suffix) {
  // Gradients have the storage in which operations read the activation; images are converted, too.
  return e_.add_values(e_.layer(v).name + suffix, v,
                       v == 0 ? e_.program.options.storage : e_.storage(v));
}

int Gradients::narrowed(int v, int gradient) {
  if (e_.storage(v) == Storage::f32) return gradient;
  const int target = make(v);
  e_.emit_conversion(Pass::backward, v, Storage::f32, gradient, target);
  return target;
}

int Gradients::widened(int v, int gradient) {
  if (e_.storage(v) == Storage::f32) return gradient;
  const int target = e_.add_values(e_.layer(v).name + " gradient in f32", v, Storage::f32);
  e_.emit_conversion(Pass::backward, v, e_.storage(v), gradient, target);
  return target;
}

}  // namespace syncnorm
