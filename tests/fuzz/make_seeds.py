#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus: small valid files of every format, and broken ones.

    tests/fuzz/make_seeds.py [FOLDER]        writes them anew; what fuzzing found (found-*) is left alone

Seeds begin with valid- or bad-; the targets are those of tests/fuzz/targets.cpp.
"""
import base64
import gzip
import json
import struct
import sys
import zlib
from pathlib import Path

CORPUS = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "corpus"


def write(target, seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("valid-*"), *folder.glob("bad-*")]:
        old.unlink()
    for name, content in seeds.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def lines(*events):
    return "".join(json.dumps(event) + "\n" for event in events)


# ---- Configuration.

WHOLE = """\
name: whole
seed: 7
replicas: 4
batch_per_replica: 2
epochs: 2
drop_last: false
data: {dataset: synthetic, limit: 10, augment: [random_crop, horizontal_flip]}
evaluation: {every_epochs: 1}
model: {architecture: mlp, hidden: [8, 4]}
norm: {kind: batch, synced_replicas: 2, eps: 1.0e-5, momentum: 0.1}
optimizer: {kind: adamw, lr: 0.1, weight_decay: 1.0e-4}
schedule: {kind: cosine, warmup_steps: 10}
checkpoint: {every_steps: 5, keep: 2}
fault: {deadline: 30}
metrics: {prometheus: true, listen: "127.0.0.1:0"}
run_dir: runs/whole
"""
LAYERS = """\
model:
  layers:
    - {type: conv, out: 4, kernel: 3, padding: 1, bias: false}
    - norm
    - {type: relu, name: trunk}
    - {type: conv, out: 4, kernel: 3, padding: 1}
    - {type: add, from: trunk}
"""


def configuration():
    write("experiment", {
        "valid-whole": WHOLE, "valid-empty-map": "{}", "valid-layers": LAYERS,
        "valid-anchor": "name: &n a\nrun_dir: *n\n", "valid-quoted": 'data: {path: "a \\u00e4"}\n',
        "bad-empty": "", "bad-comment": "# only a comment\n", "bad-list": "- a\n",
        "bad-second-document": "seed: 1\n---\nseed: 2\n", "bad-twice": "seed: 1\nseed: 2\n",
        "bad-quotes": "data: {path: &p 'it''s\n", "bad-tab": "data:\n\tlimit: 1\n",
        "bad-tag": "seed: !!int 3\n", "bad-merge": "<<: {seed: 1}\n", "bad-key": "? [a]\n: 1\n",
        "bad-cycle": "data: &d {limit: 1, synthetic: *d}\n", "bad-anchor": "seed: *nowhere\n",
        "bad-laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
        "bad-number": "epochs: 1e3\nseed: 0x10\noptimizer: {lr: 1..2}\n",
        "bad-utf8": b"name: \xc0\xaf\xff\n", "bad-control": "name: a\x00b\n",
        "bad-deep": "[" * 200, "bad-study": "compare: {seed: [1, 2]}\n"})
    write("override", {
        "valid-some": "seed=3\nnorm=syncbn\noptimizer.lr=0.5\nmodel.hidden=[1, 2]",
        "valid-map": "data={dataset: synthetic, limit: 4}", "bad-twice": "seed=1\nseed=2",
        "bad-equals": "seed:3", "bad-key": "=3\na b=3", "bad-value": "seed=[1\nname=",
        "bad-unknown": "optimizer.rl=1\nnorm.groups.x=1"})
    write("study", {
        "valid-compare": "name: st\ncompare:\n  norm: [bn, gn]\n  seed: [1, 2, 3]\n",
        "valid-runs": "name: st\nruns:\n  - {norm: bn}\n  - {optimizer.lr: 0.5, seed: 2}\n",
        "valid-both": "compare: {seed: [1, 2]}\nruns: [{norm: bn}, {norm: ln}]\n",
        "bad-none": "name: st\n", "bad-empty": "compare: {seed: []}\n",
        "bad-many": "compare:\n" + "".join(f"  {k}: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" for k in (
            "seed", "replicas", "batch_per_replica", "epochs", "norm.groups")),
        "bad-base": "_base_: study.yaml\ncompare: {seed: [1]}\n",
        "bad-folder": "compare: {name: [\"../x\", \"a/b\"]}\n"})
    write("trace", {
        "valid-whole": "inputs: [[1, 2, 3, 4], [0, 1, 0, 1]]\nweights: [[0.5, 1], [2, 1]]\n"
                       "norm: {kind: batch, deviation: l1, eps: 0.1}\n",
        "valid-none": "norm: none\n", "bad-shape": "inputs: [[1, 2], [3]]\nweights: [[1]]\n",
        "bad-number": "inputs: [[nan, inf, 1e999]]\n", "bad-key": "norm: {groups: 2}\n"})
    write("listen", {
        "valid-4": "127.0.0.1:9464", "valid-6": "[::1]:0", "valid-name": "localhost:1",
        "bad-port": "127.0.0.1:99999", "bad-host": "example.org:80", "bad-tls": "0.0.0.0:80s",
        "bad-empty": "", "bad-bracket": "[::1:80"})
    write("fault", {
        "valid-kill": "kill@1:3", "valid-nan": "nan@0:3:gradient", "valid-save": "enospc@0:4:save.7",
        "bad-kind": "melt@0:1", "bad-rank": "kill@-1:1", "bad-place": "kill@0:1:forward.2",
        "bad-number": "kill@0:99999999999999999999"})


# ---- Data.

def idx_file(shape, values):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(values)


def two(first, second):
    return struct.pack(">H", len(first)) + first + second


def data():
    images, labels = idx_file([3, 2, 2], range(12)), idx_file([3], [0, 9, 4])

    def packed(content):
        return gzip.compress(content, mtime=0)
    write("idx", {
        "valid-plain": two(images, labels), "valid-gzip": two(packed(images), packed(labels)),
        "valid-members": two(packed(images[:9]) + packed(b"") + packed(images[9:]) + bytes(9), labels),
        "bad-empty": b"", "bad-cut": two(images[:-1], labels), "bad-magic": two(b"\x01" + images, labels),
        "bad-count": two(images, idx_file([2], [0, 1])), "bad-label": two(images, idx_file([3], [0, 10, 1])),
        "bad-claim": two(idx_file([60000, 1000, 1000], []), labels),
        "bad-wrap": two(idx_file([65536, 65536, 65536], []), labels),
        "bad-bomb": two(packed(idx_file([1000, 1000, 1000], [])), labels),
        "bad-crc": two(packed(images)[:-8] + bytes(8), labels),
        "bad-more": two(packed(images) + b"x", labels)})
    picture = bytes(i % 251 for i in range(3072))
    write("cifar", {
        "valid-10": b"\x07" + picture, "valid-100": b"\x13\x63" + picture,
        "valid-two": (b"\x00" + picture) * 2, "bad-label": b"\x0a" + picture,
        "bad-coarse": b"\x14\x00" + picture, "bad-cut": b"\x07" + picture[:-1], "bad-empty": b""})


# ---- Images on disk.

# 8×8 pixels by Pillow, quality 20: baseline and progressive.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L"
    "2u71////m8H////6/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4"
    "+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAWEAEBAQAAAAAAAAAA"
    "AAAAAAAAA2H/xAAVAQEBAAAAAAAAAAAAAAAAAAACA//EABkRAAMAAwAAAAAAAAAAAAAAAAABAgMREv/aAAwDAQACEQMRAD8A"
    "mjDABqnsrit8n//Z")
PROGRESSIVE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L"
    "2u71////m8H////6/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4"
    "+Pj4+Pj4+Pj4+Pj4+Pj/wgARCAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAP/xAAVAQEBAAAAAAAAAAAA"
    "AAAAAAABAv/aAAwDAQACEAMQAAABkCv/xAAVEAEBAAAAAAAAAAAAAAAAAAABAP/aAAgBAQABBQIL/8QAFxEAAwEAAAAAAAAA"
    "AAAAAAAAAAECIf/aAAgBAwEBPwGXh//EABURAQEAAAAAAAAAAAAAAAAAAAEA/9oACAECAQE/AVv/xAAUEAEAAAAAAAAAAAAA"
    "AAAAAAAA/9oACAEBAAY/An//xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAE/IX//2gAMAwEAAgADAAAAEPf/xAAVEQEB"
    "AAAAAAAAAAAAAAAAAAAAAf/aAAgBAwEBPxC5/8QAFhEAAwAAAAAAAAAAAAAAAAAAAAER/9oACAECAQE/EGU//8QAFRABAQAA"
    "AAAAAAAAAAAAAAAAAGH/2gAIAQEAAT8Qi//Z")


def png_file(kind, depth, rows, width, extra=b"", claimed=None):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(
            ">I", zlib.crc32(name + content))
    header = struct.pack(">IIBBBBB", claimed or width, len(rows), depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) +
            chunk(b"IEND", b""))


def xxh64(data):
    """XXH64 with seed 0, as engine/data/content_hash.h."""
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                          0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
    mask = 2 ** 64 - 1

    def rotl(x, r):
        return ((x << r) | (x >> (64 - r))) & mask

    def mixed(lane, word):
        return rotl((lane + word * p2) & mask, 31) * p1 & mask
    value, at = p5, 0
    if len(data) >= 32:
        lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while at + 32 <= len(data):
            lanes = [mixed(x, w) for x, w in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        value = sum(rotl(x, r) for x, r in zip(lanes, (1, 7, 12, 18))) & mask
        for lane in lanes:
            value = ((value ^ mixed(0, lane)) * p1 + p4) & mask
    value = (value + len(data)) & mask
    while at + 8 <= len(data):
        value = (rotl(value ^ mixed(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= len(data):
        value = (rotl(value ^ (struct.unpack_from("<I", data, at)[0] * p1 & mask), 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        value = rotl(value ^ (byte * p5 & mask), 11) * p1 & mask
    value = (value ^ (value >> 33)) * p2 & mask
    value = (value ^ (value >> 29)) * p3 & mask
    return value ^ (value >> 32)


def index_file(header, *records):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = b"SYNCPACK" + struct.pack("<Q", len(text)) + text + b"".join(
        struct.pack("<IIQQQQQQII"[:1 + len(record)], *record) for record in records)
    return content + struct.pack("<Q", xxh64(content))


def many_scans(count):
    """A progressive JPEG of 16 × 16 grey pixels."""
    def segment(marker, content):
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content

    def table(kind, symbol):
        return segment(0xc4, bytes([kind, 1]) + bytes(15) + bytes([symbol]))

    def scan(first, body):
        return segment(0xda, bytes([1, 1, 0, first, first, 0])) + body
    return (b"\xff\xd8" + segment(0xdb, b"\0" + b"\1" * 64) +
            segment(0xc2, struct.pack(">BHHB", 8, 16, 16, 1) + b"\1\x11\0") + table(0, 0) +
            table(0x10, 0x20) + scan(0, b"\x0f") + scan(1, b"\x1f") * (count - 1) + b"\xff\xd9")


def images():
    rgb = png_file(2, 8, [bytes(range(12)), bytes(12)], 4)
    write("image", {
        "valid-jpeg": JPEG, "valid-progressive": PROGRESSIVE, "valid-png": rgb,
        "valid-grey": png_file(0, 1, [b"\xa0"], 3), "valid-16-bit": png_file(6, 16, [bytes(16)], 2),
        "valid-scans": many_scans(9), "bad-scans": many_scans(501),
        "bad-empty": b"", "bad-cut-jpeg": JPEG[:-20], "bad-cut-png": rgb[:-20], "bad-other": b"GIF89a",
        "bad-crc": rgb[:45] + b"x" + rgb[46:], "bad-claim": png_file(2, 8, [bytes(12)], 4, claimed=30000),
        "bad-wide": png_file(2, 8, [bytes(12)], 4, claimed=2 ** 31 - 1)})
    palette = struct.pack(">I", 12) + b"PLTE" + bytes(range(12)) + struct.pack(
        ">I", zlib.crc32(b"PLTE" + bytes(range(12))))
    grey = png_file(0, 8, [b"\0\1\2", b"\7\7\0"], 3)
    write("mask", {
        "valid-grey": grey, "valid-bits": png_file(0, 1, [b"\xa0"], 3),
        "valid-palette": png_file(3, 2, [b"\x1b"], 4, palette),
        "valid-label": png_file(0, 8, [b"\0\3\xff"], 3),
        "bad-empty": b"", "bad-cut": grey[:-20], "bad-jpeg": JPEG, "bad-rgb": rgb,
        "bad-16-bit": png_file(0, 16, [bytes(4)], 2), "bad-alpha": png_file(4, 8, [bytes(4)], 2),
        "bad-claim": png_file(0, 8, [bytes(3)], 3, claimed=30000)})
    header = {"format": 2, "classes": ["ant", "bee"], "shards": [{"name": "a.tar", "bytes": 2048}],
              "train": 2, "test": 1}
    records = (0, 0, 512, 100, 1), (0, 1, 1024, 100, 2), (0, 1, 1536, 512, 3)
    whole = index_file(header, *records)
    pairs = {"format": 3, "classes": [], "class_count": 3, "ignore_label": 255,
             "shards": [{"name": "a.tar", "bytes": 4096}], "train": 1, "test": 1}
    pair_records = (0, 0, 512, 100, 1, 1536, 60, 4, 11, 13), (0, 0, 2048, 512, 3, 3072, 1024, 5, 0, 0)
    write("pack_index", {
        "valid-pairs": index_file(pairs, *pair_records),
        "valid-pair-names": index_file({**pairs, "classes": ["x", "y", "z"]}, *pair_records),
        "bad-pair-names": index_file({**pairs, "classes": ["x"]}, *pair_records),
        "bad-pair-count": index_file({**pairs, "class_count": 0}, *pair_records),
        "bad-pair-far": index_file(pairs, (0, 0, 512, 100, 1, 612, 9999, 4, 1, 1), pair_records[1]),
        "bad-pair-before": index_file(pairs, (0, 0, 512, 100, 1, 0, 60, 4, 1, 1), pair_records[1]),
        "valid-whole": whole, "valid-more-classes": index_file({**header, "classes": ["x"] * 9}, *records),
        "valid-folder": index_file({**header, "folder_fingerprint": "0123456789abcdef"}, *records),
        "bad-folder": index_file({**header, "folder_fingerprint": 3}, *records),
        "bad-empty": b"", "bad-cut": whole[:-1], "bad-sum": whole[:-1] + b"x", "bad-magic": b"x" + whole,
        "bad-format": index_file({**header, "format": 1}, *records),
        "bad-header": index_file(b"{]", *records), "bad-claim": b"SYNCPACK" + b"\xff" * 8,
        "bad-count": index_file({**header, "train": 2 ** 63}, *records),
        "bad-type": index_file({**header, "classes": 3}, *records),
        "bad-name": index_file({**header, "shards": [{"name": "../a", "bytes": 2048}]}, *records),
        "bad-range": index_file(header, (0, 0, 2 ** 64 - 1, 100, 1), *records[1:]),
        "bad-label": index_file(header, (0, 2, 0, 1, 1), *records[1:])})


# ---- Checkpoints.

def tensors(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


MANIFEST = {"format_version": 1, "step": 4, "epoch": 1, "sample_position": 0, "last": False,
            "best_step": -1, "best_validation_accuracy": -1.0, "data_fingerprint": "abc",
            "files": {"model.safetensors": {"bytes": 1, "crc32": f"{zlib.crc32(b'm'):08x}"}},
            "config": "name: x\n"}


def checkpoints():
    one = entry(0, 4, [1])
    seeds = {
        "valid-two": tensors({"a.weight": entry(0, 24, [2, 3]), "n": entry(24, 32, [], "I64")}, bytes(32)),
        "valid-f64": tensors({"__metadata__": {"format": "pt"}, "x": entry(0, 8, [1], "F64")}, bytes(8)),
        "valid-empty": tensors({}), "valid-none": tensors({"a": entry(0, 0, [0, 3])}),
        "valid-order": tensors({"b": entry(4, 8, [1]), "a": one}, bytes(8)),
        "valid-empty-last": tensors({"a": one, "b": entry(0, 0, [0])}, bytes(4)),
        "bad-metadata": tensors({"__metadata__": {"a": 1}}), "bad-space": tensors(b" {}"),
        "bad-short": b"abc", "bad-claim": b"\xff" * 8 + b"{}", "bad-json": tensors(b"{"),
        "bad-list": tensors([1]), "bad-more": tensors({"a": one}, bytes(8)),
        "bad-hole": tensors({"a": entry(4, 8, [1])}, bytes(8)),
        "bad-overlap": tensors({"a": one, "b": one}, bytes(8)),
        "bad-dtype": tensors({"a": entry(0, 4, [2], "F16")}, bytes(4)),
        "bad-negative": tensors({"a": entry(0, 4, [-1])}, bytes(4)),
        "bad-wrap": tensors({"a": entry(0, 0, [1 << 62, 4])}),
        "bad-twice": tensors(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
                             b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
        "bad-deep": tensors(b'{"a":' * 40 + b"1" + b"}" * 40), "bad-zero": tensors(b"", b"", 0)}
    write("safetensors", seeds)
    write("weights", {
        "valid-two": seeds["valid-two"], "bad-pickle": b"\x80\x02}q\x00.", "bad-zip": b"PK\x03\x04" + bytes(30),
        "bad-short": b"\x80", "bad-claim": seeds["bad-claim"]})

    def changed(**changes):
        return json.dumps({**MANIFEST, **changes})
    write("manifest", {
        "valid-one": json.dumps(MANIFEST), "valid-no-files": changed(files={}),
        "bad-empty": "", "bad-nothing": "{}", "bad-version": '{"format_version": 99}',
        "bad-path": changed(files={"../../etc/passwd": {"bytes": 1, "crc32": "0"}}),
        "bad-hidden": changed(files={"..": {"bytes": 1, "crc32": "0"}}),
        "bad-absent": changed(files={"absent": {"bytes": 1, "crc32": "0"}}),
        "bad-size": changed(files={"model.safetensors": {"bytes": -1, "crc32": "0"}}),
        "bad-sum": changed(files={"model.safetensors": {"bytes": 1, "crc32": "00000000"}}),
        "bad-type": changed(step="4", last=0), "bad-huge": changed(step=1e300, epoch=-1)})


# ---- What runs leave behind.

START = {"event": "start", "name": "r", "version": "0", "device": "cpu", "model": "mlp", "ranks": 2,
         "time": 1.7e9, "first_step": 0, "total_steps": 4, "train_samples": 64}
PROBE = {"event": "probe", "step": 2, "seconds": 0.1,
         "activations": {"conv1": {"p15": -1, "p50": 0, "p85": 1, "low": -2, "high": 2,
                                   "histogram": [1, 2, 1], "saturated": 0.5, "dead": 0.0}},
         "gradients": {"conv1": {"gradient_norm": 1.0, "update_ratio": 0.1}},
         "landscape": {"loss_low": 1, "loss_high": 2, "predictiveness": [0.1, 0.2], "smoothness": 3}}


def step(n, **more):
    return {"event": "step", "step": n, "epoch": 1, "loss": 2.0 / n, "lr": 0.1, "samples": 16,
            "seconds": 0.01, "accuracy": 0.5, "data_seconds": 0.001, "reduction_seconds": 0.002, **more}


def runs():
    evaluation = {"event": "eval", "step": 2, "epoch": 1, "split": "test", "loss": 1.0, "accuracy": 0.5}
    end = {"event": "end", "status": "done", "step": 2}
    logs = {
        "valid-whole": lines(START, step(1), step(2, gradient_norm=1.5), evaluation, end),
        "valid-probes": lines(START, step(1), step(2), PROBE),
        "valid-nan": lines(START, step(1, loss="nan", accuracy="inf"), evaluation),
        "valid-resumed": lines(START, step(1), {**START, "first_step": 1},
                               {"event": "resume", "step": 1, "path": "x"}, step(2)),
        "bad-empty": "", "bad-torn": lines(START, step(1))[:-30], "bad-list": "[1]\n3\nnull\n\"x\"\n",
        "bad-types": lines({"event": 3}, {**START, "time": "x", "model": 1}, {**step(1), "step": "1", "seconds": None}),
        "bad-huge": lines({**START, "time": 1e300, "total_steps": 1e300}, step(1, seconds=1e308), {**step(2), "step": 1e308}),
        "bad-utf8": b'{"event":"start","model":"\xff"}\n',
        "bad-probe": lines(START, {"event": "probe", "activations": [1], "gradients": 3,
                                   "landscape": {"predictiveness": {}}}),
        "bad-histogram": lines(START, {**PROBE, "activations": {"a": {"histogram": ["x"]}}})}
    write("run_log", logs)
    write("resumed_log", {name: logs[name] for name in (
        "valid-whole", "valid-resumed", "bad-torn", "bad-types", "bad-huge", "bad-utf8")})
    summary = {"status": "done", "step": 4, "test_accuracy": 0.5, "final_loss": 1.0,
               "samples_per_second": 100.0, "reduction_share": 0.3, "data_share": 0.2}
    write("summary", {
        "valid-whole": json.dumps(summary), "valid-other": json.dumps({**summary, "status": "diverged"}),
        "bad-empty": "", "bad-type": json.dumps({"status": 4, "step": "x", "test_accuracy": []}),
        "bad-list": "[]"})
    settings = {"norm": "bn", "batch_per_replica": "2", "seed": "1"}
    described = [{"folder": "seed=1", "settings": settings}]
    write("study_list", {
        "valid-one": json.dumps({"name": "s", "runs": described}),
        "valid-absent": json.dumps({"name": "s", "runs": [{"folder": "seed=2", "settings": {}}]}),
        "bad-empty": "", "bad-no-runs": json.dumps({"name": "s", "runs": []}),
        "bad-path": json.dumps({"name": "s", "runs": [{"folder": "../..", "settings": {}}]}),
        "bad-types": json.dumps({"name": 1, "runs": [{"folder": 2, "settings": {"norm": 3}}]})})
    head = {"event": "flight", "launch": "1-2.000", "rank": 0, "ranks": 2, "time": 2.0, "reason": "because"}
    wait = {"event": "wait", "number": 2, "time": 1.5, "step": 3, "instruction": 7, "name": "bn1 statistics"}
    write("flight", {
        "valid-whole": lines(head, {**wait, "event": "start", "number": 1}, wait,
                             {"event": "stack", "frame": "main"}),
        "valid-alone": lines({**head, "ranks": 1}, {**wait, "event": "mark", "instruction": -1}),
        "valid-no-events": lines({**head, "ranks": 1}),
        "bad-empty": "", "bad-torn": lines(head, wait)[:-9], "bad-rank": lines({**head, "rank": -5}),
        "bad-ranks": lines({**head, "ranks": 2147483647}), "bad-types": lines({**head, "rank": "x"}, wait)})
    right = base64.b64encode(b"user:secret").decode()
    write("authorization", {
        "valid-right": "Basic " + right, "valid-case": "bAsIc " + right, "bad-empty": "",
        "bad-scheme": "Bearer " + right, "bad-half": "Basic " + right[:-3], "bad-more": "Basic " + right + "x"})


if __name__ == "__main__":
    configuration()
    data()
    images()
    checkpoints()
    runs()
