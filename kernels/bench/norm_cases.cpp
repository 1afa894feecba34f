// See norm_cases.h.
//
// Passes are the reads and writes of a tensor that a kernel needs when nothing stays in a cache.
// The forward pass reads x twice and writes y, and reads the residual if there is one. The backward
// pass reads dy and x twice and writes dx; after a residual add it also reads the other gradient
// and y, and writes the masked gradient, which is the residual's gradient, too. Norms without
// statistics, or with a pixel's alone, read every tensor once.
#include "kernels/bench/norm_cases.h"

#include <numeric>
#include <random>

#include "kernels/bfloat16.h"

namespace syncnorm {

NormCases::NormCases(Device& device, const NormShape& shape)
    : device_(device),
      shape_(shape),
      x_(tensor(true)),
      residual_(tensor(true)),
      y_(tensor(false)),
      dy_(tensor(true)),
      dy2_(tensor(true)),
      dx_(tensor(false)),
      g_(tensor(false)) {
  if (device.host_memory() && shape.storage == Storage::f32) {
    onednn_.emplace(shape, false);
    onednn_relu_.emplace(shape, true);
  }
  const auto channels = static_cast<std::size_t>(shape.channels);
  const auto samples = static_cast<std::size_t>(shape.samples);
  mean_ = vector(samples * 2 * channels, 0.0f);
  inv_std_ = vector(samples * channels, 1.0f);
  for (Buffer* buffer : {&gamma_, &beta_, &dgamma_, &dbeta_}) *buffer = vector(channels, 0.5f);
  scalars_ = vector(6, 0.0f);
  dslope_ = vector(channels, 0.0f);
  sums_ = device.allocate((2 * channels + 1) * sizeof(double));
  gradient_sums_ = device.allocate(2 * channels * sizeof(double));
  constants_ = device.allocate(2 * channels * sizeof(double));
  mixing_ = device.allocate((1 + channels) * sizeof(double));
  moving_mean_ = vector(channels, 0.0f);
  moving_var_ = vector(channels, 1.0f);
  correction_ = vector(2 * channels, 1.0f);
  history_ = vector(static_cast<std::size_t>(MovingWindow{}.window) * channels, 1.0f);
  sample_sums_ = device.allocate(samples * channels * sizeof(double));
  sample_moments_ = device.allocate(samples * 2 * channels * sizeof(double));
  layer_ = device.allocate(samples * 2 * sizeof(double));
  batch_moments_ = device.allocate(2 * channels * sizeof(double));
  local_ = device.allocate(samples * 2 * channels * sizeof(double));
  switches_ = vector(3, 1.0f);
  add_batch();
  add_group("group", std::gcd(shape.channels, 8), true);
  add_group("layer", 1, true);
  add_group("instance", shape.channels, true);
  add_group("rms", 1, false);
  add_channels();
  add_pointwise("dyt", PointwiseFunction::tanh);
  add_pointwise("derf", PointwiseFunction::erf);
  add_activated("frn", NormActivation::threshold, shape.channels);
  add_activated("evonorm_s0", NormActivation::swish, std::gcd(shape.channels, 8));
  add_moving();
  add_evonorm_batch();
  add_switchable();
  add_frozen();
  // Runs every case once to fill the inputs of others: statistics, masks, oneDNN's workspaces.
  for (const NormCase& one : cases_) {
    one.run();
    if (one.onednn) one.onednn();
  }
}

Buffer NormCases::tensor(bool random) {
  Buffer buffer = device_.allocate(shape_.bytes());
  if (!random) return buffer;
  std::minstd_rand engine(seed_++);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  if (shape_.storage == Storage::f32) {
    std::vector<float> values(shape_.values());
    for (float& value : values) value = uniform(engine);
    fill(buffer, values);
  } else {
    std::vector<BFloat16> values(shape_.values());
    for (BFloat16& value : values) value = to_bfloat16(uniform(engine));
    fill(buffer, values);
  }
  return buffer;
}

Buffer NormCases::vector(std::size_t values, float value) {
  Buffer buffer = device_.allocate(values * sizeof(float));
  fill(buffer, std::vector<float>(values, value));
  return buffer;
}

template <class T>
void NormCases::fill(const Buffer& buffer, const std::vector<T>& values) {
  device_.copy(buffer.data(), values.data(), values.size() * sizeof(T));
  device_.synchronize();
}

void NormCases::add(const std::string& name, int passes, Call run, Call onednn) {
  cases_.push_back({name, passes, std::move(run), std::move(onednn)});
}

void NormCases::add_batch() {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  std::byte *const x = x_.data(), *const y = y_.data(), *const dy = dy_.data();
  std::byte *const dx = dx_.data(), *const g = g_.data();
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  float *const mean = floats(mean_), *const inv_std = floats(inv_std_);
  float *const gamma = floats(gamma_), *const beta = floats(beta_);
  double* const totals = sums_.as<double>().data();
  double* const gradient_totals = gradient_sums_.as<double>().data();

  const Call statistics = call(BatchMoments{samples, pixels, channels}, {.x = x, .sums = totals});
  const Call finalize = call(BatchFinalize{samples, channels}, {.sums = totals,
                                                                .mean = mean,
                                                                .inv_std = inv_std,
                                                                .running_mean = nullptr,
                                                                .running_var = nullptr,
                                                                .correction = nullptr});
  const auto apply = [&](bool relu, void* residual) {
    return call(BatchNormalize{samples, pixels, channels, relu}, {.x = x,
                                                                  .mean = mean,
                                                                  .inv_std = inv_std,
                                                                  .gamma = gamma,
                                                                  .beta = beta,
                                                                  .residual = residual,
                                                                  .correction = nullptr,
                                                                  .y = y});
  };
  const auto forward = [&](const Call& last) {
    return [statistics, finalize, last] {
      statistics();
      finalize();
      last();
    };
  };
  const auto* x_values = x_.as<float>().data();
  const auto* dy_values = dy_.as<float>().data();
  auto *const y_values = y_.as<float>().data(), *const dx_values = dx_.as<float>().data();
  const auto onednn_forward = [=](std::optional<OneDnnNorm>& norm) -> Call {
    if (!norm) return {};
    return [&norm, x_values, y_values] { norm->forward(x_values, y_values); };
  };
  const auto onednn_backward = [=](std::optional<OneDnnNorm>& norm) -> Call {
    if (!norm) return {};
    return
        [&norm, x_values, dy_values, dx_values] { norm->backward(dy_values, x_values, dx_values); };
  };
  const Call plain = apply(false, nullptr), relu = apply(true, nullptr);
  const Call add_relu = apply(true, residual_.data());
  add("batch statistics", 1, statistics);
  add("batch apply", 2, plain);
  add("batch apply, relu", 2, relu);
  add("batch apply, add, relu", 3, add_relu);
  add("batch forward", 3, forward(plain), onednn_forward(onednn_));
  add("batch forward, relu", 3, forward(relu), onednn_forward(onednn_relu_));
  add("batch forward, add, relu", 4, forward(add_relu));

  const auto sums = [&](bool with_relu, bool with_add) {
    return call(BatchGradientSums{samples, pixels, channels, with_relu},
                {.dy = dy,
                 .dy2 = with_add ? dy2_.data() : nullptr,
                 .x = x,
                 .mean = mean,
                 .inv_std = inv_std,
                 .gamma = gamma,
                 .beta = beta,
                 .y = with_add ? y : nullptr,
                 .correction = nullptr,
                 .sums = gradient_totals,
                 .dgamma = floats(dgamma_),
                 .dbeta = floats(dbeta_),
                 .g = with_add ? g : nullptr});
  };
  const auto input_gradient = [&](bool with_relu, void* gradient) {
    return call(BatchInputGradient{samples, pixels, channels, with_relu},
                {.g = gradient,
                 .x = x,
                 .mean = mean,
                 .inv_std = inv_std,
                 .gamma = gamma,
                 .beta = beta,
                 .gradient_sums = gradient_totals,
                 .sums = totals,
                 .correction = nullptr,
                 .deviation = nullptr,
                 .maxima = nullptr,
                 .dx = dx});
  };
  const auto both = [](const Call& first, const Call& second) {
    return [first, second] {
      first();
      second();
    };
  };
  const Call sums_plain = sums(false, false), sums_relu = sums(true, false);
  const Call sums_add = sums(true, true);
  const Call gradient_plain = input_gradient(false, dy), gradient_relu = input_gradient(true, dy);
  const Call gradient_kept = input_gradient(false, g);
  add("batch sums", 2, sums_plain);
  add("batch sums, relu", 2, sums_relu);
  add("batch sums, add, relu", 5, sums_add);
  add("batch input gradient", 3, gradient_plain);
  add("batch input gradient, relu", 3, gradient_relu);
  add("batch backward", 5, both(sums_plain, gradient_plain), onednn_backward(onednn_));
  add("batch backward, relu", 5, both(sums_relu, gradient_relu), onednn_backward(onednn_relu_));
  add("batch backward, add, relu", 8, both(sums_add, gradient_kept));
}

void NormCases::add_group(const std::string& name, int groups, bool centered) {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  float* const beta = centered ? floats(beta_) : nullptr;
  float* const dbeta = centered ? floats(dbeta_) : nullptr;
  for (const bool relu : {false, true}) {
    const char* suffix = relu ? ", relu" : "";
    add(name + " forward" + suffix, 3,
        call(GroupNormForward{samples, pixels, channels, groups, 1e-5, relu, centered},
             {.x = x_.data(),
              .gamma = floats(gamma_),
              .beta = beta,
              .residual = nullptr,
              .y = y_.data(),
              .mean = floats(mean_),
              .inv_std = floats(inv_std_)}));
    add(name + " backward" + suffix, 5,
        call(GroupNormBackward{samples, pixels, channels, groups, relu, centered},
             {.dy = dy_.data(),
              .dy2 = nullptr,
              .x = x_.data(),
              .mean = floats(mean_),
              .inv_std = floats(inv_std_),
              .gamma = floats(gamma_),
              .beta = beta,
              .y = nullptr,
              .dx = dx_.data(),
              .dgamma = floats(dgamma_),
              .dbeta = dbeta,
              .g = nullptr}));
  }
}

void NormCases::add_channels() {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  for (const bool relu : {false, true}) {
    const char* suffix = relu ? ", relu" : "";
    add(std::string("layer over channels forward") + suffix, 2,
        call(ChannelNormForward{samples, pixels, channels, 1e-5, relu}, {.x = x_.data(),
                                                                         .gamma = floats(gamma_),
                                                                         .beta = floats(beta_),
                                                                         .residual = nullptr,
                                                                         .y = y_.data()}));
    add(std::string("layer over channels backward") + suffix, 3,
        call(ChannelNormBackward{samples, pixels, channels, 1e-5, relu}, {.dy = dy_.data(),
                                                                          .dy2 = nullptr,
                                                                          .x = x_.data(),
                                                                          .gamma = floats(gamma_),
                                                                          .beta = floats(beta_),
                                                                          .y = nullptr,
                                                                          .dx = dx_.data(),
                                                                          .dgamma = floats(dgamma_),
                                                                          .dbeta = floats(dbeta_),
                                                                          .g = nullptr}));
  }
}

void NormCases::add_pointwise(const std::string& name, PointwiseFunction function) {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  float* const shift = function == PointwiseFunction::erf ? floats(beta_) : nullptr;
  float* const scalars = floats(scalars_);
  float* const dshift = function == PointwiseFunction::erf ? scalars + 1 : nullptr;
  for (const bool relu : {false, true}) {
    const char* suffix = relu ? ", relu" : "";
    add(name + " forward" + suffix, 2,
        call(PointwiseNormForward{samples, pixels, channels, function, relu},
             {.x = x_.data(),
              .alpha = floats(gamma_),
              .shift = shift,
              .gamma = floats(gamma_),
              .beta = floats(beta_),
              .residual = nullptr,
              .y = y_.data()}));
    add(name + " backward" + suffix, 3,
        call(PointwiseNormBackward{samples, pixels, channels, function, relu},
             {.dy = dy_.data(),
              .dy2 = nullptr,
              .x = x_.data(),
              .alpha = floats(gamma_),
              .shift = shift,
              .gamma = floats(gamma_),
              .beta = floats(beta_),
              .y = nullptr,
              .dx = dx_.data(),
              .dalpha = scalars,
              .dshift = dshift,
              .dgamma = floats(dgamma_),
              .dbeta = floats(dbeta_),
              .g = nullptr}));
  }
}

void NormCases::add_activated(const std::string& name, NormActivation activation, int groups) {
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  const ActivatedNormShape shape{shape_.pixels(), shape_.channels, groups, 1e-5, activation, false};
  add(name + " forward", 3,
      call(ActivatedNormForward{shape_.samples, shape}, {.x = x_.data(),
                                                         .gamma = floats(gamma_),
                                                         .beta = floats(beta_),
                                                         .slope = floats(gamma_),
                                                         .epsilon = nullptr,
                                                         .residual = nullptr,
                                                         .y = y_.data(),
                                                         .mean = floats(mean_),
                                                         .inv_std = floats(inv_std_)}));
  add(name + " backward", 5,
      call(ActivatedNormBackward{shape_.samples, shape}, {.dy = dy_.data(),
                                                          .dy2 = nullptr,
                                                          .x = x_.data(),
                                                          .mean = floats(mean_),
                                                          .inv_std = floats(inv_std_),
                                                          .gamma = floats(gamma_),
                                                          .beta = floats(beta_),
                                                          .slope = floats(gamma_),
                                                          .epsilon = nullptr,
                                                          .y = nullptr,
                                                          .dx = dx_.data(),
                                                          .dgamma = floats(dgamma_),
                                                          .dbeta = floats(dbeta_),
                                                          .dslope = floats(dslope_),
                                                          .depsilon = nullptr,
                                                          .g = nullptr}));
}

void NormCases::add_frozen() {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  for (const bool relu : {false, true}) {
    const char* suffix = relu ? ", relu" : "";
    add(std::string("frozen forward") + suffix, 2,
        call(BatchNormalize{samples, pixels, channels, relu}, {.x = x_.data(),
                                                               .mean = floats(mean_),
                                                               .inv_std = floats(inv_std_),
                                                               .gamma = floats(gamma_),
                                                               .beta = floats(beta_),
                                                               .residual = nullptr,
                                                               .correction = nullptr,
                                                               .y = y_.data()}));
    // The ReLU's mask is computed from x.
    add(std::string("frozen backward") + suffix, relu ? 3 : 2,
        call(BatchInputGradient{samples, pixels, channels, relu, Deviation::l2, 1.0, true},
             {.g = dy_.data(),
              .x = x_.data(),
              .mean = floats(mean_),
              .inv_std = floats(inv_std_),
              .gamma = floats(gamma_),
              .beta = floats(beta_),
              .gradient_sums = gradient_sums_.as<double>().data(),
              .sums = nullptr,
              .correction = nullptr,
              .deviation = nullptr,
              .maxima = nullptr,
              .dx = dx_.data()}));
  }
}

}  // namespace syncnorm
