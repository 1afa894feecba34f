"""A real Prometheus (launch/monitor) watches a run on two ranks: every query of both dashboards and
every rule returns data. And dashboards, rules and configuration are what their tools accept.
"""
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Long enough for all queries; the test stops it. With labels per pixel, a run has every metric.
RUN = {"data": {"dataset": "fashion_scenes",
                "scenes": {"height": 16, "width": 16, "train_samples": 80, "test_samples": 8}},
       "model": {"layers": [{"type": "conv", "out": 4, "kernel": 3, "padding": 1}, "norm", "relu",
                            {"type": "conv", "out": 11, "kernel": 1}]},
       "steps": 1000000, "norm": "syncbn", "evaluation.every_epochs": 5,
       "checkpoint.every_epochs": 20, "data.validation": 16, "optimizer.lr": 0.01,
       "metrics.prometheus": True, "metrics.listen": "127.0.0.1:0", "metrics.layers": True,
       "metrics.every_steps": 5}

if not Path("/usr/share/datasets/fashion-mnist").is_dir():
    harness.skip_file("needs Debian's package dataset-fashion-mnist")
if not shutil.which("prometheus") or not shutil.which("promtool"):
    harness.skip_file("Prometheus is not installed (launch/setup --tests brings it)")


def panels(path):
    return [p for p in json.loads(path.read_text())["panels"] if p["type"] != "row"]


def queries():
    """(dashboard, panel, query) of all panels."""
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                yield path.stem, panel["title"], target


class Files(harness.TestCase):
    def promtool(self, *arguments, cwd=None):
        result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True,
                                cwd=cwd)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout + result.stderr

    def test_promtool_accepts_rules_and_configuration(self):
        folder = self.folder / "prometheus"
        shutil.copytree(MONITORING / "prometheus", folder)
        (folder / "targets").mkdir()
        (folder / "targets" / "run.json").write_text('[{"targets": ["127.0.0.1:1"]}]')
        self.assertNotIn("WARN", self.promtool("check", "config", "prometheus.yml", cwd=folder))
        self.promtool("check", "rules", "recording.yml", "alerts.yml", cwd=folder)

    def test_every_alert_has_a_firing_and_a_quiet_case(self):
        folder = MONITORING / "prometheus"
        self.promtool("test", "rules", "alerts_test.yml", cwd=folder)
        alerts = re.findall(r"- alert: (\w+)", (folder / "alerts.yml").read_text())
        tests = (folder / "alerts_test.yml").read_text()
        self.assertEqual(len(alerts), 7)
        for alert in alerts:
            self.assertIn(f"alertname: {alert}, exp_alerts: []", tests)
            self.assertRegex(tests, rf"alertname: {alert}\n +exp_alerts:\n +- exp_labels")

    def test_there_are_two_dashboards(self):
        self.assertEqual([p.stem for p in DASHBOARDS], ["syncnorm-compare", "syncnorm-run"])

    def test_dashboards_keep_the_rules(self):
        for path in DASHBOARDS:
            content = json.loads(path.read_text())
            self.assertEqual(content["uid"], path.stem)
            self.assertEqual([v["type"] for v in content["templating"]["list"]],
                             ["datasource", "query"])
            self.assertNotRegex(path.read_text(), r"localhost|\d+\.\d+\.\d+\.\d+|https?://")
            ids = [p["id"] for p in content["panels"]]
            self.assertEqual(len(ids), len(set(ids)))
            for panel in panels(path):
                with self.subTest(panel=panel["title"]):
                    self.assertGreater(len(panel["description"]), 10)
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                    self.assertGreater(len(panel["targets"]), 0)
                    for target in panel["targets"]:
                        self.assertEqual(target["datasource"]["uid"], "${datasource}")
                        self.assertIn("$run", target["expr"])
                        windows = re.findall(r"\[(.*?)\]", target["expr"])
                        self.assertTrue(all(w == "$__rate_interval" for w in windows))
            places = [(p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy) for p in content["panels"]
                      for dx in range(p["gridPos"]["w"]) for dy in range(p["gridPos"]["h"])]
            self.assertEqual(len(places), len(set(places)), "panels overlap")
            self.assertTrue(all(x < 24 for x, _ in places))

    def test_the_metrics_that_are_asked_for_are_exported(self):
        source = (MONITORING / "metric_families.cpp").read_text()
        exported = set(re.findall(r'"(syncnorm_\w+)"', source))
        text = "".join(t["expr"] for _, _, t in queries()) + "".join(
            re.sub(r"#.*", "", (MONITORING / "prometheus" / name).read_text())
            for name in ("recording.yml", "alerts.yml"))
        asked = {re.sub("_(bucket|count|sum)$", "", n) if n not in exported else n
                 for n in re.findall(r"(?<![:\w])syncnorm_\w+", text)}
        self.assertEqual(asked - exported, set())
        self.assertGreater(len(asked), 25)

    def test_provisioning_and_compose_name_files_that_exist(self):
        compose = (MONITORING / "compose.yaml").read_text()
        for source in re.findall(r"- (\./\S+?):", compose):
            self.assertTrue((MONITORING / source).exists(), source)
        for name in ("datasources", "dashboards"):
            text = (MONITORING / "grafana" / "provisioning" / name / "syncnorm.yaml").read_text()
            for variable in re.findall(r"\$(\w+)", text):
                self.assertIn(f"{variable}:", compose)


class Watched(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.targets = self.folder / "targets"
        self.monitor = subprocess.Popen(
            [ROOT / "launch" / "monitor", "--every", "1s", self.targets], stdout=subprocess.PIPE,
            text=True, start_new_session=True)
        self.addCleanup(self.monitor.communicate)
        self.addCleanup(self.monitor.terminate)
        said = self.monitor.stdout.readline()
        self.url = re.search(r"listens on (http://127\.0\.0\.1:\d+) and", said).group(1)
        path = harness.write_experiment(
            self.folder / "run.yaml", {**RUN, "metrics.file_sd_dir": str(self.targets)},
            run_dir=self.folder / "run")
        self.run_process = harness.start("train", path, ranks=2)
        self.addCleanup(self.run_process.communicate)
        self.addCleanup(harness.kill, self.run_process)

    def api(self, path, **parameters):
        with DIRECT.open(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}",
                         timeout=30) as answer:
            content = json.load(answer)
        self.assertEqual(content["status"], "success")
        return content["data"]

    def values(self, expression, instant=False):
        """The finite values of all series that a query returns."""
        if instant:
            series = self.api("query", query=expression)["result"]
            points = [s["value"] for s in series]
        else:
            now = time.time()
            series = self.api("query_range", query=expression, start=now - 15, end=now, step=1)
            points = [v for s in series["result"] for v in s["values"]]
        return [float(v) for _, v in points if math.isfinite(float(v))]

    def filled_in(self, expression):
        return expression.replace("$__rate_interval", "15s").replace("$run",
                                                                     str(self.folder / "run"))

    def ready(self):
        """Evaluated twice, saved once after the beginning, and all rules were recorded."""
        found = self.values("syncnorm_checkpoints_total >= 2", instant=True)
        drift = self.values("count(syncnorm_layer_drift_ratio > 0)", instant=True)
        slow = self.values("run:syncnorm_straggler:ratio1m", instant=True)
        return found and drift and len(slow) == 2

    def rules(self):
        groups = self.api("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def test_every_query_and_every_rule_returns_data(self):
        harness.wait_for(self.ready, "metrics to arrive", timeout=100)
        with self.subTest("variables"):
            self.assertEqual(self.api("label/run/values", **{"match[]": "syncnorm_run_info"}),
                             [str(self.folder / "run")])
        asked = 0
        for dashboard, panel, target in queries():
            with self.subTest(dashboard=dashboard, panel=panel, query=target["expr"]):
                self.assertTrue(self.values(self.filled_in(target["expr"]), target["instant"]))
                asked += 1
        self.assertGreater(asked, 40)
        rules = self.rules()
        self.assertEqual(sorted(r["type"] for r in rules), 7 * ["alerting"] + 6 * ["recording"])
        for rule in rules:
            with self.subTest(rule=rule["name"]):
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""))
                # An alert's comparison as 0 or 1, so that there is data where it does not fire.
                compared = re.sub(r" (==|<|>) (?=[\d.]+( |$))", r" \1 bool ", rule["query"])
                self.assertEqual(compared != rule["query"], rule["type"] == "alerting")
                self.assertTrue(self.values(compared))
                if rule["type"] == "recording":
                    self.assertTrue(self.values(rule["name"]))
        self.assertTrue(self.values('syncnorm_run_outcome{outcome="running"} == 1', instant=True))
        for pid in harness.ranks_of(self.run_process, 2):
            os.kill(pid, signal.SIGTERM)
        self.assertEqual(harness.finish(self.run_process).code, 75)
        # The run is over, and so is its target.
        self.assertEqual(list(self.targets.iterdir()), [])
        harness.wait_for(lambda: not self.api("targets")["activeTargets"], "the target to go")
        self.monitor.terminate()
        self.assertEqual(self.monitor.wait(timeout=60), 0)


if __name__ == "__main__":
    harness.main()
