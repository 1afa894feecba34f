// The CPU device: selects the instruction set, limits oneDNN to one thread, and forwards operations
// to the file of their kind.
#include "kernels/device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include <fmt/format.h>

#include "base/error.h"
#include "kernels/cpu/context.h"

extern "C" void omp_set_num_threads(int) __attribute__((weak));

namespace syncnorm::cpu {

const Loops& select_loops(const std::string& isa) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw");
  const auto choose = [&](const Loops& loops, bool available) -> const Loops& {
    if (!available) throw InputError("this processor lacks the instruction set '" + isa + "'");
    return loops;
  };
  if (isa.empty()) {
    if (const char* held = std::getenv("SYNCNORM_ISA"); held != nullptr && *held != '\0')
      return select_loops(held);
    return avx512 ? loops_avx512 : (avx2 ? loops_avx2 : loops_baseline);
  }
  if (isa == "baseline") return loops_baseline;
  if (isa == "avx2") return choose(loops_avx2, avx2);
  if (isa == "avx512") return choose(loops_avx512, avx512);
  throw InputError("unknown instruction set '" + isa + "'; use baseline, avx2 or avx512");
}

Buffer allocate_host(std::size_t bytes) {
  if (bytes == 0) return {};
  // Large buffers use huge pages where the system offers them: one page fault and one TLB entry per
  // 2 MiB instead of per 4 KiB.
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  constexpr double kMiB = 1 << 20;
  const bool large = bytes >= 2 * kHugePage;
  const std::size_t align = large ? kHugePage : 64;
  const std::size_t rounded = (bytes + align - 1) / align * align;
  void* data = std::aligned_alloc(align, rounded);
  if (data == nullptr)
    throw OutOfMemoryError(
        fmt::format("{:.1f} MiB of memory", static_cast<double>(rounded) / kMiB));
  if (large) madvise(data, rounded, MADV_HUGEPAGE);  // only a hint: refusal is harmless
  std::memset(data, 0, rounded);
  return {static_cast<std::byte*>(data), bytes, [](std::byte* p) { std::free(p); }};
}

Context::Context(const Loops& chosen)
    : loops(chosen), engine(dnnl::engine::kind::cpu, 0), stream(engine) {}

Context::~Context() = default;

void Scratch::need(std::size_t bytes) {
  if (bytes > buffer_.bytes()) buffer_ = allocate_host(bytes);
}

dnnl::memory::data_type Context::onednn_type(Storage storage) const {
  if (storage == Storage::f32 || bf16 == BFloat16Arithmetic::emulated)
    return dnnl::memory::data_type::f32;
  if (bf16 == BFloat16Arithmetic::none)
    throw InputError("this device was not prepared for bf16 (Device::use_storage)");
  return dnnl::memory::data_type::bf16;
}

namespace {

bool has_bf16_instructions() {
  // The instruction set that oneDNN would use: avx512_core_bf16 or one that includes it.
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto bf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & bf16) == bf16;
}

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(const Loops& loops) : context_(loops) {}

  KernelPtr compile(const Op& op) override {
    try {
      return std::visit([this](const auto& o) { return cpu::compile(context_, o); }, op);
    } catch (const dnnl::error& error) {
      if (error.status == dnnl_out_of_memory) throw OutOfMemoryError("memory for oneDNN");
      throw;
    }
  }
  void use_storage(Storage storage, bool emulate) override {
    if (storage == Storage::f32) return;
    if (!emulate && !has_bf16_instructions())
      throw InputError(
          "precision: bf16: this processor has no bf16 instructions (AVX512_BF16 or AMX), so bf16 "
          "would be slower than f32; use precision: f32, or bf16_emulated to try bf16's accuracy");
    context_.bf16 = emulate ? BFloat16Arithmetic::emulated : BFloat16Arithmetic::native;
  }
  Buffer allocate(std::size_t bytes) override { return allocate_host(bytes); }
  std::size_t packed_bytes(const ConvPack& op) override { return cpu::packed_bytes(context_, op); }
  std::size_t workspace_bytes(const PoolForward& op) override {
    return cpu::workspace_bytes(context_, op);
  }
  std::string description() const override {
    const dnnl_version_t* v = dnnl_version();
    return fmt::format("cpu {}, oneDNN {}.{}.{} isa {:#x}{}", context_.loops.name, v->major,
                       v->minor, v->patch, static_cast<unsigned>(dnnl::get_effective_cpu_isa()),
                       context_.bf16 == BFloat16Arithmetic::emulated ? ", bf16 emulated" : "");
  }

 private:
  Context context_;
};

}  // namespace
}  // namespace syncnorm::cpu

namespace syncnorm {

std::unique_ptr<Device> make_cpu_device(const std::string& isa) {
  // oneDNN's thread count changes the order of wgrad's sums. A rank uses one core.
  if (omp_set_num_threads != nullptr) omp_set_num_threads(1);
  return std::make_unique<cpu::CpuDevice>(cpu::select_loops(isa));
}

}  // namespace syncnorm
