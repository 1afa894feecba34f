"""TensorBoard event files, read by a reader written from the format's description, and CSV."""
import csv
import io
import re
import struct

import harness


def crc32c(data):
    """Bit by bit, as RFC 3720 describes it."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def records(data):
    """The records of a TFRecord file; a wrong checksum or a torn record is an error."""
    while data:
        (length,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        assert check == masked(data[:8])
        content, (check,) = data[12:12 + length], struct.unpack("<I", data[12 + length:16 + length])
        assert len(content) == length and check == masked(content)
        yield content
        data = data[16 + length:]


def fields(message):
    """(number, value) of a protocol buffer's fields: int, bytes, or the bytes of a fixed number."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(message):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            yield number, varint()
            continue
        size = {1: 8, 2: None, 5: 4}[kind]
        size = varint() if size is None else size
        yield number, message[at:at + size]
        at += size


def scalars(path):
    """(version of the file, {(tag, step): value}, wall times)."""
    version, found, times = None, {}, []
    for record in records(path.read_bytes()):
        event = dict(fields(record))
        times.append(struct.unpack("<d", event[1])[0])
        if 3 in event:
            assert version is None and not found
            version = event[3].decode()
        for _, value in fields(event.get(5, b"")):
            entry = dict(fields(value))
            (number,) = struct.unpack("<f", entry[2])
            assert (entry[1].decode(), event[2]) not in found
            found[entry[1].decode(), event[2]] = number
    return version, found, times


def sessions(path):
    """(step, whether a session starts there, tags) of every event, up to a torn one at the end."""
    data, at = path.read_bytes(), 0
    while at + 12 <= len(data):
        (length,) = struct.unpack("<Q", data[at:at + 8])
        event = dict(fields(data[at + 12:at + 12 + length]))
        at += 16 + length
        start = dict(fields(event.get(7, b""))).get(1) == 1
        yield event.get(2, 0), start, [dict(fields(v))[1].decode() for _, v in fields(event.get(5, b""))]


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


class Exports(harness.TestCase):
    def events_of(self, name):
        return sorted((self.folder / name).glob("events.out.tfevents.*"))

    def test_the_reader_knows_the_usual_check_value(self):
        self.assertEqual(crc32c(b"123456789"), 0xe3069283)

    def test_tensorboard_has_what_the_log_has(self):
        settings = {"steps": 150, "metrics.tensorboard": True, "optimizer.clip_norm": 5.0,
                    "data.validation": 16, "evaluation.every_epochs": 10}
        run = self.train("run", settings, ranks=2)
        path, = self.events_of("run")
        version, found, times = scalars(path)
        self.assertEqual(version, "brain.Event:2")
        self.assertEqual(times, sorted(times))
        expected = {}
        for step in run.steps:
            at = step["step"]
            expected.update({
                ("train/loss", at): step["loss"], ("train/accuracy", at): step["accuracy"],
                ("train/learning_rate", at): step["lr"],
                ("train/gradient_norm", at): step["gradient_norm"],
                ("time/step_seconds", at): step["seconds"],
                ("time/data_share", at): step["data_seconds"] / step["seconds"],
                ("time/exposed_reduction_share", at): step["reduction_seconds"] / step["seconds"],
                ("time/images_per_second", at): step["samples"] / step["seconds"]})
        for event in run.evals:
            expected[event["split"] + "/loss", event["step"]] = event["loss"]
            expected[event["split"] + "/accuracy", event["step"]] = event["accuracy"]
        self.assertGreater(len(expected), 8 * 150)
        self.assertEqual(found, {k: f32(v) for k, v in expected.items()})

    def test_a_resumed_run_adds_a_file_and_without_the_key_there_is_none(self):
        settings = {"metrics.tensorboard": True, "checkpoint.every_steps": 2}
        self.train("run", {**settings, "steps": 2})
        self.train("run", {**settings, "steps": 4}, arguments=["--resume", "auto"])
        files = self.events_of("run")
        self.assertEqual(len(files), 2)
        steps = [{step for tag, step in scalars(f)[1] if tag == "train/loss"} for f in files]
        self.assertEqual(sorted(steps, key=min), [{1, 2}, {3, 4}])
        self.train("plain", {})
        self.assertEqual(self.events_of("plain"), [])

    def test_steps_of_a_killed_run_are_taken_back(self):
        """As TensorBoard reads it: a session's start voids what older files say of later steps."""
        settings = {"metrics.tensorboard": True, "checkpoint.every_steps": 300, "steps": 100000,
                    "model.architecture": "mlp", "model.hidden": [4], "norm": "none"}
        path = harness.write_experiment(self.folder / "run.yaml", settings, run_dir=self.folder / "run")
        for _ in range(2):
            checkpoints = lambda: len(list((self.folder / "run").glob("checkpoints/step-*")))
            before = sum(f.stat().st_size for f in self.events_of("run"))
            process = harness.start("train", path, "--resume", "auto")
            harness.wait_for(lambda: checkpoints() >= 2 and
                             sum(f.stat().st_size for f in self.events_of("run")) > before + 50000, "events")
            process.kill()
            harness.finish(process)
        last = harness.Run(self.folder / "run").checkpoints()[-1]
        run = self.train("run", {**settings, "steps": last + 10}, arguments=["--resume", "auto"])
        files = self.events_of("run")
        self.assertEqual(len(files), 3)
        found, again = [], 0
        for file in files:
            for step, start, tags in sessions(file):
                if start:
                    again += sum(s >= step for s in found)
                    found = [s for s in found if s < step]
                found += [step] * ("train/loss" in tags)
        self.assertGreater(again, 0)  # steps behind the checkpoint, which were run twice
        self.assertEqual(found, [s["step"] for s in run.steps])
        self.assertEqual(found, list(range(1, last + 11)))

    def test_csv_has_what_the_log_has(self):
        run = self.train("run", {"evaluation.every_steps": 2})
        result = harness.run("report", "--csv", run.folder)
        self.assertEqual(result.code, 0, result.err)
        rows = list(csv.DictReader(io.StringIO(result.out, newline="")))
        logged = [e for e in run.events if e["event"] in ("step", "eval")]
        self.assertEqual(len(rows), len(logged))
        self.assertGreater(len(rows), 5)
        self.assertIn("class_accuracy_3", rows[0])
        for row, event in zip(rows, logged):
            given = {k: v for k, v in row.items() if v != ""}
            for i, accuracy in enumerate(event.pop("class_accuracy", [])):
                event[f"class_accuracy_{i}"] = accuracy
            self.assertEqual({k: v if k in ("event", "split") else float(v)
                              for k, v in given.items()}, event)

    def test_a_folder_without_a_run_and_a_report_without_a_form_are_refused(self):
        result = harness.run("report", "--csv", self.folder)
        self.assertEqual(result.code, 2)
        self.assertEqual(result.err, f"syncnorm: {self.folder}: holds no metrics.jsonl; give the "
                                     "folder of a run\n")
        self.assertEqual(harness.run("report", self.folder).code, 2)

    def test_every_run_says_where_its_time_went(self):
        path = harness.write_experiment(self.folder / "run.yaml", run_dir=self.folder / "run")
        result = harness.run("train", path, ranks=2)
        shares = (r"  the time went to: computing ([\d.]+)%, exposed reductions ([\d.]+)%, waiting "
                  r"for data ([\d.]+)%, evaluation ([\d.]+)%, checkpoints ([\d.]+)% of [\d.]+ s\n$")
        self.assertRegex(result.out, shares)
        self.assertAlmostEqual(sum(map(float, re.search(shares, result.out).groups())), 100,
                               delta=0.3)


if __name__ == "__main__":
    harness.main()
