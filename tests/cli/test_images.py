"""Images on disk, end to end: the same bits whatever ranks, threads and form; packs that other tools
read; corrupt images, and those that cannot be read; what is told; mistakes."""
import os
import shutil
import tarfile

import harness

try:
    import numpy
    from PIL import Image
except ImportError:
    harness.skip_file("Pillow or NumPy is not installed")

CLASSES = ("cat", "dog", "owl")


def picture(generator, label, height, width):
    """Noise around a color that tells the class."""
    pixels = generator.integers(0, 120, (height, width, 3))
    pixels[:, :, label] += 110
    return Image.fromarray(pixels.astype("uint8"))


def make_folder(folder, per_class=8, tests=4):
    generator = numpy.random.default_rng(1)
    for split, count in (("train", per_class), ("test", tests)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = picture(generator, label, 20 + 3 * i, 30 - 2 * i)
                image.save(folder / split / name / (f"{i}.png" if i % 3 == 0 else f"{i}.jpg"))
    return folder


class Images(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.images = make_folder(self.folder / "images")
        self.pack = self.folder / "pack"

    def settings(self, **changes):
        return {"replicas": 4, "steps": 9, "data": {
            "dataset": "image_folder", "path": str(self.images),
            "augment": ["random_resized_crop", "horizontal_flip", "color_jitter"],
            "images": {"height": 16, "width": 16, "resize": 18}}, **changes}

    def run_pack(self, *arguments):
        result = harness.run("pack", self.images, self.pack, *arguments)
        self.assertEqual(result.code, 0, result.err)
        return result

    def packed(self, **changes):
        return self.settings(**{"data.dataset": "packed", "data.path": str(self.pack), **changes})

    def test_same_bits_whatever_ranks_threads_and_form(self):
        self.run_pack("--shard-bytes", 65536)
        one = self.train("one", self.settings())
        self.assert_same_bits(one, self.train("two", self.settings(), ranks=2))
        self.assert_same_bits(one, self.train("packed", self.packed(), ranks=2))
        self.assert_same_bits(one, self.train("threads", self.packed(**{"data.images.threads": 4})))
        self.assertEqual(one.summary["corrupt_images"], 0)
        self.assertLess(one.losses[-1], one.losses[0])

    def test_resume_with_other_ranks_and_threads(self):
        whole = self.train("whole", self.settings())
        self.train("cut", self.settings(**{"steps": 4}))
        again = harness.run(
            "train", harness.write_experiment(self.folder / "again.yaml", self.settings(
                **{"data.images.threads": 3}), run_dir=self.folder / "cut"),
            "--resume", "auto", ranks=2)
        self.assertEqual(again.code, 0, again.err)
        run = harness.Run(self.folder / "cut")
        self.assertEqual(run.model(9).keys(), whole.model(9).keys())
        for name, values in whole.model(9).items():
            self.assertEqual(values.tobytes(), run.model(9)[name].tobytes(), name)

    def resume(self, run_dir, settings, ranks=0):
        path = harness.write_experiment(self.folder / "again.yaml", settings, run_dir=run_dir)
        return harness.run("train", path, "--resume", "auto", ranks=ranks)

    def test_resume_on_the_pack_of_the_folder_and_back(self):
        whole = self.train("whole", self.settings())
        self.train("moved", self.settings(steps=3))
        self.run_pack("--shard-bytes", 65536)
        moved = self.folder / "moved"
        again = self.resume(moved, self.packed(steps=6), ranks=2)
        self.assertEqual(again.code, 0, again.err)
        again = self.resume(moved, self.settings())
        self.assertEqual(again.code, 0, again.err)
        run = harness.Run(moved)
        self.assertEqual([e["step"] for e in run.of("resume")], [3, 6])
        self.assertEqual(run.model(9).keys(), whole.model(9).keys())
        for name, values in whole.model(9).items():
            self.assertEqual(values.tobytes(), run.model(9)[name].tobytes(), name)

    def test_the_pack_of_another_folder_is_other_data(self):
        self.train("moved", self.settings(steps=3))
        (self.images / "train" / "dog" / "1.jpg").unlink()
        self.run_pack()
        again = self.resume(self.folder / "moved", self.packed())
        self.assertEqual(again.code, 3, again.err)
        self.assertIn("was trained on other data (fingerprint ", again.err)
        again = self.resume(self.folder / "moved", self.settings(**{
            "data.dataset": "synthetic", "data.augment": [], "data.path": None}))
        self.assertEqual(again.code, 3, again.err)
        self.assertIn("was trained with data.dataset: image_folder, but now it is synthetic", again.err)

    def test_pack_is_a_tar_of_the_files(self):
        self.assertIn("24 training and 12 test images", self.run_pack("--shard-bytes", 65536).out)
        seen = []
        for split, count in (("train", 24), ("test", 12)):
            samples = {}
            for path in sorted(self.pack.glob(f"{split}-*.tar")):
                self.assertLessEqual(path.stat().st_size, 65536 + 10240)
                with tarfile.open(path) as tar:
                    for member in tar.getmembers():
                        key, extension = member.name.split(".")
                        samples.setdefault(key, {})[extension] = tar.extractfile(member).read()
            self.assertEqual(sorted(samples), [f"{i:06}" for i in range(count)])
            files = [(label, path) for label, name in enumerate(CLASSES)
                     for path in sorted((self.images / split / name).iterdir())]
            for (label, path), (_, sample) in zip(files, sorted(samples.items())):
                self.assertEqual(int(sample["cls"]), label)
                self.assertEqual(sample[path.suffix[1:]], path.read_bytes())
                seen.append(path)
        self.assertEqual(len(seen), 36)
        again = harness.run("pack", self.images, self.pack)
        self.assertEqual(again.code, 2)
        self.assertIn("exists; give a new folder", again.err)

    def test_corrupt_images_stop_the_run_or_are_skipped(self):
        cut = self.images / "train" / "dog" / "1.jpg"
        cut.write_bytes(cut.read_bytes()[:300])
        (self.images / "test" / "owl" / "3.png").write_bytes(b"no image")
        for ranks in (0, 2):
            path = harness.write_experiment(self.folder / "stop.yaml", self.settings(),
                                            run_dir=self.folder / f"stop{ranks}")
            result = harness.run("train", path, ranks=ranks)
            self.assertEqual(result.code, 2, result.err)
            self.assertIn(f"{cut}: damaged JPEG: ", result.err)
            self.assertIn("repair or remove it, or set data.images.corrupt: skip", result.err)
            end = harness.Run(self.folder / f"stop{ranks}").of("end")
            self.assertEqual(end[0]["status"], "stopped")
        skip = {"data.images.corrupt": "skip"}
        one = self.train("one", self.settings(**skip))
        self.assertEqual([e["path"] for e in one.of("corrupt_image")],
                         sorted([str(cut), str(self.images / "test" / "owl" / "3.png")]))
        self.assertEqual(one.summary["corrupt_images"], 2)
        two = self.train("two", self.settings(**skip), ranks=2)
        self.assert_same_bits(one, two)
        self.assertEqual(one.of("corrupt_image"), two.of("corrupt_image"))
        self.run_pack()
        self.assert_same_bits(one, self.train("packed", self.packed(**skip), ranks=2))

    def test_corrupt_test_image_stops_the_evaluation_on_all_ranks(self):
        (self.images / "test" / "owl" / "3.png").write_bytes(b"no image")
        path = harness.write_experiment(self.folder / "stop.yaml", self.settings(),
                                        run_dir=self.folder / "stop")
        result = harness.run("train", path, ranks=2)
        self.assertEqual(result.code, 2, result.err)
        self.assertIn("3.png: is neither JPEG nor PNG", result.err)

    def test_what_cannot_be_read_is_not_corrupt(self):
        one = self.images / "train" / "dog" / "2.jpg"
        one.chmod(0)
        skip = self.settings(**{"data.images.corrupt": "skip"})
        for ranks in (0, 2):
            run_dir = self.folder / f"run{ranks}"
            path = harness.write_experiment(self.folder / "skip.yaml", skip, run_dir=run_dir)
            result = harness.run_without_rights(self.folder, "train", path, ranks=ranks)
            self.assertEqual(result.code, 2, result.err)
            self.assertEqual(result.err.count(f"{one}: cannot be read: Permission denied; nothing is "
                                              "known of the image, so it is not skipped"), 1)
            (end,) = harness.Run(run_dir).of("end")
            self.assertEqual((end["status"], end["corrupt_images"]), ("stopped", 0))
            self.assertEqual(harness.Run(run_dir).of("corrupt_image"), [])
        result = harness.run_without_rights(self.folder, "pack", self.images, self.pack)
        self.assertEqual(result.code, 2, result.err)
        self.assertIn(f"{one}: cannot be read: Permission denied", result.err)
        one.chmod(0o644)
        self.resume_without_rights(path)
        dog = self.images / "train" / "dog"
        dog.chmod(0)
        result = harness.run_without_rights(self.folder, "train", path, "--dry-run")
        dog.chmod(0o755)
        self.assertEqual(result.code, 2, result.err)
        self.assertIn(f"{dog}: cannot be listed: Permission denied", result.err)

    def resume_without_rights(self, path):
        result = harness.run_without_rights(self.folder, "train", path, "--resume", "auto")
        self.assertEqual(result.code, 0, result.err)

    def test_a_test_image_that_cannot_be_read_stops_the_evaluation(self):
        one = self.images / "test" / "owl" / "3.png"
        one.chmod(0)
        path = harness.write_experiment(self.folder / "skip.yaml", self.settings(
            **{"data.images.corrupt": "skip", "steps": 2}), run_dir=self.folder / "run")
        result = harness.run_without_rights(self.folder, "train", path, ranks=2)
        self.assertEqual(result.code, 2, result.err)
        self.assertIn(f"{one}: cannot be read: Permission denied", result.err)

    def test_images_classes_and_what_is_left_out_are_told(self):
        for name in ("train/cat/x.webp", "train/cat/y.WEBP", "train/dog/deep/1.jpg", "test/owl/.cache",
                     "train/1.jpg"):
            (self.images / name).parent.mkdir(exist_ok=True)
            (self.images / name).write_bytes(b"x")
        (self.images / "test" / "owl" / "4.jfif").write_bytes(
            (self.images / "test" / "owl" / "1.jpg").read_bytes())
        left_out = (f"syncnorm: {self.images}: left out: 2 .webp files (neither JPEG nor PNG), 1 folder "
                    f"inside a class, 1 hidden file and 1 image in no class; for example "
                    f"{self.images}/train/cat/x.webp\n")
        path = harness.write_experiment(self.folder / "run.yaml", self.settings(
            **{"data.validation": 4, "steps": 2}), run_dir=self.folder / "run")
        result = harness.run("train", path, ranks=2)
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.err, left_out)
        self.assertIn("\n  image_folder: 20 training, 4 validation and 13 test images of 3 classes\n",
                      result.out)
        (start,) = harness.Run(self.folder / "run").of("start")
        self.assertEqual([start[key] for key in ("dataset", "train_samples", "validation_samples",
                                                 "test_samples", "classes")],
                         ["image_folder", 20, 4, 13, 3])
        told = "image_folder: 24 training and 13 test images of 3 classes\n"
        dry = harness.run("train", path, "--dry-run", f"run_dir={self.folder / 'other'}")
        self.assertEqual((dry.code, dry.err), (0, left_out))
        self.assertTrue(dry.out.startswith(told), dry.out)
        packed = self.run_pack()
        self.assertEqual(packed.err, left_out)
        self.assertIn("24 training and 13 test images of 3 classes in 2 shards", packed.out)
        (self.images / "train" / "owl" / "7.jpg").unlink()
        (self.images / "train" / "owl" / "7.jpg").symlink_to("/nowhere/7.jpg")
        for arguments in (("train", path), ("train", path, "--dry-run"),
                          ("pack", self.images, self.folder / "other")):
            result = harness.run(*arguments)
            self.assertEqual(result.code, 2, result.err)
            self.assertIn("owl/7.jpg: is a link to /nowhere/7.jpg, which is not there", result.err)

    def test_control_characters_of_names_are_shown_as_escapes(self):
        name = "\x1b[2J\x1b]0;owned\x07\r\n.jpg"
        shown = r"\x1b[2J\x1b]0;owned\x07\x0d\n.jpg"
        bad = self.images / "train" / "cat" / name
        bad.write_bytes(b"no image")
        (self.images / "train" / "cat" / "\x1b[31m").mkdir()

        def expect_shown(text):
            self.assertIn(shown, text)
            self.assertNotRegex(text, r"[\x00-\x08\x0b-\x1f\x7f]")
        path = harness.write_experiment(self.folder / "run.yaml", self.settings(steps=6),
                                        run_dir=self.folder / "stop")
        result = harness.run("train", path)
        self.assertEqual(result.code, 2, result.err)
        expect_shown(result.err)
        result = harness.run("train", path, "data.images.corrupt=skip",
                             f"run_dir={self.folder / 'skip'}")
        self.assertEqual(result.code, 0, result.err)
        expect_shown(result.err)
        expect_shown(result.out)
        (event,) = harness.Run(self.folder / "skip").of("corrupt_image")
        self.assertEqual(event["path"], str(bad))
        bad.unlink()
        bad.symlink_to("nowhere\x1b[2J")
        result = harness.run("pack", self.images, self.pack)
        self.assertEqual(result.code, 2, result.err)
        expect_shown(result.err)
        self.assertIn(r"is a link to nowhere\x1b[2J, which is not there", result.err)

    def test_mistakes_are_named(self):
        def error(**changes):
            path = harness.write_experiment(self.folder / "bad.yaml", self.settings(**changes),
                                            run_dir=self.folder / "bad")
            result = harness.run("train", path, "--dry-run")
            self.assertEqual(result.code, 2, result.err)
            return result.err
        self.assertIn("data.path: image_folder has no usual place", error(**{"data.path": "auto"}))
        self.assertIn("data.augment: random_resized_crop works on images on disk",
                      error(**{"data.dataset": "synthetic"}))
        self.assertIn("list it first",
                      error(**{"data.augment": ["horizontal_flip", "random_resized_crop"]}))
        self.assertIn("list it before random_crop",
                      error(**{"data.augment": ["cutout", "color_jitter"]}))
        self.assertIn("data.images.resize: 15 is less than height or width; give at least 16",
                      error(**{"data.images.resize": 15}))
        self.assertIn("data.images.mean: has 2 entries; give 3",
                      error(**{"data.images.mean": [0.5, 0.5]}))
        self.assertIn("is no pack", error(**{"data.dataset": "packed"}))
        shutil.rmtree(self.images / "test" / "owl")
        self.assertIn('class "owl" of', error())

    def test_bench_data_prints_its_ratios(self):
        for path in self.images.rglob("*.png"):
            path.unlink()
        self.run_pack()
        path = harness.write_experiment(self.folder / "bench.yaml", self.packed())
        result = harness.run("bench", "data", path, "--rounds", 2)
        self.assertEqual(result.code, 0, result.err)
        self.assertTrue(result.out.startswith("packed: 15 training and 6 test images of 3 classes\n"),
                        result.out)
        for line in ("of reading the shards in blocks", "reading, shuffled", "decoding", "whole loader",
                     "in batches of 4 × "):
            self.assertIn(line, result.out)
        damaged = self.images / "train" / "cat" / "1.jpg"
        damaged.write_bytes(damaged.read_bytes()[:300])
        path = harness.write_experiment(self.folder / "bench.yaml", self.settings())
        result = harness.run("bench", "data", path, "--rounds", 1)
        self.assertEqual(result.code, 2, result.err)
        self.assertIn(f"{damaged}: damaged JPEG: ", result.err)


if __name__ == "__main__":
    harness.main()
