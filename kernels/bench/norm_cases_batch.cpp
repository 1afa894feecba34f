// The cases of batch norms with operations of their own: averages over updates, and EvoNorm-B0.
#include "kernels/bench/norm_cases.h"

namespace syncnorm {

void NormCases::add_moving() {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  const auto doubles = [](const Buffer& buffer) { return buffer.as<double>().data(); };
  double *const totals = doubles(sums_), *const gradient_totals = doubles(gradient_sums_);
  const auto in_turn = [](const Call& first, const Call& second, const Call& third) {
    return [first, second, third] {
      first();
      second();
      third();
    };
  };
  const Call statistics =
      call(BatchMoments{samples, pixels, channels}, {.x = x_.data(), .sums = totals});
  const Call mixed = call(MomentumFinalize{samples, channels}, {.sums = totals,
                                                                .mean = floats(mean_),
                                                                .inv_std = floats(inv_std_),
                                                                .mixing = doubles(mixing_),
                                                                .moving_mean = floats(moving_mean_),
                                                                .moving_var = floats(moving_var_),
                                                                .running_mean = nullptr,
                                                                .running_var = nullptr});
  const Call moving = call(MovingFinalize{samples, channels}, {.sums = totals,
                                                               .mean = floats(mean_),
                                                               .inv_std = floats(inv_std_),
                                                               .correction = floats(correction_),
                                                               .squares = floats(history_),
                                                               .running_var = floats(moving_var_)});
  // Filters of one weight: the passes over activations are what is measured.
  const Call crossed = call(CrossIterationFinalize{samples, channels, 1, 1, 1e-5, 0.1, {2, 0}},
                            {.sums = totals,
                             .weight = floats(gamma_),
                             .counts = floats(history_),
                             .means = floats(history_),
                             .squares = floats(history_),
                             .mean_slopes = floats(history_),
                             .square_slopes = floats(history_),
                             .mean = floats(mean_),
                             .inv_std = floats(inv_std_),
                             .mixing = doubles(mixing_),
                             .running_mean = nullptr,
                             .running_var = nullptr});
  const auto apply = [&](float* correction) {
    return call(BatchNormalize{samples, pixels, channels, false}, {.x = x_.data(),
                                                                   .mean = floats(mean_),
                                                                   .inv_std = floats(inv_std_),
                                                                   .gamma = floats(gamma_),
                                                                   .beta = floats(beta_),
                                                                   .residual = nullptr,
                                                                   .correction = correction,
                                                                   .y = y_.data()});
  };
  add("momentum forward", 3, in_turn(statistics, mixed, apply(nullptr)));
  add("cross_iteration forward", 3, in_turn(statistics, crossed, apply(nullptr)));
  add("mabn forward", 3, in_turn(statistics, moving, apply(floats(correction_))));

  const auto sums = [&](float* correction) {
    return call(BatchGradientSums{samples, pixels, channels, false}, {.dy = dy_.data(),
                                                                      .dy2 = nullptr,
                                                                      .x = x_.data(),
                                                                      .mean = floats(mean_),
                                                                      .inv_std = floats(inv_std_),
                                                                      .gamma = floats(gamma_),
                                                                      .beta = floats(beta_),
                                                                      .y = nullptr,
                                                                      .correction = correction,
                                                                      .sums = gradient_totals,
                                                                      .dgamma = floats(dgamma_),
                                                                      .dbeta = floats(dbeta_),
                                                                      .g = nullptr});
  };
  const auto gradient = [&](float* correction, bool weighted) {
    BatchInputGradient op{samples, pixels, channels, false};
    op.weighted = weighted;
    return call(op, {.g = dy_.data(),
                     .x = x_.data(),
                     .mean = floats(mean_),
                     .inv_std = floats(inv_std_),
                     .gamma = floats(gamma_),
                     .beta = floats(beta_),
                     .gradient_sums = doubles(constants_),
                     .sums = totals,
                     .correction = correction,
                     .deviation = nullptr,
                     .maxima = nullptr,
                     .dx = dx_.data()});
  };
  const Call constants =
      call(MomentumGradient{samples, channels}, {.gradient_sums = gradient_totals,
                                                 .mixing = doubles(mixing_),
                                                 .inv_std = floats(inv_std_),
                                                 .constants = doubles(constants_)});
  const Call averaged = call(MovingGradient{samples, channels}, {.gradient_sums = gradient_totals,
                                                                 .sums = totals,
                                                                 .correction = floats(correction_),
                                                                 .gamma = floats(gamma_),
                                                                 .constants = doubles(constants_),
                                                                 .gradients = floats(history_)});
  add("momentum backward", 5, in_turn(sums(nullptr), constants, gradient(nullptr, false)));
  add("cross_iteration backward", 5, in_turn(sums(nullptr), constants, gradient(nullptr, false)));
  add("mabn backward", 5,
      in_turn(sums(floats(correction_)), averaged, gradient(floats(correction_), true)));
}

void NormCases::add_evonorm_batch() {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  const auto doubles = [](const Buffer& buffer) { return buffer.as<double>().data(); };
  const Call moments =
      call(EvoNormMoments{samples, pixels, channels}, {.x = x_.data(),
                                                       .sums = doubles(sums_),
                                                       .mean = floats(mean_),
                                                       .deviation = floats(inv_std_)});
  const Call finalize = call(BatchFinalize{samples, channels}, {.sums = doubles(sums_),
                                                                .mean = floats(correction_),
                                                                .inv_std = floats(moving_var_),
                                                                .running_mean = nullptr,
                                                                .running_var = nullptr,
                                                                .correction = nullptr});
  const Call apply = call(EvoNormApply{samples, pixels, channels}, {.x = x_.data(),
                                                                    .inv_std = floats(moving_var_),
                                                                    .deviation = floats(inv_std_),
                                                                    .gamma = floats(gamma_),
                                                                    .beta = floats(beta_),
                                                                    .slope = floats(gamma_),
                                                                    .residual = nullptr,
                                                                    .y = y_.data()});
  const Call sums =
      call(EvoNormGradientSums{samples, pixels, channels}, {.dy = dy_.data(),
                                                            .dy2 = nullptr,
                                                            .x = x_.data(),
                                                            .inv_std = floats(moving_var_),
                                                            .deviation = floats(inv_std_),
                                                            .gamma = floats(gamma_),
                                                            .beta = floats(beta_),
                                                            .slope = floats(gamma_),
                                                            .y = nullptr,
                                                            .sums = doubles(gradient_sums_),
                                                            .sample_sums = doubles(sample_sums_),
                                                            .dgamma = floats(dgamma_),
                                                            .dbeta = floats(dbeta_),
                                                            .dslope = floats(dslope_),
                                                            .g = nullptr});
  const Call gradient = call(EvoNormInputGradient{samples, pixels, channels},
                             {.g = dy_.data(),
                              .x = x_.data(),
                              .mean = floats(correction_),
                              .inv_std = floats(moving_var_),
                              .sample_mean = floats(mean_),
                              .deviation = floats(inv_std_),
                              .gamma = floats(gamma_),
                              .beta = floats(beta_),
                              .slope = floats(gamma_),
                              .sums = doubles(sums_),
                              .gradient_sums = doubles(gradient_sums_),
                              .sample_sums = doubles(sample_sums_),
                              .dx = dx_.data()});
  add("evonorm_b0 forward", 3, [moments, finalize, apply] {
    moments();
    finalize();
    apply();
  });
  add("evonorm_b0 backward", 5, [sums, gradient] {
    sums();
    gradient();
  });
}

void NormCases::add_switchable() {
  const int samples = shape_.samples, pixels = shape_.pixels(), channels = shape_.channels;
  const auto floats = [](const Buffer& buffer) { return buffer.as<float>().data(); };
  const auto doubles = [](const Buffer& buffer) { return buffer.as<double>().data(); };
  float* const switches = floats(switches_);
  const Call moments =
      call(SwitchableMoments{samples, pixels, channels}, {.x = x_.data(),
                                                          .moments = doubles(sample_moments_),
                                                          .layer = doubles(layer_),
                                                          .sums = doubles(sums_)});
  const Call finalize = call(SwitchableFinalize{1, channels}, {.sums = doubles(sums_),
                                                               .batch = doubles(batch_moments_),
                                                               .running_mean = floats(moving_mean_),
                                                               .running_var = floats(moving_var_)});
  const Call normalize =
      call(SwitchableForward{samples, pixels, channels}, {.x = x_.data(),
                                                          .moments = doubles(sample_moments_),
                                                          .layer = doubles(layer_),
                                                          .batch = doubles(batch_moments_),
                                                          .mean_weight = switches,
                                                          .var_weight = switches,
                                                          .gamma = floats(gamma_),
                                                          .beta = floats(beta_),
                                                          .residual = nullptr,
                                                          .y = y_.data(),
                                                          .mean = floats(mean_),
                                                          .inv_std = floats(inv_std_)});
  add("switchable forward", 3, [=] {
    moments();
    finalize();
    normalize();
  });
  const Call sums =
      call(SwitchableGradientSums{samples, pixels, channels}, {.dy = dy_.data(),
                                                               .dy2 = nullptr,
                                                               .x = x_.data(),
                                                               .mean = floats(mean_),
                                                               .inv_std = floats(inv_std_),
                                                               .moments = doubles(sample_moments_),
                                                               .layer = doubles(layer_),
                                                               .batch = doubles(batch_moments_),
                                                               .mean_weight = switches,
                                                               .var_weight = switches,
                                                               .gamma = floats(gamma_),
                                                               .beta = floats(beta_),
                                                               .y = nullptr,
                                                               .local = doubles(local_),
                                                               .sums = doubles(gradient_sums_),
                                                               .dgamma = floats(dgamma_),
                                                               .dbeta = floats(dbeta_),
                                                               .dmean_weight = floats(scalars_),
                                                               .dvar_weight = floats(scalars_) + 3,
                                                               .g = nullptr});
  const Call input = call(SwitchableInputGradient{samples, pixels, channels},
                          {.g = dy_.data(),
                           .x = x_.data(),
                           .mean = floats(mean_),
                           .inv_std = floats(inv_std_),
                           .moments = doubles(sample_moments_),
                           .layer = doubles(layer_),
                           .batch = doubles(batch_moments_),
                           .mean_weight = switches,
                           .var_weight = switches,
                           .gamma = floats(gamma_),
                           .beta = floats(beta_),
                           .local = doubles(local_),
                           .gradient_sums = doubles(gradient_sums_),
                           .sums = doubles(sums_),
                           .dx = dx_.data()});
  add("switchable backward", 5, [=] {
    sums();
    input();
  });
}

}  // namespace syncnorm
