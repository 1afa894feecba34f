#!/usr/bin/env python3
"""Draws the panels of the one-run dashboard from a Prometheus, for the picture in docs/:

  monitoring/grafana/render.py http://127.0.0.1:PORT PICTURE.png RUN [SECONDS]

Grafana draws the same queries. This is matplotlib, where no Grafana is at hand; it needs
python3-matplotlib. Values are those that Prometheus returns for the last SECONDS (120).
"""
import json
import math
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

DASHBOARD = Path(__file__).parent / "dashboards" / "syncnorm-run.json"
INK, FRAME, FAINT = "#1f2933", "#d9dee4", "#52606d"


def scaled(value, units, base, suffix):
    unit = 0
    while abs(value) >= base and unit + 1 < len(units):
        value, unit = value / base, unit + 1
    return f"{value:.3g} {units[unit]}{suffix}".rstrip()


def text_of(value, unit):
    """A number as Grafana shows it in that unit."""
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit in ("bytes", "Bps"):
        return scaled(value, ["", "Ki", "Mi", "Gi"] if unit == "bytes" else ["", "k", "M", "G"],
                      1024 if unit == "bytes" else 1000, "B" if unit == "bytes" else "B/s")
    if unit == "s":
        if abs(value) < 1:
            return f"{1e3 * value:.3g} ms"
        return f"{value:.3g} s" if value < 90 else (
            f"{value / 60:.3g} min" if value < 5400 else f"{value / 3600:.3g} h")
    return scaled(value, ["", "K", "Mil", "Bil"], 1000, "") if unit == "short" else f"{value:.4g}"


class Prometheus:
    def __init__(self, url, run, seconds):
        self.url, self.run, self.end, self.seconds = url, run, time.time(), seconds
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, target):
        """The series of a panel's query: (labels, times in seconds before now, values)."""
        expression = target["expr"].replace("$__rate_interval", "15s").replace("$run", self.run)
        parameters = urllib.parse.urlencode({"query": expression, "start": self.end - self.seconds,
                                             "end": self.end, "step": 1})
        with self.opener.open(f"{self.url}/api/v1/query_range?{parameters}") as answer:
            series = json.load(answer)["data"]["result"]
        for one in series:
            points = [(float(t) - self.end, float(v)) for t, v in one["values"]
                      if math.isfinite(float(v))]
            if points:
                yield one["metric"], [t for t, _ in points], [v for _, v in points]


def legend(pattern, labels):
    for name, value in labels.items():
        pattern = pattern.replace("{{" + name + "}}", value)
    return pattern


def draw_stat(axes, panel, prometheus, unit):
    axes.axis("off")
    for target in panel["targets"]:
        for labels, _, values in prometheus.ask(target):
            said = legend(target["legendFormat"], labels)
            shown = said if panel["title"] == "Outcome" else text_of(values[-1], unit)
            axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=17, color=INK,
                      transform=axes.transAxes)


def draw_series(axes, panel, prometheus, unit):
    settings = panel["fieldConfig"]["defaults"]
    stacked = settings["custom"]["stacking"]["mode"] == "normal"
    colors = pyplot.get_cmap("tab10").colors
    lines, stack = 0, []
    for target in panel["targets"]:
        for labels, times, values in prometheus.ask(target):
            name = legend(target["legendFormat"], labels)
            if stacked:
                stack.append((name, dict(zip(map(round, times), values))))
            else:
                axes.plot(times, values, lw=1.2, label=name, color=colors[lines % 10],
                          marker="" if len(times) > 1 else ".")
            lines += 1
    if stack:
        common = sorted(set.intersection(*(set(points) for _, points in stack)))
        axes.stackplot(common, [[points[t] for t in common] for _, points in stack],
                       labels=[name for name, _ in stack], colors=colors, alpha=0.75, lw=0)
    if settings["custom"].get("scaleDistribution"):
        axes.set_yscale("log")
    else:
        low, high = axes.get_ylim()
        bottom = settings.get("min", low)
        axes.set_ylim(bottom, settings.get("max", high + 0.05 * (high - bottom)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: text_of(v, unit)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f} s"))
    axes.tick_params(labelsize=6.5, colors=FAINT, length=2)
    axes.grid(color=FRAME, lw=0.5)
    for spine in axes.spines.values():
        spine.set_color(FRAME)
    if lines:
        axes.legend(fontsize=5.5, ncol=2 if lines > 4 else 1, loc="lower right" if stacked else "best", framealpha=0.7,
                    borderpad=0.3, handlelength=1.2)


def main():
    url, picture, run = sys.argv[1:4]
    prometheus = Prometheus(url, run, float(sys.argv[4]) if len(sys.argv) > 4 else 120.0)
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [p for p in dashboard["panels"] if p["type"] != "table"]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = pyplot.figure(figsize=(15, 0.3 * height), dpi=100, facecolor="white")
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - place["y"] / height
        if panel["type"] == "row":
            figure.text(left + 0.01, top - 0.7 / height, panel["title"], fontsize=11, color=INK,
                        fontweight="bold")
            continue
        x, y = left + 0.045 * min(1, place["w"] / 8 + 0.2), top - (place["h"] - 1.1) / height
        axes = figure.add_axes([x, y, place["w"] / 24 - 0.055, (place["h"] - 2.4) / height])
        axes.set_title(panel["title"], fontsize=8.5, color=INK, loc="left", pad=4)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        (draw_stat if panel["type"] == "stat" else draw_series)(axes, panel, prometheus, unit)
    figure.savefig(picture)


if __name__ == "__main__":
    main()
