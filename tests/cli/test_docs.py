"""What the pages of docs/ say can be run: their YAML is accepted, and the tests they name exist."""
import re
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "normalization.md").read_text()


def tests_of_the_tree():
    """Names of all tests: Suite.Test in C++, file.test in tests/cli."""
    names = set()
    for path in (ROOT / "tests").rglob("*_test.cpp"):
        names.update(f"{suite}.{test}" for suite, test in re.findall(
            r"^(?:TYPED_)?TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", path.read_text(), re.MULTILINE))
    for path in (ROOT / "tests" / "cli").glob("test_*.py"):
        names.update(f"{path.stem}.{test}" for test in re.findall(r"def (test_\w+)",
                                                                  path.read_text()))
    return names


class Normalization(harness.TestCase):
    def test_the_tests_that_the_page_names_exist(self):
        named = set(re.findall(r"`(\w+\.(?:test_|[A-Z])\w+)`", PAGE))
        self.assertGreater(len(named), 30)
        self.assertEqual(sorted(named - tests_of_the_tree()), [])

    def test_the_yaml_of_the_page_is_accepted(self):
        blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
        self.assertGreater(len(blocks), 15)
        for number, block in enumerate(blocks):
            with self.subTest(block=block):
                path = self.folder / f"{number}.yaml"
                path.write_text("data: {dataset: synthetic}\nsteps: 1\n" + block)
                result = harness.run("train", path, "--print-config")
                self.assertEqual(result.code, 0, result.err)


class Floors(harness.TestCase):
    FLOORS = [["base"], ["kernels", "comm"], ["engine/config", "engine/fault"], ["engine/data", "engine/model"],
              ["engine/program"], ["engine/state", "engine/probe", "engine/scale"], ["engine/train"], ["engine/study"], ["monitoring"], ["launch"]]

    def test_arrows_go_down_only(self):
        """A file includes headers of its own room and of lower floors."""
        floor = {room: height for height, rooms in enumerate(self.FLOORS) for room in rooms}

        def room_of(path):
            parts = path.split("/")
            return "/".join(parts[:2]) if parts[0] == "engine" else parts[0]
        seen = set()
        for path in ROOT.glob("[a-z]*/**/*"):
            name = str(path.relative_to(ROOT))
            if path.suffix not in (".h", ".cpp", ".cu", ".cuh") or room_of(name) not in floor:
                continue
            seen.add(room_of(name))
            for included in re.findall(r'#include "([^"]+)"', path.read_text()):
                room = room_of(included)
                self.assertTrue(room == room_of(name) or floor[room] < floor[room_of(name)],
                                f"{name} includes {included}")
        self.assertEqual(seen, set(floor))


class Words(harness.TestCase):
    def test_every_value_of_a_choice_has_a_word(self):
        """The enumerations of the configuration against the lists of their words."""
        words = (ROOT / "engine/config/names.h").read_text()
        sources = "".join((ROOT / name).read_text() for name in
                          ("engine/config/experiment.h", "engine/config/norm_config.h",
                           "engine/config/norm_traits.h", "kernels/ops/batch_norm.h", "kernels/ops/resample.h"))
        checked = 0
        for name, body in re.findall(r"constexpr Choice<(\w+)> \w+\[\] = (\{.*?\});", words, re.DOTALL):
            values = re.search(r"enum class " + name + r" \{(.*?)\}", sources, re.DOTALL)
            self.assertIsNotNone(values, name)
            self.assertEqual(sorted(re.findall(r"\w+", values.group(1))),
                             sorted(re.findall(name + r"::(\w+)", body)), name)
            checked += 1
        self.assertGreater(checked, 14)


if __name__ == "__main__":
    harness.main()
