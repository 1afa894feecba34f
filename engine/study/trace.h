// The worked example: a network of one value per layer, traced number by number with and without
// batch normalization.
//
// A layer multiplies its input with one weight, which every step has its own of, and applies a
// ReLU; with normalization, the products of a batch are normalized in between (Ioffe & Szegedy
// 2015, algorithm 1 with γ = 1 and β = 0). All in f64, from the formulas and not by the kernels, so
// that a reader can follow it by hand.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/experiment.h"

namespace syncnorm {

using Values = std::vector<double>;

struct TraceExample {
  std::vector<Values> inputs;                // of each step
  std::vector<std::vector<double>> weights;  // of each layer, one for each step
  /// Read are kind (batch or none), deviation, l1_correction and eps, which is 0 by default.
  NormConfig norm;
};

/// The example of the introductions to batch normalization: three steps of four samples, two
/// layers.
TraceExample worked_example();

/// The same with what a YAML file gives of it: inputs, weights, norm. Throws InputError with every
/// mistake.
TraceExample load_trace(const std::filesystem::path& path);

struct TraceLayer {
  double weight = 0.0;
  Values product;
  double mean = 0.0;       // of the products
  double deviation = 0.0;  // of the products: root mean square, mean absolute or largest
  Values normalized;       // empty without normalization; 0 where all products are equal
  Values activated;        // after ReLU
};

/// The layers of one step; the first reads `input`.
std::vector<TraceLayer> trace_step(const TraceExample& example, std::size_t step,
                                   const NormConfig& norm);

/// The whole example as a text, without and with its normalization, to `digits` decimals.
std::string trace_text(const TraceExample& example, int digits);

}  // namespace syncnorm
