"""The report page: its data against the logs, and the page itself in a headless Chromium."""
import csv
import html
import io
import json
import os
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import harness

CHROMIUM = shutil.which("chromium")
MLP = {"model.architecture": "mlp", "model.hidden": [16], "evaluation.every_steps": 2,
       "steps": 6, "metrics.every_steps": 2}


def page_data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))


def figure(data, title):
    (found,) = [f for f in data["figures"] if f["title"] == title]
    return found


class Report(harness.TestCase):
    def report(self, folder):
        result = harness.run("report", folder)
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.out, f"{folder}/report.html\n")
        return Path(folder, "report.html").read_text()

    def study(self, compare, **settings):
        path = harness.write_experiment(self.folder / "study.yaml", {**MLP, **settings},
                                        run_dir=self.folder / "study", compare=compare)
        result = harness.run("compare", path)
        self.assertEqual(result.code, 0, result.err)
        return self.folder / "study"


class Files(Report):
    def test_what_is_no_file_is_refused(self):
        """A pipe would be read for ever."""
        run = self.train("run", MLP, arguments=["checkpoint.every_steps=2"])
        flight = run.folder / "flight"
        flight.mkdir(exist_ok=True)
        cases = [("metrics.jsonl", ["report", run.folder]), ("metrics.jsonl", ["report", "--csv", run.folder]),
                 ("metrics.jsonl", ["train", self.folder / "run.yaml", "--resume", "auto"]),
                 ("summary.json", ["report", run.folder]), ("flight/rank-0.jsonl", ["inspect", "--flight", flight])]
        for name, command in cases:
            with self.subTest(name=name, command=command[0]):
                path, aside = run.folder / name, self.folder / "aside"
                if path.exists():
                    path.rename(aside)
                os.mkfifo(path)
                result = harness.run(*command, timeout=20)
                path.unlink()
                if aside.exists():
                    aside.rename(path)
                self.assertEqual(result.code, 2, result.err)
                self.assertIn(f"{path}: is not a regular file; ", result.err)


class Data(Report):
    def test_a_run_shows_its_log(self):
        run = self.train("run", {**MLP, "norm": "syncbn"})
        data = page_data(self.report(run.folder))
        self.assertEqual((data["kind"], data["name"]), ("run", "tiny"))
        (loss,) = figure(data, "Training loss over updates")["lines"]
        self.assertEqual(loss["x"], [1, 2, 3, 4, 5, 6])
        self.assertEqual(loss["y"], run.losses)
        test, training = figure(data, "Accuracy over updates")["lines"]
        self.assertEqual((test["name"], training["name"]), ("test", "training batches"))
        self.assertEqual(list(zip(test["x"], test["y"])),
                         [(e["step"], e["accuracy"]) for e in run.evals])
        over_time = figure(data, "Accuracy over time")["lines"][0]
        self.assertAlmostEqual(over_time["x"][-1], sum(e["seconds"] for e in run.steps), places=9)
        (bar,) = figure(data, "Where a step's time goes")["bars"]
        self.assertAlmostEqual(sum(bar["values"]),
                               1e3 * statistics.mean(e["seconds"] for e in run.steps), places=6)
        self.assertAlmostEqual(bar["values"][1], 1e3 * statistics.mean(
            e["reduction_seconds"] for e in run.steps), places=6)
        rows = {row[0]: row[1:] for row in data["settings"]["rows"]}
        self.assertEqual(rows["model.architecture"], ["mlp", "resnet20"])
        self.assertEqual(rows["steps"][0], "6")
        self.assertNotIn("optimizer.momentum", rows)
        row = data["every_setting"]["rows"][0]
        self.assertEqual(row[2], f"{100 * run.summary['test_accuracy']:.2f}%")

    def test_a_study_groups_seeds_and_batches(self):
        folder = self.study({"norm": ["bn", "gn"], "batch_per_replica": [2, 4], "seed": [1, 2]},
                            **{"replicas": None, "batch_per_replica": None, "global_batch": 8,
                               "norm": None})
        data = page_data(self.report(folder))
        errors = figure(data, "Test error against batch per replica")["lines"]
        self.assertEqual([line["name"] for line in errors], ["bn", "gn"])
        seeds = [1 - harness.Run(folder / f"norm=gn,batch_per_replica=4,seed={seed}")
                 .summary["test_accuracy"] for seed in (1, 2)]
        self.assertEqual(errors[1]["x"], [2, 4])
        self.assertAlmostEqual(errors[1]["y"][1], statistics.mean(seeds), places=12)
        self.assertEqual([errors[1]["low"][1], errors[1]["high"][1]], [min(seeds), max(seeds)])
        losses = [harness.Run(folder / f"norm=bn,batch_per_replica=2,seed={seed}").losses
                  for seed in (1, 2)]
        line = figure(data, "Training loss over updates, 2 images per replica")["lines"][0]
        self.assertEqual(line["low"], [min(pair) for pair in zip(*losses)])
        self.assertEqual(line["high"], [max(pair) for pair in zip(*losses)])
        self.assertEqual(data["by_batch"]["columns"],
                         ["test accuracy", "2 per replica", "4 per replica"])
        (first, second) = figure(data, "Where a step's time goes, 4 images per replica")["bars"]
        self.assertEqual((first["name"], second["name"]), ("bn", "gn"))
        mean, deviation = statistics.mean(seeds), statistics.stdev(seeds)
        self.assertEqual(data["by_batch"]["rows"][1][2],
                         f"{100 - 100 * mean:.2f}% ± {100 * deviation:.2f}")
        varied = {row[0]: row[1] for row in data["settings"]["rows"]}
        self.assertEqual(varied["batch_per_replica"], "2 · 4")
        self.assertEqual(varied["norm.kind"], "batch · group")
        self.assertNotIn("gn, batch_per_replica=2: B", " ".join(data["warnings"]))
        self.assertIn("bn, batch_per_replica=2: BatchNorm statistics come from only 2 images "
                      "(1 replica of 2 images).", data["warnings"])

    def test_settings_are_named_briefly(self):
        folder = self.study({"norm": [{"kind": "batch", "synced_replicas": 2}, "bn"]}, norm=None,
                            **{"evaluation.every_steps": 0, "evaluation.every_epochs": 0})
        data = page_data(self.report(folder))
        self.assertEqual([row[0] for row in data["every_setting"]["rows"]],
                         ["batch, synced_replicas=2", "bn"])
        titles = [f["title"] for f in data["figures"]]
        self.assertNotIn("Accuracy over updates", titles)  # of one evaluation each
        self.assertIn("Accuracy over time", titles)

    def test_a_share_in_many_settings_is_told_as_a_range(self):
        for count, expected in ((4, r": 20% with one=0; 30% with one=1; .*; 50% with one=3\."),
                                (5, r": 20% to 60% in 5 of 5 settings, the largest with one=4\.")):
            folder = self.folder / str(count)
            runs = []
            for i in range(count):
                run = folder / f"run{i}"
                run.mkdir(parents=True)
                (run / "metrics.jsonl").write_text('{"event": "start"}\n')
                (run / "summary.json").write_text(
                    json.dumps({"status": "done", "data_share": 0.2 + 0.1 * i}))
                runs.append({"folder": run.name, "settings": {"one": str(i)}})
            (folder / "study.json").write_text(json.dumps({"name": "many", "runs": runs}))
            warnings = " ".join(page_data(self.report(folder))["warnings"])
            self.assertRegex(warnings, "waiting for data" + expected)

    def test_probes_are_drawn_by_layer(self):
        run = self.train("run", {**MLP, "norm": "syncbn", "model.hidden": [16, 12],
                                 "probes.every_steps": 2, "probes.landscape": True,
                                 "probes.covariate_shift": True})
        data = page_data(self.report(run.folder))
        events = run.of("probe")
        (line,) = figure(data, "Input of fc2")["lines"]
        found = [e["activations"]["fc2"] for e in events]
        self.assertEqual(line["x"], [2, 4, 6])
        self.assertEqual([line["low"], line["y"], line["high"]],
                         [[a[p] for a in found] for p in ("p15", "p50", "p85")])
        (line,) = figure(data, "Values of the input of fc")["lines"]
        counts = events[-1]["activations"]["fc"]["histogram"]
        self.assertEqual(line["y"], [c / sum(counts) for c in counts])
        (line,) = figure(data, "Loss along the gradient")["lines"]
        self.assertEqual(line["y"], [run.losses[e["step"] - 1] for e in events])
        self.assertEqual(line["low"], [e["landscape"]["loss_low"] for e in events])
        self.assertEqual(line["high"], [e["landscape"]["loss_high"] for e in events])
        (line,) = figure(data, "Covariate shift of fc")["lines"]
        self.assertEqual(line["y"], [e["covariate_shift"]["fc"]["distance"] for e in events])
        (line,) = figure(data, "Dead channels at the input of fc")["lines"]
        self.assertEqual(line["y"], [a["dead"] for a in (e["activations"]["fc"] for e in events)])
        self.assertRegex(" ".join(data["warnings"]), r"probes took \d+\.\d s in addition to")

    def test_the_warning_of_few_images_tells_their_spread(self):
        run = self.train("run", {**MLP, "norm": "bn", "model.hidden": [16, 12], "replicas": 2,
                                 "batch_per_replica": 2, "probes.every_steps": 2,
                                 "probes.replica_spread": True})
        spread = run.of("probe")[-1]["replica_spread"]
        layer = max(spread, key=lambda name: spread[name]["mean"])
        self.assertIn("BatchNorm statistics come from only 2 images (1 replica of 2 images); at the last "
                      f"probe the replicas' means lay {spread[layer]['mean']:.2f} standard deviations "
                      f"from the mean of all replicas, at the input of {layer}.",
                      page_data(self.report(run.folder))["warnings"])

    def test_the_warning_of_a_gap_blames_the_statistics_of_few_images_only(self):
        for name, batch, is_suspect in (("few", 2, True), ("many", 16, False)):
            run = self.train(name, {**MLP, "steps": 10, "norm": "bn", "replicas": 2,
                                    "batch_per_replica": batch})
            log = run.folder / "metrics.jsonl"
            step = re.compile(r'("event":"step".*?"accuracy":)[\d.]+')
            log.write_text(step.sub(r"\g<1>0.9", log.read_text()))
            summary = {**run.summary, "test_accuracy": 0.5}
            (run.folder / "summary.json").write_text(json.dumps(summary))
            (warning,) = [text for text in page_data(self.report(run.folder))["warnings"]
                          if text.startswith("training accuracy is 90.0% at the end, but test accuracy 50")]
            self.assertEqual("running statistics may not fit" in warning, is_suspect)

    def test_runs_that_are_not_there_or_diverged_are_told(self):
        path = harness.write_experiment(
            self.folder / "study.yaml", {**MLP, "norm": "none"}, run_dir=self.folder / "study",
            compare={"optimizer.lr": [0.01, 1e30]})
        harness.run("compare", path, "--only", "2/2")
        data = page_data(self.report(self.folder / "study"))
        self.assertRegex(" ".join(data["warnings"]),
                         r"optimizer.lr=1(\.0)?e\+?30: 1 of 1 run diverged at update \d+\.")
        self.assertIn("Not started: 1 of 2 runs.", data["warnings"])

    def test_a_folder_of_runs_is_compared_by_their_names(self):
        (self.folder / "a").mkdir()
        self.train("a/one", MLP)
        self.train("a/two", {**MLP, "seed": 4})
        data = page_data(self.report(self.folder / "a"))
        self.assertEqual([row[0] for row in data["every_setting"]["rows"]], ["one", "two"])

    def test_what_holds_no_run_is_refused(self):
        (self.folder / "empty").mkdir()
        for folder in ("empty", "none"):
            result = harness.run("report", self.folder / folder)
            self.assertEqual(result.code, 2)
            self.assertIn("holds neither a run (metrics.jsonl) nor a study", result.err)

    def test_names_cannot_break_out_of_the_page(self):
        run = self.train("run", MLP)
        log = run.folder / "metrics.jsonl"
        log.write_text(log.read_text().replace('"name":"tiny"', '"name":"</script><b>tiny"'))
        page = self.report(run.folder)
        self.assertEqual(page.count("</script>"), 2)
        self.assertEqual(page_data(page)["name"], "</script><b>tiny")
        self.assertNotRegex(page, r"(src|href)=\"(?!data:,)")


# Uses the page as a reader does and tells what happened. A saved file is caught on its way.
EXERCISE = """<script>
const told = { errors: [], saved: {} };
addEventListener("error", (event) => told.errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => told.errors.push(event.violatedDirective));
let made = null;
Blob = class { constructor(parts) { made = parts.join(""); } };
URL.createObjectURL = () => "data:,";
HTMLAnchorElement.prototype.click = function () { told.saved[this.download] = made; };
setTimeout(() => {
  const node = [...document.querySelectorAll("figure")].find((f) => f.querySelector("h3").textContent === "TITLE");
  const svg = () => node.querySelector(".plot > svg");
  const box = svg().getBoundingClientRect();
  svg().dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + 0.99 * box.width, clientY: box.top + 50 }));
  told.tip = node.querySelector(".tip").innerText;
  told.tipHidden = node.querySelector(".tip").hidden;
  svg().dispatchEvent(new PointerEvent("pointerleave"));
  told.tipHiddenAfter = node.querySelector(".tip").hidden;
  svg().dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  told.tipByKey = node.querySelector(".tip").innerText;
  const lines = () => svg().querySelectorAll("path.line").length;
  const button = node.querySelector(".legend button");
  told.lines = [lines()];
  button.click();
  told.lines.push(lines());
  told.pressed = button.getAttribute("aria-pressed");
  button.click();
  told.lines.push(lines());
  for (const save of node.querySelectorAll(".save button")) save.click();
  const drawn = () => svg().viewBox.baseVal.width;
  told.drawn = [drawn()];
  for (const event of ["beforeprint", "afterprint"]) {
    dispatchEvent(new Event(event));
    told.drawn.push(drawn());
  }
  const root = document.documentElement;
  told.cut = [...document.querySelectorAll(".plot > svg text")].filter((text) => {
    const inner = text.getBoundingClientRect(), outer = text.ownerSVGElement.getBoundingClientRect();
    return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  }).map((text) => text.textContent);
  told.width = [innerWidth, root.scrollWidth - root.clientWidth];
  told.colors = [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color];
  for (const rule of document.styleSheets[0].cssRules) if (rule.media?.mediaText === "print") rule.media.mediaText = "all";
  told.headers = 0;
  told.broken = [];
  for (const { firstChild } of document.querySelectorAll("th")) {
    for (const word of firstChild.data.matchAll(/[\\w.%/]+/g)) {
      const range = document.createRange();
      range.setStart(firstChild, word.index);
      range.setEnd(firstChild, word.index + word[0].length);
      told.headers += 1;
      if (range.getClientRects().length > 1) told.broken.push(word[0]);
    }
  }
  told.figures = document.querySelectorAll("figure").length;
  parent.postMessage(JSON.stringify(told), "*");
}, 1000);
</script>"""

# Chromium's window is never narrower than 500 pixels, a frame in it is. It begins at another width.
FRAME = """<!doctype html><link rel="icon" href="data:,">
<iframe srcdoc="PAGE" style="width: 700px; height: 900px; border: 0"></iframe>
<script>
addEventListener("message", (event) => document.body.append(
  Object.assign(document.createElement("pre"), { id: "told", textContent: event.data })));
setTimeout(() => { document.querySelector("iframe").style.width = "WIDTHpx"; }, 400);
</script>"""


@harness.unittest.skipUnless(CHROMIUM, "Chromium is not installed")
class Page(Report):
    def browse(self, page, title, *arguments, width=1200):
        """Opens the page, uses its figure `title`; returns what happened and the console's lines."""
        page = page.replace("<main>", EXERCISE.replace("TITLE", title) + "<main>")
        path = self.folder / "frame.html"
        path.write_text(FRAME.replace("WIDTH", str(width)).replace("PAGE", html.escape(page)))
        result = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             f"--user-data-dir={self.folder / 'profile'}", "--window-size=1300,1000",
             "--virtual-time-budget=5000", "--dump-dom", *arguments, path.as_uri()],
            capture_output=True, text=True, timeout=120, check=True)
        console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
        told = re.search(r'<pre id="told">(.*?)</pre>', result.stdout, re.DOTALL)
        self.assertTrue(told, result.stdout[-2000:] + result.stderr)
        return json.loads(html.unescape(told.group(1))), console

    def test_at_desktop_and_phone_widths(self):
        # With probes: among them are figures whose values are all 0, or 1 but for rounding.
        folder = self.study({"norm": ["bn", "gn"], "seed": [1, 2]}, norm=None,
                            **{"probes.every_steps": 2, "probes.landscape": True,
                               "probes.covariate_shift": True, "probes.signal_to_noise": True,
                               "probes.replica_spread": True})
        page = self.report(folder)
        data = page_data(page)
        title = "Accuracy over updates"
        lines = figure(data, title)["lines"]
        for width in (1200, 390):
            told, console = self.browse(page, title, width=width)
            self.assertEqual((told["errors"], console), ([], []))
            self.assertEqual(told["width"], [width, 0])  # nothing wider than the window
            self.assertEqual(told["cut"], [])
            self.assertGreater(told["headers"], 10)
            self.assertEqual(told["broken"], [])  # on paper as wide as the window
            self.assertEqual(told["figures"], len(data["figures"]))
            self.assertEqual((told["tipHidden"], told["tipHiddenAfter"]), (False, True))
            self.assertIn("6 updates", told["tip"])
            self.assertIn("4 updates", told["tipByKey"])  # from the first point to the next
            for line in lines:
                value = f"{100 * line['y'][-1]:.2f}".rstrip("0").rstrip(".")
                self.assertIn(f"{line['name']}: {value}%", told["tip"])
            self.assertEqual((told["lines"], told["pressed"]), ([2, 1, 2], "false"))
            self.assertEqual(told["drawn"], [told["drawn"][0], 360, told["drawn"][0]])  # on paper
            rows = list(csv.DictReader(io.StringIO(told["saved"]["accuracy-over-updates.csv"])))
            self.assertEqual([float(r["accuracy"]) for r in rows],
                             [y for line in lines for y in line["y"]])
            svg = told["saved"]["accuracy-over-updates.svg"]
            self.assertIn('xmlns="http://www.w3.org/2000/svg"', svg)
            self.assertIn(">bn</text>", svg)
            self.assertNotIn("var(", svg)

    def test_dark_where_the_reader_prefers_it(self):
        run = self.train("run", MLP)
        page = self.report(run.folder)
        light, _ = self.browse(page, "Training loss over time")
        dark, console = self.browse(page, "Training loss over time",
                                    "--blink-settings=preferredColorScheme=0")
        self.assertEqual((dark["errors"], console), ([], []))
        self.assertEqual(light["colors"], ["rgb(255, 255, 255)", "rgb(29, 33, 38)"])
        self.assertEqual(dark["colors"], ["rgb(20, 24, 28)", "rgb(228, 232, 236)"])


if __name__ == "__main__":
    harness.main()
