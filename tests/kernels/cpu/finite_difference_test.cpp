// Every differentiable operation against central differences of its own forward pass.
//
// For a scalar L = Σ w·y the derivative along a random direction v is (L(x + h·v) − L(x − h·v)) /
// 2h, which must be the product of v with the gradient for dy = w. The forward kernels compute in
// f32, so h is large (1e-2), and the error allowed is 3e-3 of the gradient's norm, which is the
// size of its product with a random direction; a control shows that a forgotten term is far above
// it.
#include <algorithm>
#include <random>

#include "tests/kernels/cpu/norm_test.h"

namespace syncnorm::test {
namespace {

std::size_t to_size(int n) { return static_cast<std::size_t>(n); }

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

/// Values at least `step` apart in random order: central differences cross no tie and no kink at 0.
std::vector<float> spaced(std::size_t count, unsigned seed, float step) {
  std::vector<float> values(count);
  const float middle = static_cast<float>(count) / 2.0f + 0.25f;
  for (std::size_t i = 0; i < count; ++i) values[i] = (static_cast<float>(i) - middle) * step;
  std::shuffle(values.begin(), values.end(), std::mt19937(seed));
  return values;
}

/// Largest error of `gradient` along four directions, as a multiple of what is allowed.
template <class Forward>
double gradient_error(const Forward& forward, const std::vector<float>& x,
                      const std::vector<float>& w, const std::vector<float>& gradient) {
  const float h = 1e-2f;
  const double allowed = 3e-3 * std::sqrt(dot(gradient, gradient) + 1e-6);
  double error = gradient.size() == x.size() ? 0.0 : INFINITY;
  for (unsigned direction = 0; direction < 4; ++direction) {
    std::mt19937 engine(direction);
    std::vector<float> v(x.size());
    for (float& value : v) value = engine() % 2 == 0 ? 1.0f : -1.0f;
    auto above = x, below = x;
    for (std::size_t i = 0; i < x.size(); ++i) {
      above[i] += h * v[i];
      below[i] -= h * v[i];
    }
    const double difference = (dot(forward(above), w) - dot(forward(below), w)) / (2.0 * h);
    error = std::max(error, std::abs(difference - dot(gradient, v)) / allowed);
  }
  return error;
}

template <class Forward>
void expect_gradient(const std::string& what, const Forward& forward, const std::vector<float>& x,
                     const std::vector<float>& w, const std::vector<float>& gradient) {
  EXPECT_LE(gradient_error(forward, x, w, gradient), 1.0) << what;
}

class FiniteDifferenceTest : public NormTest {
 protected:
  std::vector<float> convolve(const ConvShape& shape, int samples, const std::vector<float>& x,
                              const std::vector<float>& weight, const std::vector<float>& bias) {
    const Floats packed = floats(device_->packed_bytes(ConvPack{1, shape, false}) / sizeof(float));
    run(ConvPack{1, shape, false}, {floats(weight), packed});
    const Floats y =
        floats(to_size(samples * shape.out_height() * shape.out_width() * shape.filters));
    run(ConvForward{samples, shape}, {floats(x), packed, floats(bias), y});
    return y.values();
  }
};

TEST_P(FiniteDifferenceTest, Convolution) {
  if (emulated()) GTEST_SKIP() << "needs cuDNN or cuBLASLt, and so a GPU";
  for (const ConvShape& s : {ConvShape{5, 6, 3, 4, 3, 2, 1, true, 2},
                             {4, 4, 5, 3, 1, 1, 0, true, 2},
                             {7, 5, 1, 6, 5, 1, 2, true, 2},
                             {7, 6, 2, 3, 3, 1, 2, true, 2, 2},
                             {6, 5, 6, 4, 3, 2, 1, true, 2, 1, 2},
                             {5, 5, 4, 8, 3, 1, 2, true, 2, 2, 4}}) {
    const auto x = random_normal(to_size(2 * s.height * s.width * s.channels), 1);
    const auto weight = random_normal(s.weights(), 2), bias = random_normal(to_size(s.filters), 3);
    const auto w = random_normal(to_size(2 * s.out_height() * s.out_width() * s.filters), 4);
    const Floats packed = floats(device_->packed_bytes(ConvPack{1, s, true}) / sizeof(float));
    run(ConvPack{1, s, true}, {floats(weight), packed});
    const Floats dx = floats(x.size()), dweight = floats(weight.size()),
                 dbias = floats(bias.size());
    run(ConvDgrad{2, s}, {floats(w), packed, dx});
    run(ConvWgrad{2, s}, {floats(x), floats(w), dweight, dbias});
    expect_gradient(
        "x", [&](auto& v) { return convolve(s, 2, v, weight, bias); }, x, w, dx.values());
    expect_gradient(
        "weight", [&](auto& v) { return convolve(s, 2, x, v, bias); }, weight, w, dweight.values());
    expect_gradient(
        "bias", [&](auto& v) { return convolve(s, 2, x, weight, v); }, bias, w, dbias.values());
  }
}

TEST_P(FiniteDifferenceTest, Linear) {
  if (emulated()) GTEST_SKIP() << "needs cuDNN or cuBLASLt, and so a GPU";
  const auto x = random_normal(3 * 7, 1), weight = random_normal(5 * 7, 2);
  const auto bias = random_normal(5, 3), w = random_normal(3 * 5, 4);
  const Floats dx = floats(21u), dweight = floats(35u), dbias = floats(5u);
  run(LinearDgrad{3, 7, 5}, {floats(w), floats(weight), dx});
  run(LinearWgrad{3, 7, 5}, {floats(x), floats(w), dweight, dbias});
  const auto forward = [&](const auto& vx, const auto& vw, const auto& vb) {
    const Floats y = floats(15u);
    run(LinearForward{3, 7, 5}, {floats(vx), floats(vw), floats(vb), y});
    return y.values();
  };
  expect_gradient(
      "x", [&](auto& v) { return forward(v, weight, bias); }, x, w, dx.values());
  expect_gradient(
      "weight", [&](auto& v) { return forward(x, v, bias); }, weight, w, dweight.values());
  expect_gradient(
      "bias", [&](auto& v) { return forward(x, weight, v); }, bias, w, dbias.values());
}

TEST_P(FiniteDifferenceTest, Pooling) {
  for (const PoolKind kind : {PoolKind::max, PoolKind::average})
    for (const PoolShape& s : {PoolShape{kind, 6, 5, 3, 3, 3, 2, 1},
                               {kind, 4, 4, 5, 4, 4, 1, 0},
                               {kind, 5, 5, 2, 2, 2, 1, 0}}) {
      const PoolForward op{2, s, true};
      const auto x = spaced(to_size(2 * s.height * s.width * s.channels), 1, 0.03f);
      const auto w = random_normal(to_size(2 * s.out_height() * s.out_width() * s.channels), 2);
      const std::size_t bytes = device_->workspace_bytes(op);
      const auto kept = bytes > 0 ? Array<unsigned char>(*device_, bytes) : Array<unsigned char>();
      const auto forward = [&](const auto& v) {
        const Floats y = floats(w.size());
        run(op, {floats(v), y, kept});
        return y.values();
      };
      forward(x);
      const Floats dx = floats(x.size());
      run(PoolBackward{2, s}, {floats(w), kept, dx});
      expect_gradient("x", forward, x, w, dx.values());
    }
}

TEST_P(FiniteDifferenceTest, Resampling) {
  for (const UpsampleShape& s : {UpsampleShape{UpsampleMode::nearest, false, 3, 4, 5, 7, 8},
                                 {UpsampleMode::bilinear, false, 3, 4, 5, 7, 8},
                                 {UpsampleMode::bilinear, true, 3, 4, 5, 7, 8},
                                 {UpsampleMode::bilinear, false, 6, 5, 3, 4, 2}}) {
    SCOPED_TRACE(op_text(UpsampleForward{2, s}));
    const auto x = random_normal(to_size(2 * s.height * s.width * s.channels), 1);
    const auto w = random_normal(to_size(2 * s.out_height * s.out_width * s.channels), 2);
    const auto forward = [&](const auto& v) {
      const Floats y = floats(w.size());
      run(UpsampleForward{2, s}, {floats(v), y});
      return y.values();
    };
    const Floats dx = floats(x.size());
    run(UpsampleBackward{2, s}, {floats(w), dx});
    expect_gradient("x", forward, x, w, dx.values());
  }
}

TEST_P(FiniteDifferenceTest, Products) {
  constexpr std::size_t n = 3 * 6 * 9;
  for (const auto& [factor, factors] : {std::pair(Factor::full, n),
                                        {Factor::per_channel, std::size_t{27}},
                                        {Factor::per_pixel, std::size_t{18}}}) {
    const auto a = random_normal(n, 1), b = random_normal(factors, 2), w = random_normal(n, 3);
    const auto forward = [&, kind = factor](const auto& va, const auto& vb) {
      const Floats y = floats(n);
      run(Multiply{3, 6, 9, kind}, {floats(va), floats(vb), y});
      return y.values();
    };
    const Floats da = floats(n), db = floats(b.size());
    run(MultiplyBackward{3, 6, 9, factor}, {floats(w), floats(a), floats(b), da, db});
    expect_gradient(
        "a", [&](auto& v) { return forward(v, b); }, a, w, da.values());
    expect_gradient(
        "b", [&](auto& v) { return forward(a, v); }, b, w, db.values());
  }
}

TEST_P(FiniteDifferenceTest, Bias) {
  const auto x = random_normal(3 * 6 * 9, 1), bias = random_normal(9, 2), w = random_normal(162, 3);
  const auto forward = [&](const auto& v) {
    const Floats y = floats(x);
    run(AddBias{3, 6, 9}, {floats(v), y});
    return y.values();
  };
  const Floats dbias = floats(9u);
  run(BiasGradient{3, 6, 9}, {floats(w), dbias});
  expect_gradient("bias", forward, bias, w, dbias.values());
}

TEST_P(FiniteDifferenceTest, Normalization) {
  for (const NormShape& shape :
       {NormShape{3, 6, 9, 0}, {3, 6, 9, 1}, {3, 6, 9, 3}, {3, 6, 9, 9}, {3, 6, 9, 1, 1e-5, false}})
    for (const bool relu : {false, true}) {
      SCOPED_TRACE("groups " + std::to_string(shape.groups) + (relu ? " relu" : "") +
                   (shape.centered ? "" : " rms"));
      NormInputs in;
      in.x = random_normal(shape.size(), 1, 0.5f);
      in.gamma = random_normal(9, 2, 1.0f, 0.3f);
      in.residual = random_normal(shape.size(), 3);
      // Far on either side of ReLU's kink, channel by channel.
      in.beta.resize(9);
      for (std::size_t c = 0; c < 9; ++c) in.beta[c] = relu ? (c % 2 == 0 ? 9.0f : -9.0f) : 0.3f;
      in.dy = random_normal(shape.size(), 4);
      const NormOutputs out = normalize(shape, in, {relu, true, true});
      const auto forward = [&](std::vector<float> NormInputs::*field) {
        return [&, field](const std::vector<float>& v) {
          NormInputs changed = in;
          changed.*field = v;
          return normalize(shape, changed, {relu, true, true}).y;
        };
      };
      expect_gradient("x", forward(&NormInputs::x), in.x, in.dy, out.dx);
      expect_gradient("gamma", forward(&NormInputs::gamma), in.gamma, in.dy, out.dgamma);
      expect_gradient("beta", forward(&NormInputs::beta), in.beta, in.dy, out.dbeta);
      expect_gradient("residual", forward(&NormInputs::residual), in.residual, in.dy, out.g);
    }
}

TEST_P(FiniteDifferenceTest, LayerNormOverChannels) {
  constexpr std::size_t n = 3 * 6 * 9;
  for (const bool relu : {false, true}) {
    SCOPED_TRACE(relu ? "relu" : "no relu");
    NormInputs in;
    in.x = random_normal(n, 1, 0.5f);
    in.gamma = random_normal(9, 2, 1.0f, 0.3f);
    in.residual = random_normal(n, 3, 0.0f, 0.3f);
    // Far on either side of ReLU's kink, channel by channel.
    for (std::size_t c = 0; c < 9; ++c) in.beta.push_back(c % 2 == 0 ? 9.0f : -9.0f);
    const auto w = random_normal(n, 4);
    const auto y = [&](const NormInputs& i) {
      const Floats out = floats(n);
      run(ChannelNormForward{3, 6, 9, 1e-5, relu},
          {floats(i.x), floats(i.gamma), floats(i.beta), floats(i.residual), out});
      return out.values();
    };
    const Floats dx = floats(n), dgamma = floats(9u), dbeta = floats(9u), g = floats(n);
    run(ChannelNormBackward{3, 6, 9, 1e-5, relu},
        {floats(w), nullptr, floats(in.x), floats(in.gamma), floats(in.beta), floats(y(in)), dx,
         dgamma, dbeta, g});
    const auto forward = [&](std::vector<float> NormInputs::*field) {
      return [&, field](const std::vector<float>& v) {
        NormInputs changed = in;
        changed.*field = v;
        return y(changed);
      };
    };
    expect_gradient("x", forward(&NormInputs::x), in.x, w, dx.values());
    expect_gradient("gamma", forward(&NormInputs::gamma), in.gamma, w, dgamma.values());
    expect_gradient("beta", forward(&NormInputs::beta), in.beta, w, dbeta.values());
    expect_gradient("residual", forward(&NormInputs::residual), in.residual, w, g.values());
  }
}

TEST_P(FiniteDifferenceTest, PointwiseNorms) {
  constexpr std::size_t n = 3 * 6 * 9;
  for (const PointwiseFunction function : {PointwiseFunction::tanh, PointwiseFunction::erf})
    for (const bool relu : {false, true}) {
      SCOPED_TRACE(op_text(PointwiseNormForward{3, 6, 9, function, relu}));
      struct Inputs {
        std::vector<float> x, alpha, shift, gamma, beta, residual;
      } in{random_normal(n, 1, 0.5f),       {0.7f}, {0.2f},
           random_normal(9, 2, 1.0f, 0.3f), {},     random_normal(n, 3, 0.0f, 0.3f)};
      // Far on either side of ReLU's kink, channel by channel.
      for (std::size_t c = 0; c < 9; ++c) in.beta.push_back(c % 2 == 0 ? 5.0f : -5.0f);
      const auto w = random_normal(n, 4);
      const auto y = [&](const Inputs& i) {
        const Floats out = floats(n);
        run(PointwiseNormForward{3, 6, 9, function, relu},
            {floats(i.x), floats(i.alpha), floats(i.shift), floats(i.gamma), floats(i.beta),
             floats(i.residual), out});
        return out.values();
      };
      const Floats dx = floats(n), dalpha = floats(1u), dshift = floats(1u), dgamma = floats(9u),
                   dbeta = floats(9u), g = floats(n);
      run(PointwiseNormBackward{3, 6, 9, function, relu},
          {floats(w), nullptr, floats(in.x), floats(in.alpha), floats(in.shift), floats(in.gamma),
           floats(in.beta), floats(y(in)), dx, dalpha, dshift, dgamma, dbeta, g});
      const auto forward = [&](std::vector<float> Inputs::*field) {
        return [&, field](const std::vector<float>& v) {
          Inputs changed = in;
          changed.*field = v;
          return y(changed);
        };
      };
      expect_gradient("x", forward(&Inputs::x), in.x, w, dx.values());
      expect_gradient("alpha", forward(&Inputs::alpha), in.alpha, w, dalpha.values());
      expect_gradient("shift", forward(&Inputs::shift), in.shift, w, dshift.values());
      expect_gradient("gamma", forward(&Inputs::gamma), in.gamma, w, dgamma.values());
      expect_gradient("beta", forward(&Inputs::beta), in.beta, w, dbeta.values());
      expect_gradient("residual", forward(&Inputs::residual), in.residual, w, g.values());
    }
}

TEST_P(FiniteDifferenceTest, ScaledAdd) {
  constexpr std::size_t n = 3 * 6 * 9;
  for (const bool relu : {false, true}) {
    const auto x = random_normal(n, 1), w = random_normal(n, 3);
    auto residual = random_normal(n, 2, 0.0f, 0.3f);
    for (std::size_t i = 0; i < n; ++i) residual[i] += i % 2 == 0 ? 9.0f : -9.0f;  // off the kink
    const std::vector<float> gain = {0.6f};
    const auto y = [&](const auto& in, const auto& factor, const auto& other) {
      const Floats out = floats(n);
      run(ScaledAddForward{3, 6, 9, 0.5, relu}, {floats(in), floats(factor), floats(other), out});
      return out.values();
    };
    const Floats dx = floats(n), dgain = floats(1u), g = floats(n);
    run(ScaledAddBackward{3, 6, 9, 0.5, relu},
        {floats(w), nullptr, floats(x), floats(gain), floats(y(x, gain, residual)), dx, dgain, g});
    expect_gradient(
        "x", [&](const auto& v) { return y(v, gain, residual); }, x, w, dx.values());
    expect_gradient(
        "gain", [&](const auto& v) { return y(x, v, residual); }, gain, w, dgain.values());
    expect_gradient(
        "residual", [&](const auto& v) { return y(x, gain, v); }, residual, w, g.values());
  }
}

TEST_P(FiniteDifferenceTest, ActivatedNorms) {
  constexpr std::size_t n = 3 * 6 * 9;
  for (const NormActivation activation : {NormActivation::threshold, NormActivation::swish})
    for (const bool relu : {false, true}) {
      const bool frn = activation == NormActivation::threshold;
      const ActivatedNormShape shape{6, 9, frn ? 9 : 3, 1e-5, activation, relu};
      SCOPED_TRACE(op_text(ActivatedNormForward{3, shape}));
      struct Inputs {
        std::vector<float> x, gamma, beta, slope, epsilon, residual;
      } in{random_normal(n, 1, 0.5f),      random_normal(9, 2, 1.0f, 0.3f), {}, {}, {0.05f},
           random_normal(n, 3, 0.0f, 0.3f)};
      // Far on either side of the kinks, channel by channel: of TLU by thirds, of ReLU by halves.
      for (std::size_t c = 0; c < 9; ++c) {
        in.beta.push_back(c % 2 == 0 ? 9.0f : -9.0f);
        in.slope.push_back(frn ? (c % 3 == 0 ? 19.0f : -19.0f) : 0.3f * static_cast<float>(c));
      }
      const auto w = random_normal(n, 4);
      const auto epsilon = [&](const Inputs& i) { return frn ? floats(i.epsilon) : Floats(); };
      const Floats mean = floats(54u), inv_std = floats(27u);
      const auto y = [&](const Inputs& i) {
        const Floats out = floats(n), learned = epsilon(i);
        run(ActivatedNormForward{3, shape},
            {floats(i.x), floats(i.gamma), floats(i.beta), floats(i.slope), learned,
             floats(i.residual), out, mean, inv_std});
        return out.values();
      };
      const Floats dx = floats(n), dgamma = floats(9u), dbeta = floats(9u), dslope = floats(9u),
                   depsilon = frn ? floats(1u) : Floats(), g = floats(n), learned = epsilon(in);
      const Floats out = floats(y(in));
      run(ActivatedNormBackward{3, shape},
          {floats(w), nullptr, floats(in.x), mean, inv_std, floats(in.gamma), floats(in.beta),
           floats(in.slope), learned, out, dx, dgamma, dbeta, dslope, depsilon, g});
      const auto forward = [&](std::vector<float> Inputs::*field) {
        return [&, field](const std::vector<float>& v) {
          Inputs changed = in;
          changed.*field = v;
          return y(changed);
        };
      };
      expect_gradient("x", forward(&Inputs::x), in.x, w, dx.values());
      expect_gradient("gamma", forward(&Inputs::gamma), in.gamma, w, dgamma.values());
      expect_gradient("beta", forward(&Inputs::beta), in.beta, w, dbeta.values());
      expect_gradient("slope", forward(&Inputs::slope), in.slope, w, dslope.values());
      if (frn)
        expect_gradient("epsilon", forward(&Inputs::epsilon), in.epsilon, w, depsilon.values());
      expect_gradient("residual", forward(&Inputs::residual), in.residual, w, g.values());
    }
}

TEST_P(FiniteDifferenceTest, Activations) {
  for (const Activation kind :
       {Activation::relu, Activation::sigmoid, Activation::tanh, Activation::elu, Activation::selu,
        Activation::gelu, Activation::silu, Activation::hard_swish}) {
    const auto x = spaced(101, 1, 0.06f), w = random_normal(101, 2);
    const auto forward = [&](const auto& v) {
      const Floats y = floats(101u);
      run(ActivationForward{1, 101, kind}, {floats(v), y});
      return y.values();
    };
    const Floats dx = floats(101u);
    run(ActivationBackward{1, 101, kind}, {floats(w), floats(x), floats(forward(x)), dx});
    expect_gradient(op_text(ActivationForward{1, 101, kind}), forward, x, w, dx.values());
  }
}

TEST_P(FiniteDifferenceTest, DropoutNoiseAddAndFlatten) {
  const auto x = random_normal(2 * 30, 1), w = random_normal(2 * 30, 2);
  const auto through = [&](const Op& op) {
    return [&, op](const std::vector<float>& v) {
      const Floats y = floats(60u);
      run(op, {floats(v), Array<std::uint32_t>(*device_, {4u, 2u}), y});
      return y.values();
    };
  };
  const Dropout dropout{2, 30, 0.3, 1};
  expect_gradient("dropout", through(dropout), x, w, through(dropout)(w));
  Dropout alpha = dropout, alpha_backward = dropout;
  alpha.alpha = alpha_backward.alpha = alpha_backward.backward = true;
  expect_gradient("alpha dropout", through(alpha), x, w, through(alpha_backward)(w));
  NormNoise noise{2, 10, 3}, noise_backward = noise;
  noise_backward.backward = true;
  expect_gradient("noise", through(noise), x, w, through(noise_backward)(w));
  const auto add = [&](const auto& a, const auto& b) {
    const Floats y = floats(60u);
    run(Add{2, 30}, {floats(a), floats(b), y});
    return y.values();
  };
  expect_gradient(
      "add", [&](auto& v) { return add(v, x); }, x, w, w);
  const auto flatten = [&](bool inverse) {
    return [&, inverse](const std::vector<float>& v) {
      const Floats y = floats(60u);
      run(ToChannelsFirst{2, 6, 5, inverse}, {floats(v), y});
      return y.values();
    };
  };
  expect_gradient("flatten", flatten(false), x, w, flatten(true)(w));
}

// The loss is a f64 sum already; its gradient is checked value by value.
TEST_P(FiniteDifferenceTest, SoftmaxCrossEntropy) {
  for (const double smoothing : {0.0, 0.1}) {
    const SoftmaxCrossEntropy op{3, 7, smoothing, 0.5};
    const auto logits = random_normal(21, 1);
    const Array<std::int32_t> labels(*device_, {6, 0, 3});
    const Doubles totals = doubles(4);
    const Floats dlogits = floats(21u);
    run(op, {floats(logits), labels, totals, dlogits});
    for (std::size_t i = 0; i < 21; ++i) {
      double loss[2];
      const float h = 1.0f / 256.0f;
      for (const int side : {0, 1}) {
        auto moved = logits;
        moved[i] += side == 0 ? h : -h;
        run(op, {floats(moved), labels, totals, nullptr});
        loss[side] = totals[0];
      }
      EXPECT_NEAR(op.gradient_scale * (loss[0] - loss[1]) / (2.0 * h), dlogits[i], 1e-5) << i;
    }
  }
}

// The control: a gradient that forgets one term of the norm's must not pass.
TEST_P(FiniteDifferenceTest, AGradientThatForgetsTheVarianceIsSeen) {
  const NormShape shape{3, 6, 9, 0, 1e-5};
  NormInputs in;
  in.x = random_normal(shape.size(), 1, 0.5f);
  in.dy = random_normal(shape.size(), 4);
  const NormOutputs out = batch_norm(shape, in, {});
  std::vector<float> forgetful(in.x.size());
  for (std::size_t i = 0; i < in.x.size(); ++i)
    forgetful[i] =
        out.inv_std[i % 9] * (in.dy[i] - static_cast<float>(out.gradient_sums[i % 9] / 18.0));
  const auto forward = [&](const std::vector<float>& v) {
    NormInputs changed = in;
    changed.x = v;
    return batch_norm(shape, changed, {}).y;
  };
  EXPECT_LE(gradient_error(forward, in.x, in.dy, out.dx), 1.0);
  EXPECT_GT(gradient_error(forward, in.x, in.dy, forgetful), 5.0);
}

SYNCNORM_FOR_ALL_BACK_ENDS(FiniteDifferenceTest);

}  // namespace
}  // namespace syncnorm::test
