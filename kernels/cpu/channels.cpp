// Values joined along the channels, and their products, on the CPU.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/norm_lines.h"

namespace syncnorm::cpu {
namespace {

/// Copies `count` values per row, whose rows are `from_step` and `to_step` values apart.
template <class S>
void copy_rows(const S* from, std::size_t from_step, S* to, std::size_t to_step, std::size_t rows,
               int count) {
  for (std::size_t r = 0; r < rows; ++r, from += from_step, to += to_step)
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(S));
}

template <class S>
KernelPtr make_concat(const Concat& op) {
  const int total = std::accumulate(op.channels.begin(), op.channels.end(), 0);
  return make_kernel<Concat, S>([op, total](const auto& a, const StepState&) {
    const S* const values[Concat::kMost] = {a.first, a.second, a.third,   a.fourth,
                                            a.fifth, a.sixth,  a.seventh, a.eighth};
    S* y = a.y;
    for (std::size_t i = 0; i < op.channels.size(); ++i) {
      const int count = op.channels[i];
      copy_rows(values[i], static_cast<std::size_t>(count), y, static_cast<std::size_t>(total),
                rows_of(op), count);
      y += count;
    }
  });
}

template <class S>
KernelPtr make_slice(const SliceChannels& op) {
  return make_kernel<SliceChannels, S>([op](const auto& a, const StepState&) {
    copy_rows(a.x + op.first, static_cast<std::size_t>(op.channels), a.y,
              static_cast<std::size_t>(op.count), rows_of(op), op.count);
  });
}

/// Calls body(sample, offset of its values).
template <class ProductOp, class Body>
void for_each_sample(const ProductOp& op, const Body& body) {
  const std::size_t size =
      static_cast<std::size_t>(op.pixels) * static_cast<std::size_t>(op.channels);
  for (std::size_t n = 0; n < static_cast<std::size_t>(op.samples); ++n) body(n, n * size);
}

/// Multiplies a value by its factor.
template <class S, class ProductOp>
class Product {
 public:
  Product(Context& context, const ProductOp& op)
      : loops_(&context.loops.of<S>()),
        op_(op),
        zeros_(static_cast<std::size_t>(op.channels)),
        scale_(zeros_.size()) {}

  void run(const S* x, const S* factor, S* y) {
    if (op_.factor == Factor::per_pixel)
      return loops_->scale_rows(x, factor, y, rows_of(op_), op_.channels);
    if (op_.factor == Factor::full)
      return loops_->multiply(x, factor, y, rows_of(op_) * zeros_.size());
    for_each_sample(op_, [&](std::size_t n, std::size_t at) {
      for (std::size_t c = 0; c < scale_.size(); ++c)
        scale_[c] = read(factor[n * scale_.size() + c]);
      loops_->normalize({x + at, nullptr, y + at, zeros_.data(), scale_.data(), zeros_.data(),
                         static_cast<std::size_t>(op_.pixels), op_.channels, false, is_large(op_)});
    });
  }

 private:
  const StorageLoops<S>* loops_;
  ProductOp op_;
  std::vector<float> zeros_, scale_;
};

template <class S>
KernelPtr make_multiply_backward(Context& context, const MultiplyBackward& op) {
  const auto& loops = context.loops.of<S>();
  const auto channels = static_cast<std::size_t>(op.channels);
  std::vector<float> zeros(channels);
  std::vector<double> unused(channels), sums(channels);
  return make_kernel<MultiplyBackward, S>([op, &loops, channels, zeros, unused, sums,
                                           product = Product<S, MultiplyBackward>(context, op)](
                                              const auto& a, const StepState&) mutable {
    if (a.da != nullptr) product.run(a.dy, a.b, a.da);
    if (a.db == nullptr) return;
    if (op.factor == Factor::per_pixel)
      return loops.row_products(a.dy, a.a, a.db, rows_of(op), op.channels);
    if (op.factor == Factor::full) return loops.multiply(a.dy, a.a, a.db, rows_of(op) * channels);
    for_each_sample(op, [&](std::size_t n, std::size_t at) {
      loops.gradient_sums({a.dy + at, nullptr, a.a + at, nullptr, nullptr, zeros.data(),
                           zeros.data(), zeros.data(), unused.data(), sums.data(),
                           static_cast<std::size_t>(op.pixels), op.channels, false});
      for (std::size_t c = 0; c < channels; ++c)
        write(a.db[n * channels + c], static_cast<float>(sums[c]));
    });
  });
}

}  // namespace

template <>
KernelPtr compile(Context&, const Concat& op) {
  return with_storage(op.storage, [&]<class S>() { return make_concat<S>(op); });
}

template <>
KernelPtr compile(Context&, const SliceChannels& op) {
  return with_storage(op.storage, [&]<class S>() { return make_slice<S>(op); });
}

template <>
KernelPtr compile(Context& context, const Multiply& op) {
  return with_storage(op.storage, [&]<class S>() {
    return make_kernel<Multiply, S>(
        [product = Product<S, Multiply>(context, op)](const auto& a, const StepState&) mutable {
          product.run(a.a, a.b, a.y);
        });
  });
}

template <>
KernelPtr compile(Context& context, const MultiplyBackward& op) {
  return with_storage(op.storage,
                      [&]<class S>() { return make_multiply_backward<S>(context, op); });
}

}  // namespace syncnorm::cpu
