// The worked example: a network with one value per layer, traced number by number with and without
// batch normalization.
//
// A layer multiplies its input by one weight, which is given for each step, and applies a ReLU;
// with normalization, the products of a batch are normalized in between (Ioffe & Szegedy 2015,
// algorithm 1 with γ = 1 and β = 0). Everything is computed in f64 from the formulas, not by the
// kernels, so that a reader can follow it by hand.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/experiment.h"

namespace syncnorm {

using Values = std::vector<double>;

struct TraceExample {
  std::vector<Values> inputs;                // per step
  std::vector<std::vector<double>> weights;  // per layer, one for each step
  /// Used are kind (batch or none), deviation, l1_correction and eps, whose default is 0.
  NormConfig norm;
};

/// Returns the example from introductions to batch normalization: three steps of four samples, two
/// layers.
TraceExample worked_example();

/// Returns the worked example with the inputs, weights and norm that a YAML file gives. Throws
/// InputError with every mistake.
TraceExample load_trace(const std::filesystem::path& path);

struct TraceLayer {
  double weight = 0.0;
  Values product;
  double mean = 0.0;       // of the products
  double deviation = 0.0;  // of the products: root mean square, mean absolute or largest
  Values normalized;       // empty without normalization; 0 where all products are equal
  Values activated;        // after ReLU
};

/// Computes the layers of one step; the first reads `input`.
std::vector<TraceLayer> trace_step(const TraceExample& example, std::size_t step,
                                   const NormConfig& norm);

/// Returns the whole example as text, without and with normalization, to `digits` decimals.
std::string trace_text(const TraceExample& example, int digits);

}  // namespace syncnorm
