"""Images with masks, from the command line: every mistake by name with exit 2, packs that other tools read,
and the slices of a brain."""
import gzip
import struct
import subprocess
import tarfile
from pathlib import Path

import harness

try:
    import numpy
    from PIL import Image
except ImportError:
    harness.skip_file("Pillow or NumPy is not installed")

SCRIPT = Path(__file__).parents[2] / "launch" / "brain_slices"


def make_pairs(folder, training=6, tests=3):
    """Blocks of four classes on images of their colors."""
    generator = numpy.random.default_rng(1)
    for split, count in (("train", training), ("test", tests)):
        for part in ("images", "masks"):
            (folder / split / part).mkdir(parents=True)
        for i in range(count):
            labels = generator.integers(0, 4, (4 + i, 5)).repeat(4, axis=0).repeat(4, axis=1).astype("uint8")
            pixels = numpy.stack([40 * labels, 255 - 50 * labels, 10 + labels], axis=2).astype("uint8")
            Image.fromarray(pixels).save(folder / split / "images" / f"{i}.{'jpg' if i % 2 else 'png'}")
            mask = Image.fromarray(labels)
            if i % 3 == 1:
                mask = Image.fromarray(labels, mode="P")
                mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
            mask.save(folder / split / "masks" / f"{i}.png")
    return folder


class Pairs(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.pairs = make_pairs(self.folder / "pairs")
        self.train_masks = self.pairs / "train" / "masks"

    def error(self, *overrides):
        path = harness.write_experiment(self.folder / "e.yaml", {
            "replicas": 2, "batch_per_replica": 1, "steps": 1,
            "data": {"dataset": "segmentation_folder", "path": str(self.pairs),
                     "images": {"height": 16, "width": 16}}}, run_dir=self.folder / "run")
        result = harness.run("train", path, "--dry-run", *overrides)
        self.assertEqual(result.code, 2, result.err)
        return result.err

    def test_every_bad_mask_is_named(self):
        mask = self.train_masks / "0.png"
        good = mask.read_bytes()
        labels = numpy.array(Image.open(mask))
        for name, picture, text in (
                ("RGB", Image.fromarray(labels).convert("RGB"), "has RGB colors; expected a PNG with grey values"),
                ("alpha", Image.fromarray(labels).convert("LA"), "has an alpha channel; expected"),
                ("16 bits", Image.fromarray(labels.astype("uint16")), "has 16 bits; expected"),
                ("size", Image.fromarray(labels[1:]), "is 20×15 pixels and its image 20×16; expected a label")):
            with self.subTest(name):
                picture.save(mask)
                self.assertIn(f"{mask}: {text}", self.error())
        (self.train_masks / "1.png").unlink()
        (self.train_masks / "more.png").write_bytes(good)
        (self.pairs / "train" / "images" / "2.jpg").write_bytes(b"x")
        error = self.error()
        images = self.pairs / "train" / "images"
        for line in (f"{images / '1.jpg'}: has no mask; expected {self.train_masks / '1.png'}",
                     f"{self.train_masks / 'more.png'}: has no image; expected {images / 'more.jpg'} (or .png)",
                     f"{images / '2.png'}: has the name of 2.jpg", f"{mask}: is 20×15 pixels"):
            self.assertIn(line, error)

    def test_labels_that_are_no_class(self):
        (self.pairs / "classes.txt").write_text("a\nb\nc\n")
        self.assertIn("data.masks.classes: 5, but the data set names 3 classes",
                      self.error("data.masks.classes=5"))
        result = harness.run("pack", self.pairs, self.folder / "pack")
        self.assertEqual(result.code, 2, result.err)
        self.assertIn("has label 3 at x = ", result.err)
        self.assertIn("but there are 3 classes: expected 0 to 2, or 255", result.err)
        self.assertFalse((self.folder / "pack").exists())
        (self.pairs / "classes.txt").write_text("a\n\nc\nd\n")
        self.assertIn("classes.txt: line 2 is blank; expected the name of class 1", self.error())

    def test_a_test_image_that_is_too_large(self):
        large = Image.new("L", (1500, 20))
        large.save(self.pairs / "test" / "images" / "9.png")
        large.save(self.pairs / "test" / "masks" / "9.png")
        self.assertIn("9.png: is 1500×20 pixels, and evaluations read whole images; scale it and its mask to "
                      "at most 1024 along a side, or set data.images.evaluation_limit: 1500", self.error())

    def test_augmentations_that_do_not_fit(self):
        self.assertIn("list it first", self.error("data.augment=[random_crop, random_scale]"))
        self.assertIn("data.augment: random_scale works on images with masks",
                      self.error("data.dataset=image_folder", "data.augment=[random_scale]"))
        self.assertIn("set data.dataset: segmentation_folder", self.error("data.dataset=image_folder"))

    def test_a_pack_is_a_tar_of_pairs(self):
        pack = self.folder / "pack"
        (self.pairs / "classes.txt").write_text("a\nb\nc\nd\n")
        result = harness.run("pack", self.pairs, pack, "--shard-bytes", 65536)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("6 training and 3 test images with masks of 4 classes", result.out)
        for split, count in (("train", 6), ("test", 3)):
            samples = {}
            for path in sorted(pack.glob(f"{split}-*.tar")):
                with tarfile.open(path) as tar:
                    for member in tar.getmembers():
                        key, extension = member.name.split(".", 1)
                        samples.setdefault(key, {})[extension] = tar.extractfile(member).read()
            self.assertEqual(sorted(samples), [f"{i:06}" for i in range(count)])
            images = sorted((self.pairs / split / "images").iterdir())
            for image, (_, sample) in zip(images, sorted(samples.items())):
                self.assertEqual(sorted(sample), sorted([image.suffix[1:], "mask.png"]))
                self.assertEqual(sample[image.suffix[1:]], image.read_bytes())
                self.assertEqual(sample["mask.png"],
                                 (self.pairs / split / "masks" / f"{image.stem}.png").read_bytes())
        error = self.error("data.dataset=packed", f"data.path={pack}", "data.masks.ignore_label=3")
        self.assertIn("was packed with 255; leave it out, or pack anew with --ignore-label 3", error)
        again = harness.run("pack", self.pairs, pack)
        self.assertEqual(again.code, 2)
        self.assertIn("exists; give a new folder", again.err)

    def test_the_ignored_label_is_for_masks(self):
        folder = self.folder / "classes"
        for split in ("train", "test"):
            for name in ("ant", "bee"):
                (folder / split / name).mkdir(parents=True)
                Image.new("RGB", (4, 4)).save(folder / split / name / "0.png")
        result = harness.run("pack", folder, self.folder / "pack", "--ignore-label", 3)
        self.assertEqual(result.code, 2)
        self.assertIn("--ignore-label is for images with masks", result.err)
        result = harness.run("pack", self.pairs, self.folder / "pack", "--ignore-label", 3)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("of 3 classes", result.out)


class BrainSlices(harness.TestCase):
    """On a small head of the same form."""

    def setUp(self):
        super().setUp()
        self.source = self.folder / "templates"
        self.source.mkdir()
        self.labels = numpy.zeros((24, 7, 5), "uint8")  # z, y, x
        self.labels[2:22, 1:3, 2] = 1
        self.labels[2:22, 4, 3] = 91
        self.head = numpy.random.default_rng(1).integers(0, 255, self.labels.shape).astype("uint8")
        self.volume("ch2", self.head)
        self.volume("aal", self.labels)
        (self.source / "aal.nii.txt").write_text("1 Precentral_L 2001\n91 Cerebelum_Crus1_L 9001\n\n")

    def volume(self, name, voxels, kind=2):
        header = bytearray(352)
        struct.pack_into("<i", header, 0, 348)
        struct.pack_into("<4h", header, 40, 3, *reversed(voxels.shape))
        struct.pack_into("<h", header, 70, kind)
        struct.pack_into("<f", header, 108, 352.0)
        header[344:348] = b"n+1\0"
        (self.source / f"{name}.nii.gz").write_bytes(gzip.compress(bytes(header) + voxels.tobytes()))

    def slices(self, *arguments):
        return subprocess.run([SCRIPT, self.folder / "brain", "--source", self.source, *arguments],
                              capture_output=True, text=True)

    def test_slices_are_pairs(self):
        result = self.slices("--slab", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("18 training and 2 test slices of 5×7 pixels, 12 classes", result.stdout)
        brain = self.folder / "brain"
        names = (brain / "classes.txt").read_text().splitlines()
        self.assertEqual(len(names), 12)
        seen = {}
        for split in ("train", "test"):
            for path in (brain / split / "images").iterdir():
                z = seen.setdefault(int(path.stem[1:]), split) and int(path.stem[1:])
                self.assertTrue((numpy.array(Image.open(path)) == self.head[z, ::-1]).all())
                mask = numpy.array(Image.open(brain / split / "masks" / path.name))  # indices
                expected = numpy.where(self.labels[z, ::-1] == 1, names.index("frontal"), 0)
                expected += numpy.where(self.labels[z, ::-1] == 91, names.index("cerebellum"), 0)
                self.assertTrue((mask == expected).all())
        self.assertEqual(sorted(seen), list(range(2, 22)))
        self.assertEqual([z for z in sorted(seen) if seen[z] == "test"], [7, 17])
        packed = harness.run("pack", brain, self.folder / "pack")
        self.assertEqual(packed.code, 0, packed.err)
        self.assertIn("18 training and 2 test images with masks of 12 classes", packed.out)
        self.assertEqual(packed.err, "")
        self.assertEqual(self.slices().returncode, 2)
        self.assertIn("one head", (brain / "README").read_text())

    def test_what_is_wrong_is_said(self):
        def expect(text):
            result = self.slices("--slab", "1")
            self.assertEqual(result.returncode, 2, result.stdout)
            self.assertIn(text, result.stderr)
            self.assertNotIn("Traceback", result.stderr)
            self.assertFalse((self.folder / "brain").exists())
        (self.source / "aal.nii.txt").write_text("1 Tail_L 2001\n")
        expect("aal.nii.txt: Tail_L belongs to no region")
        (self.source / "aal.nii.txt").write_text("one Precentral_L\n")
        expect("expected a number and a name in each line, found 'one Precentral_L'")
        self.volume("aal", self.labels[1:])
        expect("ch2.nii.gz has (5, 7, 24) voxels and aal.nii.gz (5, 7, 23)")
        self.volume("aal", self.labels, kind=4)
        expect("expected a volume with a byte for each voxel")
        (self.source / "aal.nii.gz").write_bytes(b"no gzip")
        expect("aal.nii.gz: is no gzip file")
        (self.source / "ch2.nii.gz").unlink()
        expect("ch2.nii.gz: cannot be read: No such file or directory; install Debian's package mricron-data")


if __name__ == "__main__":
    harness.main()
