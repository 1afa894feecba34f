// The entry points of libFuzzer; SYNCNORM_FUZZ_TARGET names the target.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "tests/fuzz/targets.h"

namespace {

const syncnorm::fuzz::NamedTarget& chosen() {
  const char* name = std::getenv("SYNCNORM_FUZZ_TARGET");
  try {
    return syncnorm::fuzz::find_target(name == nullptr ? "" : name);
  } catch (const syncnorm::Error& error) {
    std::fprintf(stderr, "SYNCNORM_FUZZ_TARGET: %s\n", error.what());
    std::exit(2);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const syncnorm::fuzz::Target run = chosen().run;
  run({reinterpret_cast<const char*>(data), size});
  return 0;
}
