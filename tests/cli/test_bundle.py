"""launch/bundle: a folder that runs where nothing is installed, tried in a root folder that holds a
shell, a few tools and the C library."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["sh", "bash", "env", "readlink", "dirname", "nproc", "id", "sleep", "cat", "rm", "date"]


def bundle(*arguments, program=None):
    env = {**os.environ, "SYNCNORM": program or harness.PROGRAM}
    return subprocess.run([ROOT / "launch/bundle", *arguments], capture_output=True, text=True,
                          check=False, env=env)


def bare_root(folder):
    """A root folder with TOOLS and what they are linked with, and nothing else."""
    for name in ("proc", "dev", "tmp", "etc", "usr/bin"):
        (folder / name).mkdir(parents=True)
    for name, target in (("bin", "usr/bin"),):
        (folder / name).symlink_to(target)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    for tool in TOOLS:
        path = Path(shutil.which(tool)).resolve()
        shutil.copy(path, folder / "usr/bin" / tool)
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", linked):
            place = folder / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
    # What the C library of any machine has, and these tools do not need.
    for name in ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
                 "libutil.so.1"):
        for found in Path("/lib/x86_64-linux-gnu").glob(name):
            place = folder / "lib/x86_64-linux-gnu" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, place)


class Bundle(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.made = self.folder / "bundle"
        result = bundle(self.made)
        self.assertEqual(result.returncode, 0, result.stderr)

    def in_bare_root(self, *command, env=None):
        root = self.folder / "root"
        if not root.exists():
            bare_root(root)
            (root / "bundle").mkdir()
        script = ('mount --bind "$0/bundle-made" "$0/root/bundle" && mount --bind /proc "$0/root/proc" && '
                  'mount --rbind /dev "$0/root/dev" && root=$0 && exec chroot "$root/root" "$@"')
        if not (self.folder / "bundle-made").exists():
            self.made.rename(self.folder / "bundle-made")
        return subprocess.run(["unshare", "-m", "sh", "-c", script, self.folder, *command], text=True,
                              capture_output=True, check=False, timeout=120,
                              # Open MPI leaves memory behind.
                              env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "ASAN_OPTIONS": "detect_leaks=0",
                                   **(env or {})})

    def test_it_runs_where_nothing_is_installed(self):
        if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
            self.skipTest("needs root and namespaces")
        harness.write_experiment(self.made / "tiny.yaml", run_dir="/tmp/one")
        for folder, command in (("one", ["/bundle/syncnorm"]), ("two", ["/bundle/run", "2"])):
            result = self.in_bare_root(*command, "train", "/bundle/tiny.yaml",
                                       f"run_dir=/tmp/{folder}")
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        one, two = (harness.Run(self.folder / "root/tmp" / name) for name in ("one", "two"))
        self.assertEqual(two.of("start")[0]["ranks"], 2)
        self.assert_same_bits(one, two)
        # Chosen by the bundle's copy of this machine's settings.
        said = self.in_bare_root("/bundle/run", "2", "train", "/bundle/tiny.yaml", "run_dir=/tmp/three",
                                 env={"OMPI_MCA_pml_base_verbose": "10"})
        self.assertIn("selected ob1", said.stderr)
        bad = self.in_bare_root("/bundle/run", "2", "train", "/bundle/tiny.yaml", "replicas=0")
        self.assertEqual(bad.returncode, 2)
        self.assertIn("replicas", bad.stderr)

    def test_parts_that_do_not_load_elsewhere_are_done_without(self):
        """As on a machine where PMIx's compression cannot be loaded."""
        removed = list(self.made.glob("mpi/lib/pmix/*pcompress*"))
        for path in removed:
            path.unlink()
        env = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=0"}
        file = harness.write_experiment(self.folder / "tiny.yaml", {"steps": 1}, run_dir=self.folder / "two")
        result = subprocess.run([self.made / "run", "2", "train", file], capture_output=True, text=True,
                                check=False, env=env)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_it_holds_no_part_of_the_c_library_and_no_driver(self):
        names = {p.name for p in (self.made / "lib").iterdir()}
        self.assertIn("libdnnl.so.2", names)
        self.assertFalse([n for n in names if re.match(r"(libc|libm|ld-linux.*|libcuda)\.so", n)])

    def test_what_is_refused(self):
        again = bundle(self.made)
        self.assertEqual(again.returncode, 2)
        self.assertIn("is there already; give a folder that is not", again.stderr)
        absent = bundle(self.folder / "other", program="/nowhere/syncnorm")
        self.assertEqual(absent.returncode, 2)
        self.assertIn("/nowhere/syncnorm is not there; run launch/build first", absent.stderr)
        self.assertEqual(bundle().returncode, 2)


if __name__ == "__main__":
    harness.main()
