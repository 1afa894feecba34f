"""Weights as people have them: saved by wrappers, in half precision, or no weights at all."""
import os
import re

import numpy

import harness


class Weights(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.run_ = self.train("run", {"norm": "syncbn"})
        self.path = self.folder / "run.yaml"
        self.tensors = self.run_.model(4)

    def write(self, tensors, name="weights.safetensors"):
        harness.write_safetensors(self.folder / name, tensors)
        return self.folder / name

    def evaluate(self, weights):
        return harness.run("eval", self.path, "--weights", weights)

    def accepted(self, tensors):
        """The standard output and error of an evaluation."""
        result = self.evaluate(self.write(tensors))
        self.assertEqual(result.code, 0, result.err)
        return result.out, result.err

    def refused(self, weights, message):
        for result in (self.evaluate(weights),
                       harness.run("train", self.path, f"run_dir={self.folder}/new", "--init-from", weights)):
            self.assertEqual(result.code, 3, result.err)
            self.assertRegex(result.err, f"^syncnorm: {re.escape(str(weights))}: {message}\n$")

    def test_names_of_wrappers(self):
        expected, said = self.accepted(self.tensors)
        self.assertEqual(said, "")
        for prefix in ("module.", "_orig_mod.", "model.", "module._orig_mod.", "model.net."):
            with self.subTest(prefix=prefix):
                named = {prefix + name: value for name, value in self.tensors.items()}
                out, said = self.accepted(named)
                self.assertEqual(out, expected)
                self.assertEqual(said, f"syncnorm: {self.folder}/weights.safetensors: all names there begin "
                                       f"with '{prefix}', which is left out\n")
        averaged = {"module." + name: value for name, value in self.tensors.items()}
        out, said = self.accepted({**averaged, "n_averaged": numpy.array(3)})
        self.assertEqual(out, expected)
        self.assertIn("does not have: n_averaged", said)

    def test_weights_beyond_the_range(self):
        """A result that is no number is none."""
        large = {name: value * numpy.float32(3e37) if value.dtype == "<f4" else value
                 for name, value in self.tensors.items()}
        result = self.evaluate(self.write(large))
        self.assertEqual((result.code, result.out), (4, ""))
        self.assertIn("the test loss is not finite", result.err)
        result = harness.run("train", self.path, f"run_dir={self.folder}/new", "--init-from", self.write(large))
        self.assertEqual(result.code, 4)
        self.assertIn(f"the weights of {self.folder}/weights.safetensors may be of a run that diverged", result.err)

    def test_a_pipe_is_no_file(self):
        pipe = self.folder / "pipe.safetensors"
        os.mkfifo(pipe)
        self.refused(pipe, r"cannot be read \(it is not a regular file\); give .*")

    def test_a_prefix_that_not_all_have(self):
        some = {("module." if name == "conv1.weight" else "") + name: value
                for name, value in self.tensors.items()}
        self.refused(self.write(some), "tensor 'conv1.weight' is missing, but there is "
                                       "'module.conv1.weight'; the file is of another model or norm")

    def test_training_begins_with_them_too(self):
        named = {"module." + name: value.astype("<f8") if value.dtype == "<f4" else value
                 for name, value in self.tensors.items()}
        run = self.train("begun", {"norm": "syncbn"}, arguments=["--init-from", self.write(named)])
        for name, value in run.model(0).items():
            if not name.endswith("num_batches_tracked"):
                self.assertTrue((value == self.tensors[name]).all(), name)

    def test_other_types(self):
        """Values that every type can hold give the same bits as f32 does."""
        rounded = {name: (value.view("<u4") & 0xFFFF0000).view("<f4") if value.dtype == "<f4" else value
                   for name, value in self.tensors.items()}
        for name, value in rounded.items():
            if value.dtype == "<f4":  # also within the range of f16
                rounded[name] = numpy.where(abs(value) < 2.0 ** -14, 0, value).astype("<f4")
        expected, _ = self.accepted(rounded)

        def with_type(convert, count):
            return {name: convert(value) if value.dtype == "<f4" else value.astype(count)
                    for name, value in rounded.items()}
        for convert in (lambda v: v.astype("<f2"), lambda v: v.astype("<f8"),
                        lambda v: (v.view("<u4") >> 16).astype("<u2")):
            out, said = self.accepted(with_type(convert, "<i4"))
            self.assertEqual((out, said), (expected, ""))

    def test_small_and_special_halves(self):
        """Subnormal numbers of f16 are exact in f32; infinity is refused."""
        halves = dict(self.tensors)
        halves["fc.bias"] = numpy.array([2.0 ** -24, -3 * 2.0 ** -24, 1.5, -65504.0], "<f2")
        run = self.train("begun", {"norm": "syncbn"}, arguments=["--init-from", self.write(halves)])
        self.assertEqual(run.model(0)["fc.bias"].tolist(), [2.0 ** -24, -3 * 2.0 ** -24, 1.5, -65504.0])
        halves["fc.bias"] = numpy.array([0, numpy.inf, 0, 0], "<f2")
        self.refused(self.write(halves), "tensor 'fc.bias': 1 of 4 values are not finite; these weights "
                                         "cannot be used")

    def test_tensors_without_a_place(self):
        expected, _ = self.accepted(self.tensors)
        more = {f"extra{i}.weight": numpy.zeros(2, "<i4") for i in range(7)}
        out, said = self.accepted({**self.tensors, **more})
        self.assertEqual(out, expected)
        self.assertIn("ignored 7 tensors that the model does not have: extra0.weight, extra1.weight, "
                      "extra2.weight, extra3.weight, extra4.weight, ...", said)

    def test_values_that_cannot_be(self):
        for name, change, message in [
                ("conv1.weight", numpy.nan, r"1 of 144 values are not finite"),
                ("bn1.running_mean", numpy.inf, r"1 of 16 values are not finite"),
                ("bn1.running_var", -0.5, r"a variance of -0.5 at index 2, but none is negative")]:
            with self.subTest(name=name):
                changed = {**self.tensors, name: self.tensors[name].copy()}
                changed[name].flat[2] = change
                self.refused(self.write(changed), f"tensor '{name}': {message}; these weights cannot be "
                                                  "used")
        self.refused(self.write({**self.tensors, "fc.bias": numpy.zeros(4, "<i4")}),
                     r"tensor 'fc.bias' is I32 \[4\], but the model needs F32 \[4\]")

    def test_files_that_are_something_else(self):
        file = self.folder / "else.safetensors"
        for content, message in [
                (b"", "this is an empty file; save or download it again"),
                (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
                 "this is a pointer of Git LFS, not the weights; fetch them with `git lfs pull`"),
                (b"\n<!DOCTYPE html>\n<html>", "this is a web page, not the weights; download the file itself"),
                (b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}',
                 "this is the index of a model in several files; in Python, load them and write one with "
                 "safetensors.torch.save_file"),
                (b'{"a": 1}', "this is JSON, not the weights; give the .safetensors file"),
                (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "this is compressed with gzip; unpack it first"),
                (b"PK\x03\x04" + b"\xff" * 40, "this is a pickle, which can run code.*"),
                (b"\x89HDF\r\n\x1a\n" + b"\xff" * 40, r"this is an HDF5 file \(Keras\); convert it to "
                                                     "safetensors")]:
            with self.subTest(content=content):
                file.write_bytes(content)
                self.refused(file, message)


if __name__ == "__main__":
    harness.main()
