"""Rows of the compiled test programs: kernels on the device, the communicator over NCCL, compute-sanitizer."""
import re
import shutil

from parts.process import Failed
from parts.table import Row, Skipped

KERNELS = {"norms": "*Norm*:*Deviation*:*Renormalization*:*BFloat16*",
           "convolutions and linear layers": "*Conv*:*Linear*"}
# In a rehearsal the suites run on the emulated kernels, and only what is quick there.
REHEARSED = {"norms": "*NormGolden*", "convolutions and linear layers": "*Conv*", "all others": "*Update*:*Pool*"}
MEMCHECK = {"norms": "*NormShapes*:*NormGolden*:*PointwiseNorm*", "all others": "*TreeFold*:*Update*:*Pool*:*Loss*"}
RACECHECK = "*NormGolden*:*PointwiseNorm*:*Loss*:*Update*"  # kernels in which threads share memory


def on(back_end, tests):
    """The filter of a list of tests, on one back end."""
    return ":".join(f"{test}/{back_end}" for test in tests.split(":"))


def suite(machine, command, limit, **options):
    """Counts the tests that a test program passed; Failed when a test fails, or when none runs."""
    options["env"] = {"GTEST_COLOR": "no", **options.get("env", {})}  # mpirun's terminals make it write in color
    result = machine.run(command, limit, check=False, **options)

    def named(outcome):
        return sorted(set(re.findall(rf"\[ +{outcome} +\] (\w\S*[./][^\s,]+)", result.out)))
    passed, skipped = len(named("OK")), len(named("SKIPPED"))
    if result.code:
        raise Failed(f"exit {result.code}; {', '.join(named('FAILED')) or 'no test is named'}; {result.says()}")
    if passed == 0:
        raise Failed("no test ran")
    return f"{passed} tests" + (f", {skipped} skipped" if skipped else "")


def kernel_rows(machine):
    def row(name, chosen):
        command = ["syncnorm_test_kernels", f"--gtest_filter={chosen}"]
        env = {} if machine.rehearse else {"SYNCNORM_TEST_GPU": "1"}
        return Row("kernels", f"kernels: {name}", 120, lambda limit: suite(machine, command, limit, env=env))
    if machine.rehearse:
        return [row(name, on("cuda_emulated", tests)) for name, tests in REHEARSED.items()]
    named = [row(name, on("cuda", tests)) for name, tests in KERNELS.items()]
    return [*named, row("all others", "*/cuda-" + ":".join(KERNELS.values()))]


def communicator_rows(machine):
    """Without the tests that make a communicator for each of a thousand placements: NCCL takes seconds for one."""
    kind = "queued" if machine.rehearse else "nccl"
    tests = "MpiReductionTest*AReductionRunsManyTimes" if machine.rehearse else "Mpi*:-*AnyPlacement*"
    command = ["syncnorm_test_mpi", f"--gtest_filter={tests}"]
    env = {"SYNCNORM_TEST_COMMUNICATOR": kind}

    def row(ranks):
        return Row("communicator", f"communicator tests ({kind}), {ranks} ranks", 90,
                   lambda limit: suite(machine, command, limit, env=env, ranks=ranks))
    return [row(ranks) for ranks in ((2,) if machine.rehearse else (2, 3, 4))]


def sanitizer_rows(machine):
    def check(tool, tests, limit):
        found = shutil.which("compute-sanitizer", path=machine.environment.get("PATH", "") + ":/usr/local/cuda/bin")
        if machine.rehearse or not found:
            raise Skipped("needs a GPU and compute-sanitizer")
        return suite(machine, ["syncnorm_test_kernels", f"--gtest_filter={on('cuda', tests)}"], limit,
                     env={"SYNCNORM_TEST_GPU": "1"}, under=[found, "--tool", tool, "--error-exitcode", "1"])

    def row(tool, name, tests):
        return Row("sanitizer", f"compute-sanitizer {tool}: {name}", 60, lambda limit: check(tool, tests, limit))
    return [*(row("memcheck", name, tests) for name, tests in MEMCHECK.items()),
            row("racecheck", "norms, loss, updates", RACECHECK)]
