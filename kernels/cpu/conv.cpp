// Convolutions with oneDNN: channels-last activations, and weights packed once per step into the
// layout that oneDNN prefers. The algorithm is always direct, so the choice never depends on
// timing.
#include "kernels/cpu/dnnl_call.h"
#include "kernels/cpu/emulate.h"

namespace syncnorm::cpu {
namespace {

using dnnl::memory;
constexpr auto kF32 = memory::data_type::f32;

struct Descriptors {
  memory::desc x, w, b, y;
  memory::dims stride, dilation, padding;
};

/// The dimensions of the weights; oneDNN has the groups as a dimension of their own.
memory::dims weight_dims(const ConvShape& s) {
  if (s.groups == 1) return {s.filters, s.channels, s.kernel, s.kernel};
  return {s.groups, s.filters / s.groups, s.filter_channels(), s.kernel, s.kernel};
}

/// `type` is the type of activations and packed weights; the bias is f32.
Descriptors describe(const ConvShape& s, int samples, memory::data_type type) {
  return {{{samples, s.channels, s.height, s.width}, type, memory::format_tag::nhwc},
          {weight_dims(s), type, memory::format_tag::any},
          s.bias ? memory::desc({s.filters}, kF32, memory::format_tag::a) : memory::desc(),
          {{samples, s.filters, s.out_height(), s.out_width()}, type, memory::format_tag::nhwc},
          {s.stride, s.stride},
          {s.dilation - 1, s.dilation - 1},
          {s.padding, s.padding}};
}

memory::desc canonical_weights(const ConvShape& s) {
  return {weight_dims(s), kF32,
          s.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw};
}

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

dnnl::convolution_forward::primitive_desc forward_pd(Context& context, const ConvShape& s,
                                                     int samples, memory::data_type type,
                                                     const memory::desc* weights) {
  Descriptors d = describe(s, samples, type);
  if (weights != nullptr) d.w = *weights;
  const auto desc =
      s.bias ? dnnl::convolution_forward::desc(dnnl::prop_kind::forward_training, kDirect, d.x, d.w,
                                               d.b, d.y, d.stride, d.dilation, d.padding, d.padding)
             : dnnl::convolution_forward::desc(dnnl::prop_kind::forward_training, kDirect, d.x, d.w,
                                               d.y, d.stride, d.dilation, d.padding, d.padding);
  return {desc, user_scratchpad(), context.engine};
}

dnnl::convolution_backward_data::primitive_desc dgrad_pd(Context& context, const ConvShape& s,
                                                         int samples, memory::data_type type,
                                                         const memory::desc* weights) {
  Descriptors d = describe(s, samples, type);
  if (weights != nullptr) d.w = *weights;
  const dnnl::convolution_backward_data::desc desc(kDirect, d.x, d.w, d.y, d.stride, d.dilation,
                                                   d.padding, d.padding);
  return {desc, user_scratchpad(), context.engine, forward_pd(context, s, samples, type, nullptr)};
}

/// The layout that ConvPack writes: the one for a full batch, whatever the batch of the call.
memory::desc packed_layout(Context& context, const ConvShape& s, Storage storage, bool for_dgrad) {
  const memory::data_type type = context.onednn_type(storage);
  return for_dgrad ? dgrad_pd(context, s, s.pack_samples, type, nullptr).weights_desc()
                   : forward_pd(context, s, s.pack_samples, type, nullptr).weights_desc();
}

DnnlCall make_reorder(Context& context, const memory::desc& from, const memory::desc& to) {
  const dnnl::reorder::primitive_desc pd(context.engine, from, context.engine, to,
                                         user_scratchpad());
  return {
      context, dnnl::reorder(pd), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}, pd.scratchpad_desc()};
}

std::size_t input_values(const ConvShape& s, int samples) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(s.height) *
         static_cast<std::size_t>(s.width) * static_cast<std::size_t>(s.channels);
}

std::size_t output_values(const ConvShape& s, int samples) {
  return static_cast<std::size_t>(samples) * static_cast<std::size_t>(s.out_height()) *
         static_cast<std::size_t>(s.out_width()) * static_cast<std::size_t>(s.filters);
}

/// Rounds the weights to bf16 and packs them in the f32 layout.
KernelPtr emulated_pack(Context& context, const ConvShape& s, DnnlCall reorder) {
  const std::size_t count = s.weights();
  context.wide.need(count * (sizeof(float) + sizeof(BFloat16)));
  return make_kernel<ConvPack>([&context, reorder, count](const auto& a, const StepState&) mutable {
    auto* values = reinterpret_cast<float*>(context.wide.data());
    auto* rounded = reinterpret_cast<BFloat16*>(values + count);
    context.loops.narrow(a.weight, rounded, count);
    context.loops.widen(rounded, values, count);
    reorder.run({values, a.packed});
  });
}

}  // namespace

std::size_t packed_bytes(Context& context, const ConvPack& op) {
  return packed_layout(context, op.shape, op.storage, op.for_dgrad).get_size();
}

template <>
KernelPtr compile(Context& context, const ConvPack& op) {
  DnnlCall reorder = make_reorder(context, canonical_weights(op.shape),
                                  packed_layout(context, op.shape, op.storage, op.for_dgrad));
  if (context.emulates(op.storage)) return emulated_pack(context, op.shape, reorder);
  return make_kernel<ConvPack>([reorder](const auto& a, const StepState&) mutable {
    reorder.run({a.weight, a.packed});
  });
}

template <>
KernelPtr compile(Context& context, const ConvForward& op) {
  const memory::desc packed = packed_layout(context, op.shape, op.storage, false);
  const auto pd =
      forward_pd(context, op.shape, op.samples, context.onednn_type(op.storage), &packed);
  std::vector<std::pair<int, memory::desc>> roles = {
      {DNNL_ARG_SRC, pd.src_desc()}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, pd.dst_desc()}};
  const bool bias = op.shape.bias;
  if (bias) roles.emplace_back(DNNL_ARG_BIAS, pd.bias_desc());
  DnnlCall call(context, dnnl::convolution_forward(pd), roles, pd.scratchpad_desc());
  KernelPtr kernel =
      make_kernel<ConvForward>([call, bias](const auto& a, const StepState&) mutable {
        if (bias)
          call.run({a.x, a.packed, a.y, a.bias});
        else
          call.run({a.x, a.packed, a.y});
      });
  if (!context.emulates(op.storage)) return kernel;
  return emulate_bf16<ConvForward>(
      context, std::move(kernel),
      {input_values(op.shape, op.samples), output_values(op.shape, op.samples)});
}

template <>
KernelPtr compile(Context& context, const ConvDgrad& op) {
  const memory::desc packed = packed_layout(context, op.shape, op.storage, true);
  const auto pd = dgrad_pd(context, op.shape, op.samples, context.onednn_type(op.storage), &packed);
  DnnlCall call(context, dnnl::convolution_backward_data(pd),
                {{DNNL_ARG_DIFF_DST, pd.diff_dst_desc()},
                 {DNNL_ARG_WEIGHTS, packed},
                 {DNNL_ARG_DIFF_SRC, pd.diff_src_desc()}},
                pd.scratchpad_desc());
  KernelPtr kernel = make_kernel<ConvDgrad>([call](const auto& a, const StepState&) mutable {
    call.run({a.dy, a.packed, a.dx});
  });
  if (!context.emulates(op.storage)) return kernel;
  return emulate_bf16<ConvDgrad>(
      context, std::move(kernel),
      {output_values(op.shape, op.samples), input_values(op.shape, op.samples)});
}

template <>
KernelPtr compile(Context& context, const ConvWgrad& op) {
  const ConvShape& s = op.shape;
  const memory::data_type type = context.onednn_type(op.storage);
  const Descriptors d = describe(s, op.samples, type);
  // The gradient is f32 whatever the type of the activations, because it is a sum over all pixels.
  const memory::desc weights(weight_dims(s), kF32, memory::format_tag::any);
  const auto desc =
      s.bias ? dnnl::convolution_backward_weights::desc(kDirect, d.x, weights, d.b, d.y, d.stride,
                                                        d.dilation, d.padding, d.padding)
             : dnnl::convolution_backward_weights::desc(kDirect, d.x, weights, d.y, d.stride,
                                                        d.dilation, d.padding, d.padding);
  const dnnl::convolution_backward_weights::primitive_desc pd(
      desc, user_scratchpad(), context.engine, forward_pd(context, s, op.samples, type, nullptr));
  std::vector<std::pair<int, memory::desc>> roles = {
      {DNNL_ARG_SRC, pd.src_desc()},
      {DNNL_ARG_DIFF_DST, pd.diff_dst_desc()},
      {DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc()}};
  if (s.bias) roles.emplace_back(DNNL_ARG_DIFF_BIAS, pd.diff_bias_desc());
  DnnlCall call(context, dnnl::convolution_backward_weights(pd), roles, pd.scratchpad_desc());

  const bool direct = pd.diff_weights_desc() == canonical_weights(s);
  DnnlCall unpack;
  // The packed gradient needs its own buffer, because oneDNN writes and reads padded channels in
  // it.
  std::shared_ptr<Buffer> packed;
  if (!direct) {
    unpack = make_reorder(context, pd.diff_weights_desc(), canonical_weights(s));
    packed = std::make_shared<Buffer>(allocate_host(pd.diff_weights_desc().get_size()));
  }
  KernelPtr kernel = make_kernel<ConvWgrad>(
      [call, unpack, packed, direct, bias = s.bias](const auto& a, const StepState&) mutable {
        void* place = direct ? static_cast<void*>(a.dweight) : packed->data();
        if (bias)
          call.run({a.x, a.dy, place, a.dbias});
        else
          call.run({a.x, a.dy, place});
        if (!direct) unpack.run({place, a.dweight});
      });
  if (!context.emulates(op.storage)) return kernel;
  return emulate_bf16<ConvWgrad>(context, std::move(kernel),
                                 {input_values(s, op.samples), output_values(s, op.samples)});
}

}  // namespace syncnorm::cpu
