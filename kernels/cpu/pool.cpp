// Pooling with oneDNN, channels last. Max pooling keeps oneDNN's workspace, which holds the
// positions of the maxima.
#include "kernels/cpu/dnnl_call.h"
#include "kernels/cpu/emulate.h"

namespace syncnorm::cpu {
namespace {

using dnnl::memory;

struct PoolDescriptors {
  memory::desc x, y;
  memory::dims stride, kernel, padding;
  dnnl::algorithm algorithm;
};

PoolDescriptors describe(const PoolShape& s, int samples, memory::data_type type) {
  const auto nhwc = memory::format_tag::nhwc;
  return {{{samples, s.channels, s.height, s.width}, type, nhwc},
          {{samples, s.channels, s.out_height(), s.out_width()}, type, nhwc},
          {s.stride, s.stride},
          {s.kernel_height, s.kernel_width},
          {s.padding, s.padding},
          s.kind == PoolKind::max ? dnnl::algorithm::pooling_max
                                  : dnnl::algorithm::pooling_avg_exclude_padding};
}

dnnl::pooling_forward::primitive_desc forward_pd(Context& context, const PoolShape& s, int samples,
                                                 memory::data_type type, bool training) {
  const PoolDescriptors d = describe(s, samples, type);
  const dnnl::pooling_forward::desc desc(
      training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference,
      d.algorithm, d.x, d.y, d.stride, d.kernel, d.padding, d.padding);
  return {desc, user_scratchpad(), context.engine};
}

std::size_t input_values(const PoolShape& s, int samples) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(s.height) *
         static_cast<std::size_t>(s.width) * static_cast<std::size_t>(s.channels);
}

std::size_t output_values(const PoolShape& s, int samples) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(s.out_height()) *
         static_cast<std::size_t>(s.out_width()) * static_cast<std::size_t>(s.channels);
}

bool has_workspace(const PoolShape& s, bool training) {
  return training && s.kind == PoolKind::max;
}

}  // namespace

std::size_t workspace_bytes(Context& context, const PoolForward& op) {
  if (!has_workspace(op.shape, op.training)) return 0;
  return forward_pd(context, op.shape, op.samples, context.onednn_type(op.storage), true)
      .workspace_desc()
      .get_size();
}

template <>
KernelPtr compile(Context& context, const PoolForward& op) {
  const auto pd =
      forward_pd(context, op.shape, op.samples, context.onednn_type(op.storage), op.training);
  std::vector<std::pair<int, memory::desc>> roles = {{DNNL_ARG_SRC, pd.src_desc()},
                                                     {DNNL_ARG_DST, pd.dst_desc()}};
  const bool workspace = has_workspace(op.shape, op.training);
  if (workspace) roles.emplace_back(DNNL_ARG_WORKSPACE, pd.workspace_desc());
  DnnlCall call(context, dnnl::pooling_forward(pd), roles, pd.scratchpad_desc());
  KernelPtr kernel =
      make_kernel<PoolForward>([call, workspace](const auto& a, const StepState&) mutable {
        if (workspace)
          call.run({a.x, a.y, a.workspace});
        else
          call.run({a.x, a.y});
      });
  if (!context.emulates(op.storage)) return kernel;
  return emulate_bf16<PoolForward>(
      context, std::move(kernel),
      {input_values(op.shape, op.samples), output_values(op.shape, op.samples)});
}

template <>
KernelPtr compile(Context& context, const PoolBackward& op) {
  const memory::data_type type = context.onednn_type(op.storage);
  const PoolDescriptors d = describe(op.shape, op.samples, type);
  const auto forward = forward_pd(context, op.shape, op.samples, type, true);
  const dnnl::pooling_backward::desc desc(d.algorithm, d.x, d.y, d.stride, d.kernel, d.padding,
                                          d.padding);
  const dnnl::pooling_backward::primitive_desc pd(desc, user_scratchpad(), context.engine, forward);
  std::vector<std::pair<int, memory::desc>> roles = {{DNNL_ARG_DIFF_DST, pd.diff_dst_desc()},
                                                     {DNNL_ARG_DIFF_SRC, pd.diff_src_desc()}};
  const bool workspace = has_workspace(op.shape, true);
  if (workspace) roles.emplace_back(DNNL_ARG_WORKSPACE, forward.workspace_desc());
  DnnlCall call(context, dnnl::pooling_backward(pd), roles, pd.scratchpad_desc());
  KernelPtr kernel =
      make_kernel<PoolBackward>([call, workspace](const auto& a, const StepState&) mutable {
        if (workspace)
          call.run({a.dy, a.dx, a.workspace});
        else
          call.run({a.dy, a.dx});
      });
  if (!context.emulates(op.storage)) return kernel;
  return emulate_bf16<PoolBackward>(
      context, std::move(kernel),
      {output_values(op.shape, op.samples), input_values(op.shape, op.samples)});
}

}  // namespace syncnorm::cpu
