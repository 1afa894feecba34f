"""Mistakes that must not compile: an operation is described once, and a norm answers every question."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("c++")
EMIT = """#include "kernels/ops.h"
using namespace syncnorm;
const TensorsOf<BatchNormalize> operands = {.x = 1, .mean = 2, .inv_std = 3, .gamma = kAbsent,
  .beta = kAbsent, .residual = kAbsent, .correction = kAbsent, .y = 4};
"""
OP = """#include "kernels/ops.h"
using namespace syncnorm;
struct Half {
  int samples = 1;
  double factor = 0.5;
  bool square = false;
  template <class Visit>
  static constexpr void fields(const Visit& field) {
    field("{}", &Half::factor);
    field(" square", &Half::square);
  }
};
static_assert(lists_all_fields<Half>());
"""
KIND = """#include "engine/config/norm_traits.h"
using namespace syncnorm;
constexpr NormTraits traits = {.layer = true, .statistics = StatisticsOver::sample,
  .subtracts_mean = true, .has_beta = true, .absorbs_activation = true, .groups = ChannelGroups::one,
  .trains_affine = true, .one_value = true, .scalars = LayerScalars::none,
  .activation = InnerActivation::none};
"""


@harness.unittest.skipIf(COMPILER is None, "there is no C++ compiler")
class DoesNotCompile(harness.TestCase):
    def errors(self, source):
        path = self.folder / "source.cpp"
        path.write_text(source)
        result = subprocess.run([COMPILER, "-std=c++20", "-Werror=switch", "-fsyntax-only", f"-I{ROOT}", str(path)],
                                capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        return "" if result.returncode == 0 else result.stderr

    def changed(self, source, before, after):
        self.assertEqual(self.errors(source), "")
        self.assertIn(before, source)
        return self.errors(source.replace(before, after))

    def test_an_operand_that_is_left_out_or_misnamed(self):
        self.assertIn("RequiredTensor", self.changed(EMIT, ".inv_std = 3, ", ""))
        self.assertIn("OptionalTensor", self.changed(EMIT, ".residual = kAbsent, ", ""))
        self.assertIn("inverse_deviation", self.changed(EMIT, ".inv_std", ".inverse_deviation"))

    def test_a_field_that_is_in_no_text(self):
        self.assertIn("static assertion failed", self.changed(OP, '    field(" square", &Half::square);\n', ""))
        self.assertIn("static assertion failed", self.changed(OP, '" square", &Half::square', '"{}", &Half::factor'))

    def test_a_norm_that_leaves_a_question_open(self):
        self.assertIn("Answer", self.changed(KIND, ".one_value = true, ", ""))
        header = (ROOT / "engine/config/norm_traits.h").read_text()
        self.assertEqual(self.errors(header.replace("#pragma once", "")), "")
        more = re.sub(r"(enum class NormKind \{[^}]*?),?\s*\}", r"\1, another }",
                      header.replace("#pragma once", ""))
        self.assertIn("another", self.errors(more))

    def test_the_cuda_module_has_a_kernel_for_every_operation(self):
        """It is linked against the program, so the linker does not complain of what is missing."""
        module = Path(harness.PROGRAM).resolve().with_name("syncnorm_cuda.so")
        if not module.exists() or shutil.which("nm") is None:
            self.skipTest("no CUDA module in this build, or no nm")
        names = subprocess.run(["nm", "-C", str(module)], capture_output=True, text=True, check=True).stdout
        compiled = [line for line in names.splitlines() if "syncnorm::cuda::compile<" in line]
        self.assertGreater(len(compiled), 30)
        self.assertEqual([line for line in compiled if " U " in line], [])


if __name__ == "__main__":
    harness.main()
