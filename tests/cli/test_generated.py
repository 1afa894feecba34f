"""Files that are made from others are those that tests/regenerate makes."""
import importlib.util
import os
import subprocess
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]


class Generated(harness.TestCase):
    def check(self, what, pattern):
        """The files of the tree that match, against new ones."""
        subprocess.run([ROOT / "tests/regenerate", "--into", self.folder, what], check=True, stdin=subprocess.DEVNULL,
                       env={**os.environ, "SYNCNORM": os.path.abspath(harness.PROGRAM)})
        made, kept = ({str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob(pattern))}
                      for root in (self.folder, ROOT))
        kept = {name: content for name, content in kept.items() if not Path(name).name.startswith("found-")}
        self.assertGreater(len(made), 0)
        self.assertEqual(sorted(made), sorted(kept), f"stale: run tests/regenerate {what}")
        stale = [name for name in made if made[name] != kept[name]]
        self.assertEqual(stale, [], f"stale: run tests/regenerate {what}")

    def test_config(self):
        self.check("config", "docs/config.md")

    def test_dashboards(self):
        self.check("dashboards", "monitoring/grafana/dashboards/*.json")

    def test_seeds(self):
        self.check("seeds", "tests/fuzz/corpus/*/*")

    def test_goldens(self):
        if importlib.util.find_spec("torch") is None:
            self.skipTest("the goldens are made by python3-torch, which is not installed")
        self.check("goldens", "tests/golden/*.golden")

    def test_an_unknown_part_is_refused(self):
        result = subprocess.run([ROOT / "tests/regenerate", "everything"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("usage: tests/regenerate", result.stderr)


if __name__ == "__main__":
    harness.main()
