"""Training with labels per pixel: the same bits on any ranks, metrics wherever a run is watched, predictions.

The data are fashion_scenes, which need Debian's dataset-fashion-mnist.
"""
import json
import re
import struct
import zlib
from pathlib import Path

import harness
from harness import full

if not Path("/usr/share/datasets/fashion-mnist").is_dir():
    harness.skip_file("needs Debian's package dataset-fashion-mnist")

CLASSES = 11
CONVS = [{"type": "conv", "out": 8, "kernel": 3, "padding": 1, "bias": False}, "norm", "relu",
         {"type": "conv", "out": 8, "kernel": 3, "padding": 2, "dilation": 2, "bias": False}, "norm", "relu",
         {"type": "conv", "out": CLASSES, "kernel": 1}]
SCENES = {"data.dataset": "fashion_scenes", "data.synthetic": None, "model.architecture": None,
          "data.scenes": {"height": 24, "width": 32, "train_samples": 48, "test_samples": 13},
          "data.validation": 11, "data.augment": ["random_crop", "horizontal_flip"], "data.crop_padding": 3,
          "model.layers": CONVS, "evaluation.every_steps": 3, "norm": "syncbn"}
# An epoch is 16 + 16 + 5 samples: in its last step two replicas are full, one has a single sample and the
# others are empty.
UNEVEN = {**SCENES, "drop_last": False, "steps": 6, "checkpoint.every_steps": 2, "checkpoint.keep": 10}
LOSS = {"loss.label_smoothing": 0.1, "loss.dice": 0.5, "loss.class_weights": [0.5] + [1.0] * 9 + [2.0]}


def png_size_and_values(path):
    """Height, width and the bytes of an 8-bit PNG with a palette."""
    data = path.read_bytes()
    width, height, bits, color = struct.unpack(">IIBB", data[16:26])
    assert (bits, color) == (8, 3), (bits, color)
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    rows = zlib.decompress(packed)
    assert all(rows[y * (width + 1)] == 0 for y in range(height)), "a filter is in use"
    return height, width, b"".join(rows[y * (width + 1) + 1:(y + 1) * (width + 1)] for y in range(height))


class SameBits(harness.TestCase):
    def same(self, settings, ranks):
        reference = self.train("alone", settings)
        for count in ranks:
            with self.subTest(ranks=count):
                self.assert_same_bits(reference, self.train(f"on-{count}", settings, ranks=count))
        return reference

    def test_on_any_number_of_ranks(self):
        run = self.same({**UNEVEN, **LOSS}, [2, 3, 8])
        self.assertEqual({e["split"] for e in run.evals}, {"test", "validation"})
        self.assertTrue(all(len(e["class_iou"]) == CLASSES and 0 <= e["mean_iou"] <= 1 for e in run.evals))

    def test_without_a_batch(self):
        self.same({**UNEVEN, "norm": {"kind": "group", "groups": 4}}, [2, 3])

    def test_other_statistics(self):
        self.same({**UNEVEN, "norm": "bn", "batch_per_replica": 3, "evaluation.statistics": [
            "running", "precise", "batch", "test_set", "mixed"], "ema.decay": 0.9}, [3])

    @full
    def test_every_loss_and_precision(self):
        for name, more in {"plain": {}, "loss": LOSS, "bf16": {**LOSS, "precision": harness.bf16()},
                           "fastest": {"reduction": "fastest"}}.items():
            with self.subTest(name):
                for path in list(self.folder.iterdir()):
                    harness.shutil.rmtree(path, ignore_errors=True)
                self.same({**UNEVEN, **more}, [2, 8] if name != "fastest" else [])

    def test_a_resumed_run_has_the_bits_of_one_that_was_not_stopped(self):
        whole = self.train("whole", {**UNEVEN, **LOSS})
        self.train("cut", {**UNEVEN, **LOSS, "steps": 4})
        path = harness.write_experiment(self.folder / "cut.yaml", {**UNEVEN, **LOSS}, run_dir=self.folder / "cut")
        result = harness.run("train", path, "--resume", "auto", ranks=2)
        self.assertEqual(result.code, 0, result.err)
        cut = harness.Run(self.folder / "cut")
        self.assertEqual(whole.tensor_files()["step-6/model.safetensors"],
                         cut.tensor_files()["step-6/model.safetensors"])


class Watched(harness.TestCase):
    def test_metrics_are_wherever_a_run_is_watched(self):
        textfile = self.folder / "metrics.prom"
        path = harness.write_experiment(
            self.folder / "run.yaml", {**SCENES, "steps": 6, "metrics.textfile": str(textfile),
                                       "metrics.tensorboard": True}, run_dir=self.folder / "run")
        result = harness.run("train", path)
        self.assertEqual(result.code, 0, result.err)
        run = harness.Run(self.folder / "run")
        summary, last = run.summary, [e for e in run.evals if e["split"] == "test"][-1]
        self.assertEqual(summary["metric"], "mean_iou")
        self.assertEqual(summary["test_mean_iou"], last["mean_iou"])
        self.assertEqual([c["iou"] for c in summary["classes"]], last["class_iou"])
        self.assertEqual(summary["classes"][0]["class"], "background")
        self.assertEqual(sum(c["labels"] for c in summary["classes"]), 13 * 24 * 32)
        numbers = [v for v in last["class_iou"] if not isinstance(v, str)]
        self.assertAlmostEqual(last["mean_iou"], sum(numbers) / len(numbers), places=12)
        best = max((e["mean_iou"], -e["step"]) for e in run.evals if e["split"] == "validation")
        self.assertEqual((summary["best_validation_mean_iou"], -summary["best_step"]), best)
        self.assertIn(f"test mIoU {100 * last['mean_iou']:.2f}%, pixel accuracy", result.out)
        self.assertRegex(result.out, r"IoU of test pixels: background \d+\.\d%,")
        text = textfile.read_text()
        self.assertIn('syncnorm_evaluation_mean_iou_ratio{split="test"}', text)
        self.assertIn('syncnorm_class_iou_ratio{class="0"}', text)
        events = next((self.folder / "run").glob("events.out.tfevents.*")).read_bytes()
        for tag in (b"test/mean_iou", b"test/iou/background", b"validation/mean_iou"):
            self.assertIn(tag, events)
        table = harness.run("report", self.folder / "run", "--csv").out
        self.assertIn("mean_iou,class_iou_0,class_iou_1", table.splitlines()[0])
        inspected = harness.run("inspect", run.checkpoint(6)).out
        self.assertIn(f"best validation mIoU {100 * best[0]:.2f}% at step {-best[1]}\n", inspected)

    def test_the_report_shows_test_images_and_classes(self):
        run = self.train("run", {**SCENES, "steps": 3})
        pictures = sorted(p.name for p in (run.folder / "examples").glob("*.png"))
        self.assertEqual(pictures, [f"{i * 13 // 8:06}.png" for i in range(8)])
        legend = json.loads((run.folder / "examples" / "classes.json").read_text())
        self.assertEqual((len(legend), legend[0]), (CLASSES, {"name": "background", "color": [0, 0, 0]}))
        result = harness.run("report", run.folder)
        self.assertEqual(result.code, 0, result.err)
        page = (run.folder / "report.html").read_text()
        data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))
        self.assertEqual([i["sample"] for i in data["examples"]["settings"][0]["images"]],
                         [str(i * 13 // 8) for i in range(8)])
        self.assertEqual(data["by_class"]["columns"][:2], ["setting", "background"])
        self.assertIn("mIoU over updates", [f["title"] for f in data["figures"]])

    def test_a_study_compares_by_miou(self):
        path = harness.write_experiment(
            self.folder / "study.yaml", {**SCENES, "steps": 3, "compare": {"norm": ["bn", "none"], "seed": [1, 2]},
                                         "best_of": {"optimizer.lr": [0.01, 0.1]}}, run_dir=self.folder / "study")
        result = harness.run("compare", path)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("test mIoU", result.out)
        study = json.loads((self.folder / "study" / "study.json").read_text())
        self.assertIn("test_mean_iou_difference", study["variants"][1])

    def test_eval_gives_the_runs_own_result(self):
        run = self.train("run", {**SCENES, "steps": 3})
        last = [e for e in run.evals if e["split"] == "test"][-1]
        for ranks in (0, 3):
            result = harness.run("eval", self.folder / "run.yaml", "--weights", run.checkpoint(3), ranks=ranks)
            self.assertEqual(result.code, 0, result.err)
            self.assertIn(f"test mIoU {100 * last['mean_iou']:.2f}%, pixel accuracy {100 * last['accuracy']:.2f}%, "
                          f"loss {last['loss']}", result.out)

    def test_classification_has_accuracy_per_class(self):
        run = self.train("run", {"evaluation.every_steps": 4})
        last, classes = run.evals[-1], run.summary["classes"]
        self.assertEqual([c["accuracy"] for c in classes], last["class_accuracy"])
        self.assertEqual(sum(c["labels"] for c in classes), 60)
        right = sum(c["labels"] * c["accuracy"] for c in classes if c["labels"])
        self.assertAlmostEqual(right / 60, last["accuracy"], places=12)
        self.assertNotIn("mean_iou", last)


class FromAClassifier(harness.TestCase):
    def test_its_weights_go_into_the_backbone_and_the_rest_starts_anew(self):
        classifier = self.train("classifier", {"model.architecture": "resnet20", "data.synthetic.channels": 3,
                                               "data.synthetic.height": 16, "data.synthetic.width": 16, "steps": 1})
        settings = {**SCENES, "steps": 1, "replicas": 2, "model.layers": None, "checkpoint.every_steps": 1,
                    "model": {"architecture": "deeplabv3", "backbone": "resnet20", "aspp_channels": 8}}
        path = harness.write_experiment(self.folder / "maps.yaml", settings, run_dir=self.folder / "maps")
        result = harness.run("train", path, "--init-from", classifier.checkpoint(1))
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("the file is of a classifier, whose layers are those of 'backbone.' here", result.err)
        given, taken = classifier.model(1), harness.Run(self.folder / "maps").model(0)
        for name in ("conv1.weight", "layer2.0.downsample.0.weight", "layer3.2.bn2.weight", "bn1.running_var"):
            self.assertEqual(taken[f"backbone.{name}"].tobytes(), given[name].tobytes(), name)
        self.assertIn("classifier.0.convs.1.0.weight", taken)
        self.assertNotIn("backbone.fc.weight", taken)


class Predicted(harness.TestCase):
    def test_masks_of_a_run_for_images_of_other_sizes(self):
        run = self.train("run", {**SCENES, "steps": 3})
        images = []
        for name, (height, width) in {"a": (24, 32), "b": (17, 40)}.items():
            images.append(self.folder / f"{name}.png")
            images[-1].write_bytes(gradient(height, width))
        for source in (run.folder, run.checkpoint(3)):
            out = self.folder / f"out-{source.name}"
            result = harness.run("predict", source, *images, "--out", out)
            self.assertEqual(result.code, 0, result.err)
            self.assertEqual(png_size_and_values(out / "b.png")[:2], (17, 40))
            self.assertLess(max(png_size_and_values(out / "a.png")[2]), CLASSES)
        again = harness.run("predict", run.folder, *images, "--out", self.folder / "out-run")
        self.assertEqual(again.code, 2)
        self.assertIn("exists already", again.err)

    def test_a_bad_image_is_named_and_the_others_are_predicted(self):
        run = self.train("run", {**SCENES, "steps": 1})
        good, bad = self.folder / "good.png", self.folder / "bad.png"
        good.write_bytes(gradient(9, 9))
        bad.write_bytes(b"no image")
        result = harness.run("predict", run.folder, bad, good, self.folder / "none.png", "--out", self.folder / "out")
        self.assertEqual(result.code, 2)
        self.assertIn("bad.png", result.err)
        self.assertIn("none.png", result.err)
        self.assertTrue((self.folder / "out" / "good.png").exists())

    def test_classes_of_images(self):
        run = self.train("run", {"steps": 2})
        image = self.folder / "a, b.png"
        image.write_bytes(gradient(20, 30))
        result = harness.run("predict", run.checkpoint(2), image, "--out", self.folder / "out")
        self.assertEqual(result.code, 0, result.err)
        rows = (self.folder / "out" / "predictions.csv").read_text().splitlines()
        self.assertEqual(rows[0], "image,class,name,probability")
        self.assertRegex(rows[1], r'^".*a, b\.png",[0-3],"",[01]\.\d{6}$')


class Refused(harness.TestCase):
    def refused(self, settings, *texts):
        result = harness.run("train", harness.write_experiment(self.folder / "a.yaml", settings))
        self.assertEqual(result.code, 2, result.err)
        for text in texts:
            self.assertIn(text, result.err)

    def test_losses_that_do_not_fit_the_data(self):
        self.refused({"loss.dice": 0.5}, "loss.dice", "a.yaml:", "label per image")
        self.refused({"loss.class_weights": [1, 1, 1, 1]}, "loss.class_weights", "label per image")
        self.refused({**SCENES, "loss.class_weights": [1, 2]}, "each of the 11 classes, found 2")
        self.refused({**SCENES, "loss.class_weights": [0] * 11}, "all weights are 0")

    def test_a_model_that_does_not_end_in_a_map(self):
        self.refused({**SCENES, "model.layers": [*CONVS[:-1], {"type": "conv", "out": 5, "kernel": 1}]}, "11 classes")
        self.refused({**SCENES, "model.layers": ["global_pool", {"type": "linear", "out": 11}]}, "24x32")


def gradient(height, width):
    """A PNG of a color gradient."""
    return harness.png(height, width, bytes(
        v for y in range(height) for x in range(width) for v in (x * 5 % 256, y * 7 % 256, (x + y) % 256)))


if __name__ == "__main__":
    harness.main()
