// See onednn_norm.h.
#include "kernels/bench/onednn_norm.h"

#include "kernels/cpu/dnnl_call.h"

namespace syncnorm {

using dnnl::batch_normalization_backward;
using dnnl::batch_normalization_forward;
using dnnl::memory;
using dnnl::normalization_flags;

struct OneDnnNorm::State {
  cpu::Context context{cpu::select_loops("")};
  cpu::DnnlCall forward, backward;
  Buffer mean, variance, scale, shift, diff_scale, diff_shift, workspace;
  std::string implementation;
};

OneDnnNorm::OneDnnNorm(const NormShape& shape, bool relu) : state_(std::make_unique<State>()) {
  State& s = *state_;
  constexpr float kEps = 1e-5f;
  const auto flags = normalization_flags::use_scale | normalization_flags::use_shift |
                     (relu ? normalization_flags::fuse_norm_relu : normalization_flags::none);
  const memory::desc data({shape.samples, shape.channels, shape.height, shape.width},
                          memory::data_type::f32, memory::format_tag::nhwc);
  const memory::desc vector({shape.channels}, memory::data_type::f32, memory::format_tag::a);
  const batch_normalization_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, data, kEps, flags}, cpu::user_scratchpad(),
      s.context.engine);
  const batch_normalization_backward::primitive_desc backward(
      {dnnl::prop_kind::backward, data, data, kEps, flags}, cpu::user_scratchpad(),
      s.context.engine, forward);
  s.implementation = forward.impl_info_str();

  const std::size_t bytes = static_cast<std::size_t>(shape.channels) * sizeof(float);
  for (Buffer* buffer : {&s.mean, &s.variance, &s.scale, &s.shift, &s.diff_scale, &s.diff_shift})
    *buffer = cpu::allocate_host(bytes);
  for (float& value : s.scale.as<float>()) value = 1.0f;
  using Roles = std::vector<std::pair<int, memory::desc>>;
  Roles read_write = {{DNNL_ARG_SRC, data},
                      {DNNL_ARG_DST, data},
                      {DNNL_ARG_MEAN, vector},
                      {DNNL_ARG_VARIANCE, vector},
                      {DNNL_ARG_SCALE, vector},
                      {DNNL_ARG_SHIFT, vector},
                      {DNNL_ARG_WORKSPACE, forward.workspace_desc()}};
  Roles gradients = {{DNNL_ARG_DIFF_DST, data},     {DNNL_ARG_SRC, data},
                     {DNNL_ARG_DIFF_SRC, data},     {DNNL_ARG_MEAN, vector},
                     {DNNL_ARG_VARIANCE, vector},   {DNNL_ARG_SCALE, vector},
                     {DNNL_ARG_SHIFT, vector},      {DNNL_ARG_DIFF_SCALE, vector},
                     {DNNL_ARG_DIFF_SHIFT, vector}, {DNNL_ARG_WORKSPACE, forward.workspace_desc()}};
  if (relu) {
    s.workspace = cpu::allocate_host(forward.workspace_desc().get_size());
  } else {
    read_write.pop_back();
    gradients.pop_back();
  }
  s.forward = {s.context, batch_normalization_forward(forward), read_write,
               forward.scratchpad_desc()};
  s.backward = {s.context, batch_normalization_backward(backward), gradients,
                backward.scratchpad_desc()};
}

OneDnnNorm::~OneDnnNorm() = default;
OneDnnNorm::OneDnnNorm(OneDnnNorm&&) noexcept = default;

std::string OneDnnNorm::implementation() const { return state_->implementation; }

void OneDnnNorm::forward(const float* x, float* y) {
  State& s = *state_;
  const auto in = [](const float* p) { return const_cast<float*>(p); };
  if (s.workspace.bytes() > 0)
    s.forward.run({in(x), y, s.mean.data(), s.variance.data(), s.scale.data(), s.shift.data(),
                   s.workspace.data()});
  else
    s.forward.run({in(x), y, s.mean.data(), s.variance.data(), s.scale.data(), s.shift.data()});
}

void OneDnnNorm::backward(const float* dy, const float* x, float* dx) {
  State& s = *state_;
  const auto in = [](const float* p) { return const_cast<float*>(p); };
  if (s.workspace.bytes() > 0)
    s.backward.run({in(dy), in(x), dx, s.mean.data(), s.variance.data(), s.scale.data(),
                    s.shift.data(), s.diff_scale.data(), s.diff_shift.data(), s.workspace.data()});
  else
    s.backward.run({in(dy), in(x), dx, s.mean.data(), s.variance.data(), s.scale.data(),
                    s.shift.data(), s.diff_scale.data(), s.diff_shift.data()});
}

}  // namespace syncnorm
