#!/usr/bin/env python3
"""Writes the two Grafana dashboards beside it: monitoring/grafana/make_dashboards.py [FOLDER].

A dashboard is a list of rows, a row a list of panels, a panel a few queries. Metrics carry no name
of a run: a query takes those instances for which syncnorm_run_info says the run that was chosen.
"""
import json
import sys
from pathlib import Path

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "[$__rate_interval]"
NOT_A_NUMBER = "A value is absent until it was measured."


def ours(expression):
    """Only what belongs to the chosen run (one-run dashboard)."""
    return f'{expression} and on (job, instance) syncnorm_run_info{{run="$run"}}'


def named(expression):
    """Each series with the name of its run (dashboard of several)."""
    return (f"({expression}) * on (job, instance) group_left (run, norm) "
            'syncnorm_run_info{run=~"$run"}')


def panel(title, description, unit, *queries, kind="timeseries", width=8, stack=False, low=None,
          high=None, decimals=None, logarithmic=False):
    """`queries`: pairs of an expression and a legend."""
    defaults = {"unit": unit}
    if low is not None:
        defaults["min"] = low
    if high is not None:
        defaults["max"] = high
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {}
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 30 if stack else 0, "showPoints": "never",
                              "stacking": {"mode": "normal" if stack else "none"}}
        if logarithmic:
            defaults["custom"]["scaleDistribution"] = {"type": "log", "log": 10}
        options = {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}}
    elif kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none",
                   "textMode": "auto"}
    targets = [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expression,
                "legendFormat": legend, "instant": kind == "table",
                "range": kind != "table", "format": "table" if kind == "table" else "time_series"}
               for i, (expression, legend) in enumerate(queries)]
    return {"title": title, "description": description, "type": kind, "width": width,
            "datasource": DATASOURCE, "targets": targets, "options": options,
            "fieldConfig": {"defaults": defaults, "overrides": []}}


def dashboard(uid, title, description, run_variable, rows):
    panels, y, number = [], 0, 0
    for row_title, content in rows:
        number += 1
        panels.append({"id": number, "type": "row", "title": row_title, "collapsed": False,
                       "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y, x = y + 1, 0
        height = 4 if all(p["type"] == "stat" for p in content) else 8
        for entry in content:
            width = entry.pop("width")
            if x + width > 24:
                x, y = 0, y + height
            number += 1
            panels.append({"id": number, **entry,
                           "gridPos": {"h": height, "w": width, "x": x, "y": y}})
            x += width
        y += height
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
         "refresh": 1, "hide": 0},
        {"name": "run", "label": "Run", "type": "query", "datasource": DATASOURCE, "refresh": 2,
         "definition": "label_values(syncnorm_run_info, run)", "sort": 1,
         "query": {"query": "label_values(syncnorm_run_info, run)", "refId": "run"},
         **run_variable}]
    return {"uid": uid, "title": title, "description": description, "tags": ["syncnorm"],
            "schemaVersion": 37, "version": 1, "editable": True, "graphTooltip": 1,
            "refresh": "5s", "time": {"from": "now-15m", "to": "now"}, "timezone": "browser",
            "templating": {"list": variables}, "annotations": {"list": []},
            "links": [{"title": "syncnorm", "type": "dashboards", "tags": ["syncnorm"],
                       "asDropdown": True, "includeVars": False, "keepTime": True}],
            "panels": panels}


def seconds(name, by):
    return f"sum by ({by}) (rate(syncnorm_{name}_seconds_total{RATE}))"


NODE = "job, instance"
ALL_TIME = (f"({seconds('work', NODE)} + {seconds('reduction_exposed', NODE)})")


def share(name, by=NODE):
    whole = ALL_TIME if by == NODE else f"on (job, instance) group_left () {ALL_TIME}"
    return f"{seconds(name, by)} / {whole}"


def one_run():
    progress = [
        panel("Progress", "Updates completed, of those planned.", "percentunit",
              (ours("syncnorm_step / syncnorm_planned_steps"), ""), kind="stat", width=3, decimals=1),
        panel("Time left", "At the rate of the last minutes.", "s",
              (ours("(syncnorm_planned_steps - syncnorm_step) / "
                    f"rate(syncnorm_step_duration_seconds_count{RATE})"), ""), kind="stat", width=3),
        panel("Outcome", "How the run stands.", "none",
              (ours("syncnorm_run_outcome == 1"), "{{outcome}}"), kind="stat", width=3),
        panel("Images/s", "Samples trained on, over wall time with evaluation and checkpoints.",
              "short", (ours(f"rate(syncnorm_samples_total{RATE})"), ""), kind="stat", width=3),
        panel("Effective time", "Seconds in steps that count, over all since the first launch.",
              "percentunit", (ours("syncnorm_effective_training_time_ratio"), ""), kind="stat",
              width=3, decimals=1),
        panel("Exposed reductions", "Share of the time that ranks wait for reductions.",
              "percentunit", (ours(share("reduction_exposed")), ""), kind="stat", width=3,
              decimals=1),
        panel("Checkpoint age", "Work that would be lost if the job ended now.", "s",
              (ours("time() - syncnorm_checkpoint_last_success_timestamp_seconds"), ""),
              kind="stat", width=3),
        panel("Restarts", "Launches that began at a checkpoint.", "short",
              (ours("syncnorm_restarts_total"), ""), kind="stat", width=3)]
    learning = [
        panel("Loss", "Training: mean over a global batch, before the update. " + NOT_A_NUMBER,
              "none", (ours("syncnorm_loss"), "training"),
              (ours("syncnorm_evaluation_loss"), "{{split}} {{statistics}}{{weights}}")),
        panel("Accuracy", "Training: of a global batch, before the update. " + NOT_A_NUMBER,
              "percentunit", (ours("syncnorm_accuracy_ratio"), "training"),
              (ours("syncnorm_evaluation_accuracy_ratio"), "{{split}} {{statistics}}{{weights}}"),
              (ours("syncnorm_evaluation_mean_iou_ratio"),
               "mIoU {{split}} {{statistics}}{{weights}}"), low=0, high=1),
        panel("Classes", "Of the test set at the last evaluation: accuracy, and with labels per "
              "pixel intersection over union; the first 32 classes, by number.", "percentunit",
              (ours("syncnorm_class_accuracy_ratio"), "accuracy {{class}}"),
              (ours("syncnorm_class_iou_ratio"), "IoU {{class}}"), low=0, high=1),
        panel("Learning rate", "Of the last step.", "none",
              (ours("syncnorm_learning_rate"), "learning rate"), width=4),
        panel("Gradient norm", "2-norm before clipping, sampled.", "none",
              (ours("max by (job, instance) (syncnorm_gradient_norm)"), "{{instance}}"), width=4,
              logarithmic=True)]
    time = [
        panel("Where the time goes", "Shares of the ranks' step time.", "percentunit",
              (ours(share("compute")), "compute"), (ours(share("data_wait")), "waiting for data"),
              (ours(share("reduction_exposed", "job, instance, phase")), "exposed: {{phase}}"),
              stack=True, low=0, high=1),
        panel("Step duration", "Of rank 0, with waiting for data.", "s",
              *[(ours(f"histogram_quantile({q}, sum by (job, instance, le) "
                      f"(rate(syncnorm_step_duration_seconds_bucket{RATE})))"),
                 f"{100 * q:.0f}th percentile") for q in (0.5, 0.95, 0.99)], low=0),
        panel("Images/s", "Samples trained on.", "short",
              (ours(f"rate(syncnorm_samples_total{RATE})"), "with evaluation and checkpoints"),
              (ours("syncnorm_images_per_second"), "within steps"), low=0),
        panel("Hidden share of reductions",
              "Of the time they are in flight, what is hidden behind work.", "percentunit",
              (ours(f"1 - {seconds('reduction_exposed', 'job, instance, phase')} / "
                    f"{seconds('reduction_in_flight', 'job, instance, phase')}"), "{{phase}}"),
              low=0, high=1),
        panel("Sent for reductions", "By all ranks of a node.", "Bps",
              (ours(f"sum by (job, instance, phase) (rate(syncnorm_reduction_bytes_total{RATE}))"),
               "{{phase}} {{instance}}"), low=0),
        panel("Beside the steps", "Share of wall time in which training stands still.",
              "percentunit", (ours(f"rate(syncnorm_evaluation_seconds_total{RATE})"), "evaluation"),
              (ours(f"rate(syncnorm_checkpoint_seconds_total{RATE})"), "checkpoints"), low=0)]
    ranks = [
        panel("Straggler score", "Time before collectives, relative to the best rank of the run: a "
              "rank above 1.5 holds the others up.", "none",
              ('run:syncnorm_straggler:ratio1m{run="$run"}', "rank {{rank}}"), low=1),
        panel("Waiting for data, by rank", "Seconds of each second.", "percentunit",
              (ours(f"rate(syncnorm_data_wait_seconds_total{RATE})"), "rank {{rank}}"), low=0),
        panel("Peak memory, by rank", "Largest resident memory of the process; the arena is the "
              "part that a step's activations take.", "bytes",
              (ours("syncnorm_memory_peak_bytes"), "rank {{rank}}"),
              (ours("max by (job, instance) (syncnorm_memory_arena_bytes)"), "arena"), low=0)]
    layers = [
        panel("Spread of the replicas' means", "How far each replica's own means lie from those of "
              "all, in standard deviations: what per-device BatchNorm is wrong by. Needs "
              "metrics.layers.", "none",
              (ours("syncnorm_layer_replica_mean_spread_ratio"), "{{layer}}"), low=0),
        panel("Spread of the replicas' variances", "The same of the variances, relative to them. "
              "Needs metrics.layers.", "percentunit",
              (ours("syncnorm_layer_replica_variance_spread_ratio"), "{{layer}}"), low=0),
        panel("Drift of the statistics", "Change of the normalizing means between samples, in "
              "standard deviations. Needs metrics.layers.", "none",
              (ours("syncnorm_layer_drift_ratio"), "{{layer}}"), low=0),
        panel("Values behind the statistics", "Per channel, the fewest of any group: below 16 they "
              "are mostly noise. Needs metrics.layers.", "short",
              (ours("syncnorm_layer_effective_values"), "{{layer}}"), logarithmic=True),
        panel("Activations: mean", "Of each norm's input. Needs metrics.layers.", "none",
              (ours("syncnorm_layer_activation_mean"), "{{layer}}")),
        panel("Activations: standard deviation", "Of each norm's input. Needs metrics.layers.",
              "none", (ours("syncnorm_layer_activation_standard_deviation"), "{{layer}}"), low=0)]
    upkeep = [
        panel("Checkpoint size", "Of the last one.", "bytes",
              (ours("syncnorm_checkpoint_bytes"), "size"), low=0),
        panel("Cost of these metrics", "CPU time of publishing and serving, as a share of one core.",
              "percentunit", (ours(f"rate(syncnorm_exporter_cpu_seconds_total{RATE})"), "{{part}}"),
              low=0),
        panel("Run", "What is trained, by which build.", "none",
              ('syncnorm_run_info{run="$run"} * on (job, instance) group_left (version) '
               "syncnorm_build_info", ""), kind="table")]
    return dashboard("syncnorm-run", "syncnorm: one run",
                     "Whether training progresses, how fast, what holds it up, and whether its "
                     "normalization is healthy.", {}, [
                         ("Progress", progress), ("Learning", learning),
                         ("Where the time goes", time), ("Ranks", ranks),
                         ("Normalization", layers), ("Upkeep", upkeep)])


def compare():
    legend = "{{run}} ({{norm}})"
    quality = [
        panel("Training loss", "Mean over a global batch, before the update.", "none",
              (named("syncnorm_loss"), legend), width=12),
        panel("Test accuracy", "At the last evaluation. " + NOT_A_NUMBER, "percentunit",
              (named('syncnorm_evaluation_accuracy_ratio{split="test", statistics="", weights=""}'), legend), width=12, low=0,
              high=1),
        panel("Test mIoU", "With labels per pixel, at the last evaluation.", "percentunit",
              (named('syncnorm_evaluation_mean_iou_ratio{split="test", statistics="", '
                     'weights=""}'), legend), width=12, low=0, high=1)]
    speed = [
        panel("Images/s", "Samples trained on, over wall time.", "short",
              (named(f"rate(syncnorm_samples_total{RATE})"), legend), low=0),
        panel("Step duration", "95th percentile on rank 0.", "s",
              (named("instance:syncnorm_step_duration_seconds:p95_1m"), legend), low=0),
        panel("Exposed reductions", "Share of the ranks' time, mean over nodes.", "percentunit",
              ("avg by (run, norm) (" + named("instance:syncnorm_reduction_exposed:ratio1m") + ")",
               legend), low=0, high=1),
        panel("Waiting for data", "Share of the ranks' time, mean over nodes.", "percentunit",
              ("avg by (run, norm) (" + named("instance:syncnorm_data_wait:ratio1m") + ")", legend),
              low=0, high=1),
        panel("Worst straggler", "Time before collectives of the slowest rank, relative to the "
              "fastest.", "none",
              ('max by (run) (run:syncnorm_straggler:ratio1m{run=~"$run"})', "{{run}}"), low=1),
        panel("Effective time", "Seconds in steps that count, over all since the first launch.",
              "percentunit", (named("syncnorm_effective_training_time_ratio"), legend), low=0,
              high=1)]
    layers = [
        panel("Spread of the replicas' means", "Of the layer where it is largest, in standard "
              "deviations. Needs metrics.layers.", "none",
              (named("max by (job, instance) (syncnorm_layer_replica_mean_spread_ratio)"), legend),
              low=0),
        panel("Fewest values behind statistics", "Per channel, of any layer. Needs metrics.layers.",
              "short", (named("min by (job, instance) (syncnorm_layer_effective_values)"), legend),
              logarithmic=True),
        panel("Drift of the statistics", "Of the layer where it is largest, between samples. Needs "
              "metrics.layers.", "none",
              (named("max by (job, instance) (syncnorm_layer_drift_ratio)"), legend), low=0)]
    runs = [panel("Runs", "What is compared.", "none", ('syncnorm_run_info{run=~"$run"}', ""),
                  kind="table", width=24)]
    return dashboard("syncnorm-compare", "syncnorm: compare runs",
                     "The same questions for several runs in one picture.",
                     {"multi": True, "includeAll": True, "allValue": ".+"},
                     [("Learning", quality), ("Speed", speed), ("Normalization", layers),
                      ("Runs", runs)])


def text_of(content):
    """JSON with a line for every panel, so that a change of one is a change of one line."""
    lines = [json.dumps(p) for p in content["panels"]]
    head = json.dumps({**content, "panels": []}, indent=1)
    return head.replace('"panels": []', '"panels": [\n  ' + ",\n  ".join(lines) + "\n ]") + "\n"


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
    for content in (one_run(), compare()):
        (folder / f"{content['uid']}.json").write_text(text_of(content))


if __name__ == "__main__":
    main()
