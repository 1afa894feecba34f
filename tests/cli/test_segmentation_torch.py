"""Training with labels per pixel is PyTorch's: losses, weights and evaluations of a U-Net in double precision.

A step-0 checkpoint is loaded by name into the U-Net as it is usually written in PyTorch. A few steps there on the
same batches must give the same losses, weights and statistics, with ignored pixels, weights of classes, label
smoothing, the Dice loss and an uneven last batch; then the same mIoU. The activation is tanh: see test_torch.py.
"""
import harness

try:
    import numpy
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    harness.skip_file(f"needs Debian's python3-torch and python3-numpy ({error})")

torch.set_num_threads(1)
HEIGHT, WIDTH, CLASSES, IGNORED = 16, 24, 4, 255
TRAINING, TESTING, BATCH = 14, 5, 6  # the last batch of an epoch has two images: a replica has both
WEIGHTS, SMOOTHING, DICE = [0.5, 1.0, 2.0, 1.0], 0.1, 0.6
LR, MOMENTUM = 0.05, 0.9
MEAN, DEVIATION = 0.5, 0.25


# ---- The U-Net, as it is usually written.

class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs, norm):
        super().__init__()
        layers = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), norm(outputs), nn.Tanh()]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs, outputs, norm):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs, norm))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, inputs, outputs, norm):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.conv = DoubleConv(2 * outputs, outputs, norm)

    def forward(self, x, skip):
        y = self.up(x, output_size=skip.shape[2:])
        return self.conv(torch.cat((skip, y), 1))


class Last(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d, width=8):
        super().__init__()
        self.inc = DoubleConv(3, width, norm)
        self.down1, self.down2 = Down(width, 2 * width, norm), Down(2 * width, 4 * width, norm)
        self.up1, self.up2 = Up(4 * width, 2 * width, norm), Up(2 * width, width, norm)
        self.outc = Last(width, CLASSES)

    def forward(self, x):
        first = self.inc(x)
        second = self.down1(first)
        return self.outc(self.up2(self.up1(self.down2(second), second), first))


# ---- The data: noise, and masks that follow it a little; of one training image no pixel counts.

def make_pairs(folder, count, seed, sizes):
    random = numpy.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    images, masks = [], []
    for i in range(count):
        height, width = sizes[i % len(sizes)]
        image = random.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
        mask = (image[:, :, 0] // 64).astype(numpy.uint8)
        mask[random.random((height, width)) < 0.1 * (i % 5)] = IGNORED
        if i == 3:
            mask[:] = IGNORED
        (folder / "images" / f"{i:03}.png").write_bytes(harness.png(height, width, image.tobytes()))
        (folder / "masks" / f"{i:03}.png").write_bytes(
            harness.png(height, width, mask.tobytes(), harness.GREY))
        images.append(torch.from_numpy((image / 255.0 - MEAN) / DEVIATION).permute(2, 0, 1))
        masks.append(torch.from_numpy(mask.astype(numpy.int64)))
    return images, masks


def loss_of(logits, labels):
    loss = functional.cross_entropy(logits, labels, torch.tensor(WEIGHTS).double(), ignore_index=IGNORED,
                                    label_smoothing=SMOOTHING)
    counted = (labels != IGNORED)[:, None].double()
    p = logits.softmax(1) * counted
    truth = functional.one_hot(labels.clamp(max=CLASSES), CLASSES + 1).permute(0, 3, 1, 2)[:, :CLASSES] * counted
    both, sums = (p * truth).sum((0, 2, 3)), p.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return loss + DICE * (1 - (2 * both + 1e-5) / (sums + 1e-5)).mean()


class SegmentationTorch(harness.TestCase):
    def setUp(self):
        super().setUp()
        size = [(HEIGHT, WIDTH)]
        self.training = make_pairs(self.folder / "data" / "train", TRAINING, 1, size)
        self.testing = make_pairs(self.folder / "data" / "test", TESTING, 2, [*size, (13, 24), (16, 9)])
        (self.folder / "data" / "classes.txt").write_text("".join(f"class {k}\n" for k in range(CLASSES)))
        self.settings = {
            "replicas": 3, "batch_per_replica": 2, "steps": 5, "drop_last": False, "norm": "syncbn",
            "data": {"dataset": "segmentation_folder", "path": str(self.folder / "data"), "shuffle": False,
                     "images": {"height": HEIGHT, "width": WIDTH, "mean": [MEAN] * 3, "std": [DEVIATION] * 3}},
            "model": {"architecture": "unet", "width": 8, "depth": 2, "activation": "tanh"},
            "loss": {"label_smoothing": SMOOTHING, "dice": DICE, "class_weights": WEIGHTS},
            "optimizer": {"lr": LR, "momentum": MOMENTUM}, "evaluation": {"every_steps": 5},
            "checkpoint": {"every_steps": 1, "keep": 10}}

    def load(self, run, step, **options):
        model = UNet(**options)
        state = {k: torch.from_numpy(v) for k, v in run.model(step).items()}
        model.load_state_dict(state, strict=True)
        return model.double()

    def replay(self, model):
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
        images, masks = torch.stack(self.training[0]), torch.stack(self.training[1])
        losses = []
        for first in (0, 6, 12, 0, 6):
            optimizer.zero_grad()
            loss = loss_of(model(images[first:first + BATCH]), masks[first:first + BATCH])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def follow(self, norm, torch_norm, ranks):
        run = self.train(f"run-{ranks}", {**self.settings, "norm": norm}, ranks=ranks)
        model = self.load(run, 0, norm=torch_norm)
        model.train()
        losses = self.replay(model)
        for ours, theirs in zip(run.losses, losses):
            self.assertAlmostEqual(ours, theirs, delta=2e-5 * theirs)
        trained = run.model(5)
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            error = numpy.abs(trained[name] - value.numpy()).max()
            self.assertLess(error, 2e-4 * max(1.0, numpy.abs(value.numpy()).max()), name)
        return run

    def test_losses_weights_and_statistics(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                self.follow("syncbn", nn.BatchNorm2d, ranks)

    def test_without_a_batch(self):
        self.follow({"kind": "group", "groups": 4}, lambda channels: nn.GroupNorm(4, channels), 3)

    def test_evaluation(self):
        """Whole images of other sizes: padded with ignored pixels here, cut to size there."""
        run = self.train("run", self.settings)
        model = self.load(run, 5)
        model.eval()
        height, width = HEIGHT, WIDTH
        both, either, right, counted = numpy.zeros(CLASSES), numpy.zeros(CLASSES), 0, 0
        with torch.no_grad():
            for image, mask in zip(*self.testing):
                padded = torch.full((3, height, width), 0.0).double()
                padded[:, :image.shape[1], :image.shape[2]] = image
                found = model(padded[None])[0, :, :image.shape[1], :image.shape[2]].argmax(0)
                inside = mask != IGNORED
                right += int((found == mask)[inside].sum())
                counted += int(inside.sum())
                for k in range(CLASSES):
                    truth, said = (mask == k) & inside, (found == k) & inside
                    both[k] += int((truth & said).sum())
                    either[k] += int((truth | said).sum())
        last = [e for e in run.evals if e["split"] == "test"][-1]
        self.assertAlmostEqual(last["accuracy"], right / counted, delta=2 / counted)
        self.assertAlmostEqual(last["mean_iou"], float((both / either).mean()), delta=2e-3)


if __name__ == "__main__":
    harness.main()
