// See conv_merge.h.
#include "kernels/cuda/conv_merge.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "base/error.h"
#include "kernels/bfloat16.h"
#include "kernels/cuda/conv_plan.h"
#include "kernels/cuda/launch.h"

namespace syncnorm::cuda {
namespace {

/// Bytes of the tensors of one replica.
struct Sizes {
  std::size_t x, w, y;
};

Sizes sizes_of(const ConvShape& s, int samples, Storage storage) {
  const std::size_t images = static_cast<std::size_t>(samples) * storage_bytes(storage);
  const auto map = [&](int height, int width, int channels) {
    return images * static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
           static_cast<std::size_t>(channels);
  };
  return {map(s.height, s.width, s.channels), s.weights() * storage_bytes(storage),
          map(s.out_height(), s.out_width(), s.filters)};
}

/// Random numbers that repeat after a prime number of values, so that no two images are alike.
std::vector<std::byte> random_values(std::size_t bytes, Storage storage) {
  constexpr std::size_t kPeriod = 99991;
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  const std::size_t size = storage_bytes(storage);
  std::vector<std::byte> values(bytes);
  for (std::size_t i = 0; i < std::min(bytes, kPeriod * size); i += size) {
    const float value = uniform(random);
    const BFloat16 narrow = to_bfloat16(value);
    std::memcpy(values.data() + i,
                storage == Storage::f32 ? static_cast<const void*>(&value) : &narrow, size);
  }
  for (std::size_t i = kPeriod * size; i < bytes; ++i) values[i] = values[i - kPeriod * size];
  return values;
}

Buffer random_buffer(Context& context, std::size_t bytes, Storage storage) {
  Buffer buffer = allocate_device(bytes, context.stream);
  const std::vector<std::byte> values = random_values(bytes, storage);
  check(cudaMemcpyAsync(buffer.data(), values.data(), bytes, cudaMemcpyDefault, context.stream),
        "could not copy");
  check(cudaStreamSynchronize(context.stream), "could not copy");
  return buffer;
}

std::vector<std::byte> bytes_of(Context& context, const Buffer& buffer) {
  std::vector<std::byte> bytes(buffer.bytes());
  check(
      cudaMemcpyAsync(bytes.data(), buffer.data(), bytes.size(), cudaMemcpyDefault, context.stream),
      "could not copy");
  check(cudaStreamSynchronize(context.stream), "could not try a convolution");
  return bytes;
}

/// Runs `one` for each replica and `all` once, forward or for the input gradient.
bool same_bits(Context& context, ConvPlan& one, ConvPlan& all, const Sizes& size, bool forward,
               int replicas, Storage storage) {
  const auto count = static_cast<std::size_t>(replicas);
  const Buffer weights = random_buffer(context, size.w, storage);
  const Buffer from = random_buffer(context, count * (forward ? size.x : size.y), storage);
  const Buffer apart = allocate_device(count * (forward ? size.y : size.x), context.stream);
  const Buffer together = allocate_device(apart.bytes(), context.stream);
  const Buffer workspace =
      allocate_device(std::max(one.workspace_bytes(), all.workspace_bytes()), context.stream);
  const auto pointers = [&](const Buffer& result, std::size_t replica) -> ConvPointers {
    const Buffer &x = forward ? from : result, &y = forward ? result : from;
    return {x.data() + replica * size.x, weights.data(), y.data() + replica * size.y};
  };
  for (std::size_t r = 0; r < count; ++r) one.run(pointers(apart, r), workspace.data());
  all.run(pointers(together, 0), workspace.data());
  return bytes_of(context, apart) == bytes_of(context, together);
}

template <class O>
bool merges(Context& context, const O& op, ConvPass pass, int replicas) {
  CudaLibraries& libraries = libraries_of(context);
  const std::string key = op_text(with_samples(op, op.samples * replicas));
  if (libraries.merged.contains(key)) return true;
  ConvPlan one(libraries, pass, op.shape, op.samples, op.storage, op.storage);
  std::optional<ConvPlan> all = one.for_samples(op.samples * replicas);
  if (!all.has_value()) return false;
  try {
    if (!same_bits(context, one, *all, sizes_of(op.shape, op.samples, op.storage),
                   pass == ConvPass::forward, replicas, op.storage))
      return false;
  } catch (const InputError&) {  // there is no memory to try it
    return false;
  }
  libraries.merged.emplace(key, std::make_shared<ConvPlan>(*std::move(all)));
  return true;
}

}  // namespace

bool merges_convolution(Context& context, const Op& op, int replicas) {
  if (const auto* forward = std::get_if<ConvForward>(&op))
    return merges(context, *forward, ConvPass::forward, replicas);
  if (const auto* dgrad = std::get_if<ConvDgrad>(&op))
    return merges(context, *dgrad, ConvPass::dgrad, replicas);
  return false;
}

}  // namespace syncnorm::cuda
