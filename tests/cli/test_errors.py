"""Mistakes in a configuration, in the data or in how the program is started.

Each is answered with exit code 2 and one message that says what is wrong and what would be right, in
a moment, and nothing is created. The messages are compared as a whole. (The table of everything that
the configuration refuses is in tests/engine/config; here a part of it goes through the program.)
"""
import gzip
import pathlib
import shutil
import struct
import textwrap
import unittest

import harness

SYNTHETIC = ("data: {dataset: synthetic, synthetic: {classes: 4, height: 8, width: 8, "
             "train_samples: 64, test_samples: 20}}\nsteps: 2\n")
SMALL = SYNTHETIC + "model: {architecture: resnet8}\n"
KEYS = ("name, seed, device, allow_shared_gpu, precision, reduction, replicas, global_batch, "
        "batch_per_replica, "
        "epochs, steps, drop_last, run_dir, data, evaluation, model, norm, optimizer, ema, schedule, "
        "loss, checkpoint, ")

# The text of in/bad.yaml, and the message without "syncnorm: " and with @ for the file's name.
BAD_CONFIGS = [
    ("", "@:1:1: the file is empty; give at least `name: ...`"),
    ("- a\n", "@:1:1: expected a map of keys, got a list; write `key: value` lines"),
    ("lr:0.1\n",
     "@:1:1: expected a map of keys, got 'lr:0.1'; put a space after the colon: `lr: 0.1`"),
    ("seed: 1\n---\nseed: 2\n", "@:2:1: a second document begins; keep only one"),
    ("seed: 1\nseed: 2\n", "@:2:1: seed: duplicate key, first at @:1:1; remove one"),
    ("optimzer: {lr: 0.1}\nseed: x\noptimizer: {lr: -1, momentun: 0.9}\n",
     "@:1:1: optimzer: unknown key; did you mean `optimizer`?\n"
     "@:2:7: seed: 'x' is not an integer; give an integer from 0 to 18446744073709551615\n"
     "@:3:17: optimizer.lr: '-1' is out of range; give a number ≥ 0\n"
     "@:3:21: optimizer.momentun: unknown key; did you mean `optimizer.momentum`?"),
    ("optimizer: {lr: .nan}\n", "@:1:17: optimizer.lr: '.nan' is not finite; give a number ≥ 0"),
    ("epochs: 1e3\n", "@:1:9: epochs: '1e3' is not a plain integer; write 1000"),
    ("epochs: 010\n", "@:1:9: epochs: '010' is not a plain integer; write 10"),
    ("batch_per_replica: 0\n",
     "@:1:20: batch_per_replica: '0' is out of range; give an integer from 1 to 1048576"),
    ("name: \udcff\n", "@:1:7: byte 0xff at offset 6 is not UTF-8; save the file as UTF-8"),
    ("epochs: 1\nsteps: 2\n",
     "@:2:8: steps: epochs is given as well (at @:1:9); give one of them"),
    ("replicas: 4\nglobal_batch: 8\n",
     "@:2:15: global_batch: replicas is given as well (at @:1:11); give one of them"),
    ("global_batch: 9\n",
     "@:1:15: global_batch: 9 is not a multiple of batch_per_replica, 2; give one that is"),
    ("norm: {synced_replicas: 3}\n",
     "@:1:25: norm.synced_replicas: 3 does not divide the 8 replicas; give all, 1, 2, 4 or 8"),
    ("_base_: bad.yaml\n",
     "@:1:9: _base_: the bases form a circle: @ -> @; remove one of them"),
    ("_base_: missing.yaml\n",
     "@:1:9: _base_: in/missing.yaml: no such file; check the path"),
    ("_base_: ../x.yaml\n",
     "@:1:9: _base_: '../x.yaml' is outside the folder of the first file; move it there"),
    ("device: tpu\n",
     "@:1:9: device: 'tpu' is not a choice; did you mean cpu? The choices are cpu, cuda"),
    ("compare: {seed: [1, 2]}\n", "@:1:1: compare: this file is a study; use `syncnorm compare`"),
    ("run_dir: ~\n", "@:1:1: run_dir: has no value; give it one, or remove it"),
]

BAD_MODELS = [
    (SMALL + "norm: {kind: group, groups: 3}\n",
     "@:4:29: norm.groups: 3 does not divide the 16 channels of layer 'bn1'; use one of 1, 2, 4, "
     "8, 16"),
    (SYNTHETIC + "model: {architecture: lenet}\n",
     "@:3:23: model: layer 'conv2': a kernel of 5 does not fit a map of 4 with padding 0; use a "
     "smaller kernel, more padding, larger images or fewer strides and pools before it"),
    (SYNTHETIC + "model:\n  layers:\n    - {type: conv, out: 4, kernel: 3}\n"
     "    - {type: linear, out: 4}\n",
     "@:6:7: model.layers: layer 'linear2': linear reads a vector, but its input is 6x6x4; put "
     "'flatten' or 'global_pool' before it"),
    (SYNTHETIC + "model: {layers: [flatten, {type: linear, out: 3}]}\n",
     "@:3:17: model: layer 'linear2': the last layer gives 1x1x3, but the data has 4 classes; end "
     "with a linear layer of 4 outputs"),
    (SYNTHETIC + "model: {architecture: mlp}\nnorm: bn\nbatch_per_replica: 1\n",
     "@:4:7: norm: layer 'bn1': batch normalization over 1 replica sees one value per channel in a "
     "batch of 8 samples (one sample of a 1x1 map), which has no variance; raise batch_per_replica "
     "or norm.synced_replicas, set drop_last: true if it is the last batch, or use norm: gn, ln or "
     "none"),
    ("data: {dataset: synthetic, synthetic: {train_samples: 10}}\n",
     "data: synthetic: training samples: expected at least 16 (one global batch), found 10 (of 10, "
     "with limit 0 and validation 0)"),
]

BAD_OVERRIDES = [
    (["optimizer.lr"], "'optimizer.lr' has no '='; write key.path=value"),
    (["seed:1"], "'seed:1' has no '='; write = instead of the colon: key.path=value"),
    (["=3"], "'=3' has no key before '='; write key.path=value"),
    (["seed="], "seed: has no value; write seed=value"),
    (["seed=1", "seed=2"], "seed: given twice; give it once"),
    (["optimizer.lr=fast"], "optimizer.lr: 'fast' is not a number; give a number ≥ 0"),
    (["optimizer=3"],
     "optimizer: expected a map of keys, got '3'; write `optimizer: {kind: ...}`"),
    (["norm.synced_replicas=5"],
     "norm.synced_replicas: 5 does not divide the 8 replicas; give all, 1, 2, 4 or 8"),
]


def idx(dimensions, values, magic=None):
    header = struct.pack(">BBBB", 0, 0, 8, len(dimensions)) if magic is None else magic
    return header + struct.pack(f">{len(dimensions)}I", *dimensions) + bytes(values)


IMAGES, LABELS = idx([20, 8, 8], [7] * 1280), idx([20], [3] * 20)

# The file that is changed, its content, and the message after "in/data/", % for the file's name.
BAD_DATA = [
    ("train-images-idx3-ubyte", b"", "%: header: expected 16 bytes, found 0"),
    ("train-images-idx3-ubyte", idx([20, 8, 8], [7] * 1280, b"\1\2\x08\3"),
     "%: magic: expected bytes 00 00, found 01 02"),
    ("train-images-idx3-ubyte", idx([20, 8, 8], [7] * 1280, b"\0\0\x0d\3"),
     "%: type code: expected 0x08 (unsigned byte), found 0x0d"),
    ("train-images-idx3-ubyte", LABELS, "%: number of dimensions: expected 3, found 1"),
    ("train-images-idx3-ubyte", IMAGES[:-1], "%: data: expected 1280 bytes (20×8×8), found 1279"),
    ("train-images-idx3-ubyte", IMAGES + b"\0", "%: trailing bytes: expected 0, found 1"),
    ("train-images-idx3-ubyte", idx([0, 8, 8], []),
     "%: size of dimension 0: expected at least 1, found 0"),
    ("train-labels-idx1-ubyte", idx([19], [3] * 19),
     "%: number of labels: expected 20 (the images of in/data/train-images-idx3-ubyte), found 19"),
    ("train-labels-idx1-ubyte", idx([20], [3] * 19 + [10]),
     "%: label of sample 19: expected 0 to 9, found 10"),
    ("t10k-images-idx3-ubyte", idx([20, 7, 8], [7] * 1120),
     "%: image size: expected 8×8 (as in in/data/train-images-idx3-ubyte), found 7×8"),
    ("t10k-labels-idx1-ubyte", None,
     "%: expected it or the same with .gz in the folder, found neither; it has only "
     "t10k-images-idx3-ubyte, train-images-idx3-ubyte and train-labels-idx1-ubyte"),
    ("t10k-labels-idx1-ubyte", gzip.compress(LABELS)[:-9],
     "%: gzip stream: expected its end, found the file's end after"),
]


class Errors(harness.TestCase):
    def setUp(self):
        super().setUp()
        (self.folder / "in").mkdir()

    def write(self, text, name="bad.yaml"):
        (self.folder / "in" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        return f"in/{name}"

    def refused(self, message, *arguments, code=2, ranks=0, program=None, starts_with=False):
        """Runs the program, which must end at once with `message` and leave no trace."""
        before = sorted(self.folder.rglob("*"))
        result = harness.run(*arguments, cwd=self.folder, ranks=ranks, program=program, timeout=30)
        said = result.err if ranks == 0 else result.err.split("\n------", 1)[0] + "\n"
        said = said.lstrip("-\n") if ranks else said
        with self.subTest(arguments=arguments, message=message):
            if starts_with:
                self.assertTrue(said.startswith(f"syncnorm: {message}"), said)
                self.assertEqual(said.count("\n"), 1)
            else:
                self.assertEqual(said, f"syncnorm: {message}\n")
            self.assertEqual(result.code, code)
            self.assertEqual(result.out, "")
            self.assertEqual(sorted(self.folder.rglob("*")), before)
            self.assertLess(result.seconds, 10)

    def test_bad_configs(self):
        for text, message in BAD_CONFIGS + BAD_MODELS:
            self.refused(message.replace("@", "in/bad.yaml"), "train", self.write(text))

    def test_every_command_refuses_a_bad_config(self):
        path = self.write("sed: 1\n")
        message = "in/bad.yaml:1:1: sed: unknown key; did you mean `seed`?"
        for command in (["train", "--dry-run"], ["train", "--print-config"], ["plan"],
                        ["eval", "--weights", "none"]):
            self.refused(message, *command, path)
        self.refused(message, "train", path, ranks=3)

    def test_cuda_where_it_cannot_be_used(self):
        """Without the back end, without a GPU, and without the back end's module."""
        path = self.write("device: cuda\n" + SMALL, "cuda.yaml")
        module = pathlib.Path(harness.PROGRAM).parent / "syncnorm_cuda.so"
        if not module.exists():
            self.refused("device: cuda: this build has no CUDA back end; use device: cpu, or build "
                         "with nvcc, cuDNN and cuBLASLt (-DSYNCNORM_CUDA=ON says what is missing)",
                         "train", path)
            return
        self.refused("device: cuda: ", "train", path, starts_with=True)
        alone = self.folder / "in" / "syncnorm"
        shutil.copy(harness.PROGRAM, alone)
        self.refused("device: cuda: the module syncnorm_cuda.so cannot be loaded: it belongs beside "
                     "the program, and needs CUDA's cuDNN and cuBLASLt libraries",
                     "train", path, program=alone)

    def test_bad_overrides(self):
        path = self.write(SMALL, "good.yaml")
        for arguments, message in BAD_OVERRIDES:
            self.refused(f"command line: {message}", "train", path, *arguments)
        result = harness.run("train", path, "zebra=1", cwd=self.folder)
        self.assertTrue(result.err.startswith(
            f"syncnorm: command line: zebra: unknown key; the keys here are {KEYS}"), result.err)
        self.assertEqual(result.code, 2)

    def test_bad_data(self):
        path = self.write("data: {dataset: mnist, path: in/data}\nmodel: {architecture: resnet8}\n"
                          "steps: 1\n", "idx.yaml")
        data = self.folder / "in" / "data"
        data.mkdir()
        for changed, content, message in [(None, None, None), *BAD_DATA]:
            for split in ("train", "t10k"):
                (data / f"{split}-images-idx3-ubyte").write_bytes(IMAGES)
                (data / f"{split}-labels-idx1-ubyte").write_bytes(LABELS)
            if changed is None:  # as they are they can be trained on
                self.assertEqual(harness.run("train", path, "--dry-run", cwd=self.folder).code, 0)
                continue
            (data / changed).unlink()
            if content is not None:
                (data / changed).write_bytes(content)
            self.refused(message.replace("%", f"in/data/{changed}"), "train", path,
                         starts_with="gzip" in message)

    def test_missing_data(self):
        self.refused(
            "data.path: cifar10 not found: no data_batch_1.bin in nowhere, "
            "nowhere/cifar-10-batches-bin; download and unpack cifar-10-binary.tar.gz and set "
            "data.path to its folder",
            "train", self.write("data: {dataset: cifar10, path: nowhere}\n"))

    def test_missing_file(self):
        self.refused("none.yaml: no such file; check the path", "train", "none.yaml")

    @unittest.skipIf(harness.bf16() == "bf16", "this processor computes on bf16")
    def test_bf16_without_instructions(self):
        for command in (["train"], ["train", "--dry-run"], ["plan"]):
            self.refused(
                "precision: bf16: this processor has no bf16 instructions (AVX512_BF16 or AMX), so "
                "bf16 would be slower than f32; use precision: f32, or bf16_emulated to try bf16's "
                "accuracy", *command, self.write(SMALL + "precision: bf16\n", "good.yaml"))

    def test_usage(self):
        for arguments in ([], ["trein"], ["train"], ["train", "--no-such-option", "a.yaml"],
                          ["eval", "a.yaml"]):
            result = harness.run(*arguments, cwd=self.folder)
            self.assertEqual(result.code, 2, arguments)
            self.assertIn("--help", result.err)

    def test_an_empty_value_is_not_one_left_out(self):
        """A script's variable that is not set: `--init-from "$WEIGHTS"`."""
        good = self.write(SMALL, "good.yaml")
        for arguments, name in [(["train", good, "--init-from", ""], "--init-from"), (["train", good, "--resume="], None),
                                (["train", good, "--print", ""], "--print"), (["train", ""], "file"),
                                (["train", good, ""], "overrides"), (["compare", good, "--only", ""], "--only"),
                                (["eval", good, "--weights", ""], "--weights"), (["trace", ""], "file"),
                                (["report", ""], "file"), (["inspect", ""], "file"), (["pack", "a", ""], "to")]:
            with self.subTest(arguments=arguments):
                result = harness.run(*arguments, cwd=self.folder)
                self.assertEqual((result.code, result.out), (2, ""))
                if name is not None:
                    self.assertIn(f"{name}: the value is empty; give one, or leave the option out", result.err)
        self.assertFalse((self.folder / "runs").exists())

    def test_usage_errors_move_no_cursor(self):
        result = harness.run("train", "a.yaml", "--\x1b[2J\x9b31m")
        self.assertEqual(result.code, 2)
        self.assertNotIn("\x1b", result.err)
        self.assertNotIn("\x9b", result.err)

    def test_more_ranks_than_replicas(self):
        self.refused("in/good.yaml:4:11: replicas: 2 replicas cannot be spread over 3 ranks; start "
                     "at most 2 ranks, or raise replicas",
                     "train", self.write(SMALL + "replicas: 2\n", "good.yaml"), ranks=3)

    def test_ranks_that_disagree(self):
        """A wrapper gives rank 2 a file of its own."""
        self.write(SMALL + "optimizer: {lr: 0.5}\n", "0.yaml")
        other = self.folder / "in" / "other"
        wrapper = self.folder / "in" / "wrapper"
        wrapper.write_text(textwrap.dedent(f"""\
            #!/bin/sh
            if [ "$OMPI_COMM_WORLD_RANK" = 2 ]; then file=in/other; else file=in/0.yaml; fi
            exec {harness.PROGRAM} train $file
            """))
        wrapper.chmod(0o755)
        hint = "; start all ranks with the same program, files and options"
        for text, message in [
                (SMALL + "optimizer: {lr: 0.25}\n",
                 "ranks disagree on the configuration: 'optimizer.lr: 0.5' on rank 0, "
                 "'optimizer.lr: 0.25' on rank 2" + hint),
                (SMALL + "optimizer: {lr: 0.5}\nnorm: gn\n",
                 "ranks disagree on the configuration: 'norm.kind: batch' on rank 0, "
                 "'norm.kind: group' on rank 2" + hint),
                (SMALL + "sed: 1\n",
                 "rank 2: in/other:4:1: sed: unknown key; did you mean `seed`?")]:
            other.write_text(text)
            self.refused(message, ranks=3, program=wrapper)

    def test_run_folder_in_use(self):
        path = self.write(SMALL + "run_dir: in/run\n", "good.yaml")
        self.assertEqual(harness.run("train", path, cwd=self.folder).code, 0)
        before = {p: p.read_bytes() for p in (self.folder / "in/run").rglob("*") if p.is_file()}
        self.refused("in/run: the run folder is in use; go on with --resume auto, or choose another "
                     "run_dir", "train", path)
        self.refused("in/run: the run folder is in use; go on with --resume auto, or choose another "
                     "run_dir", "train", path, ranks=2)
        after = {p: p.read_bytes() for p in (self.folder / "in/run").rglob("*") if p.is_file()}
        self.assertEqual(before, after)
        self.assertGreater(len(before), 5)

    def test_run_folder_that_cannot_be_made(self):
        path = self.write(SMALL + "run_dir: in/good.yaml/run\n", "good.yaml")
        self.refused("in/good.yaml/run: cannot create the run folder (Not a directory); choose "
                     "another run_dir", "train", path)


if __name__ == "__main__":
    harness.main()
