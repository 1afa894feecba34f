"""Pages of docs/results from the results of the runs: tables, figures, and what held of what was expected."""
import math
import sys
from pathlib import Path

from papers.tables import (Results, accuracy_cell, averaged, evaluations, head, label, machine, mean, probed, table,
                           verdict)
from parts.machine import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))
import chart  # noqa: E402  (needs the path)

WITHOUT_BATCH = ["gn", "{kind: group, weights: standardized}", "ln", "in", "rms", "dyt", "derf",
                 "{kind: layer, over: channels}", "{kind: frn, tlu: true}", "{kind: evonorm_s0}",
                 "{kind: none, weights: normalized}", "none"]


# ---- The pages. Each returns title, text and figures: name -> SVG.


def rates_page(results):
    found = Results(results)
    rates = sorted(found.values("optimizer.lr"), key=float)
    norms = found.values("norm")
    rows, best = [], {}
    for norm in norms:
        own = {rate: found.where(norm=norm, optimizer__lr=rate) for rate in rates}
        valid = {rate: mean([r["validation_accuracy"] for r in runs if r["status"] == "done"] or [0.0])
                 for rate, runs in own.items() if runs}
        best[norm] = max(valid, key=valid.get)
        rows.append([label(norm), *(accuracy_cell(own[rate]) for rate in rates), best[norm]])
    top = {norm: found.accuracy(norm=norm, optimizer__lr=best[norm]) for norm in norms}
    plain, normalized = 100 * mean(top["none"]), 100 * mean(top["bn"])
    learns = {norm: [rate for rate in rates if min(found.accuracy(norm=norm, optimizer__lr=rate), default=0) > 0.2]
              for norm in norms}
    verdicts = [
        verdict(normalized > plain, f"at its best rate, BatchNorm reaches {normalized:.2f}%, the network without it "
                                    f"{plain:.2f}%."),
        verdict(learns["bn"] == rates, "with BatchNorm, all seeds learn (more than 20% of the test set) at "
                                       f"{', '.join(learns['bn']) or 'no rate'}."),
        verdict(learns["none"] != rates, f"without it, all seeds learn at {', '.join(learns['none']) or 'no rate'}.")]
    text = f"""Expected: each at its best rate (chosen on held-out images), BatchNorm is a few points better; Santurkar
et al. 2018 report 83% and 80%. With BatchNorm the network trains at all rates. Without it, it stops training or
diverges at one of the higher rates.

{table(['test accuracy at the rate', *rates, 'chosen'], rows)}

{chr(10).join(verdicts)}"""
    lines = {f"{label(norm)}, {rate}": points for norm in norms for rate in rates
             if (points := evaluations(found.where(norm=norm, optimizer__lr=rate)))}
    training = {f"{label(norm)}, {best[norm]}": averaged([
        [(step, loss) for step, loss, _ in r["curve"]] for r in found.where(norm=norm, optimizer__lr=best[norm])])
        for norm in norms}
    figures = {"accuracy-over-updates": [chart.Panel(lines, "test accuracy, %", "update")],
               "training-loss": [chart.Panel(training, "training loss at the chosen rate", "update")]}
    title = f"VGG-11 on CIFAR-10: {normalized:.1f}% with BatchNorm, {plain:.1f}% without, each at its best rate"
    return title, text, figures


MEASURES = {
    "range of the loss along the gradient": lambda p: p["loss_high"] - p["loss_low"],
    "predictiveness, mean over the steps": lambda p: mean(p["predictiveness"]),
    "predictiveness, largest": lambda p: max(p["predictiveness"]),
    "effective β-smoothness": lambda p: p["smoothness"],
    "Lipschitz estimate of the loss": lambda p: p["lipschitz"]}


def measured(result, value):
    return [x for _, x in probed(result, value) if isinstance(x, float) and math.isfinite(x)]


def landscape_page(results):
    found = Results(results)
    norms = found.values("norm")
    runs = {label(norm): found.where(norm=norm) for norm in norms}

    def value(norm, measure):
        return mean([x for r in runs[norm] for x in measured(r, MEASURES[measure])])
    rows = [[measure, *(f"{value(norm, measure):.3g}" for norm in runs)] for measure in MEASURES]
    rows.append(["test accuracy", *(accuracy_cell(runs[norm]) for norm in runs)])
    # Names count the norms, too, so layers are told by their place. Nothing lies before the first one.
    layers = range(1, len(results[0]["probes"][0]["covariate_shift"])) if results[0]["probes"] else []

    def shift(norm, layer):
        pairs = [list(p["covariate_shift"].values())[layer] for r in runs[norm] for p in r["probes"]]
        pairs = [(distance / gradient, cosine) for gradient, distance, cosine in pairs
                 if all(isinstance(x, float) for x in (gradient, distance, cosine)) and gradient > 0]
        return tuple(map(mean, zip(*pairs))) if pairs else (math.nan, math.nan)
    shifts = [[f"{layer + 1}", *("{:.3f}, {:.4f}".format(*shift(norm, layer)) for norm in runs)] for layer in layers]
    normalized = [norm for norm in runs if norm != "none"]
    claims = {"range": "range of the loss along the gradient", "gradients": "predictiveness, mean over the steps",
              "β": "effective β-smoothness"}
    verdicts = []
    for name, measure in claims.items():
        worse = [norm for norm in normalized if not value(norm, measure) < value("none", measure)]
        factors = ", ".join(f"{norm} {value('none', measure) / value(norm, measure):.3g}" for norm in normalized)
        verdicts.append(verdict(not worse, f"{measure}: smaller than without a norm by these factors: {factors}."))
    accuracy = {norm: 100 * mean(found.accuracy(norm=own)) for own, norm in zip(norms, runs)}
    noise, bn, none = (accuracy.get(name, math.nan) for name in ("BN, noise", "BN", "none"))
    verdicts.append(verdict(abs(noise - bn) < 2 and noise > none,
                            f"with noise the network reaches {noise:.2f}%, with BatchNorm alone {bn:.2f}%, without a "
                            f"norm {none:.2f}%."))
    larger = [layer for layer in layers if shift("BN", layer)[0] >= shift("none", layer)[0]]
    verdicts.append(f"- The covariate shift, relative to the gradient, is larger with BatchNorm than without in "
                    f"{len(larger)} of {len(layers)} layers.")
    text = f"""Expected: every normalized network has a narrower range of the loss along the gradient, more predictive
gradients and a smaller effective β than the plain network, whichever deviation it divides by. Its covariate shift need
not be smaller. With noise behind every norm it trains nearly as well as with BatchNorm alone.

{table(['', *runs], rows)}

The values are means over all probes of the training and all seeds.

{chr(10).join(verdicts)}

Internal covariate shift, ‖G − G′‖₂ / ‖G‖₂ and cos(G, G′):

{table(['convolution or linear layer', *runs], shifts)}"""

    def lines(measure):
        return {norm: averaged([[(s, x) for s, x in probed(r, MEASURES[measure]) if isinstance(x, float) and x > 0]
                                for r in own if r["status"] == "done"]) for norm, own in runs.items()
                if any(r["status"] == "done" for r in own)}
    figures = {name: [chart.Panel(lines(measure), measure, "update", y_log=True)] for name, measure in (
        ("loss-along-the-gradient", "range of the loss along the gradient"),
        ("predictiveness-of-the-gradient", "predictiveness, mean over the steps"),
        ("effective-smoothness", "effective β-smoothness"))}
    title = "VGG-11 on CIFAR-10: how smooth the loss is with BatchNorm, with noise, and with other deviations"
    return title, text, figures


def tiny_batches_page(results):
    found = Results(results)
    norms, batches = found.values("norm"), sorted(found.values("batch_per_replica"), key=int)
    cells = {(norm, batch): found.where(norm=norm, batch_per_replica=batch) for norm in norms for batch in batches}
    rows = [[label(norm) if norm != "bn" else "BN per device",
             *(accuracy_cell(cells[norm, batch]) if cells[norm, batch] else "–" for batch in batches)]
            for norm in norms]
    at = {norm: {batch: 100 * mean(found.accuracy(norm=norm, batch_per_replica=batch)) for batch in batches
                 if cells[norm, batch]} for norm in norms}

    def range_of(norm):
        return max(at[norm].values()) - min(at[norm].values())
    judged = {norm for norm in at if len(at[norm]) > 1}
    first, last = list(at["bn"])[0], list(at["bn"])[-1]
    loss = at["bn"][last] - at["bn"][first]
    verdicts = []
    if "bn" in judged:
        verdicts.append(verdict(loss > 10, f"per-device BN loses {loss:.1f} points from {last} images per replica to "
                                           f"{first}."))
    if "syncbn" in judged:
        verdicts.append(verdict(range_of("syncbn") < 1.5, f"SyncBN lies within {range_of('syncbn'):.1f} points over "
                                                          "all batches."))
    if without := [norm for norm in WITHOUT_BATCH if norm in judged]:
        flat = ", ".join(f"{label(norm)} {range_of(norm):.1f}" for norm in without)
        verdicts.append(verdict(all(range_of(norm) < 1.5 for norm in without),
                                "norms without a batch are flat; from the best to the worst batch they differ by, in "
                                f"points: {flat}."))
    text = f"""Expected: the error of per-device BN rises steeply below 4 images per replica, and it fails at 1. SyncBN
over all replicas and the norms without a batch have a flat error; statistics over groups of replicas and batch
renormalization lie in between. All use one learning rate, which is BatchNorm's: norms that want another one would do
better with it.

{table(['test accuracy, images per replica', *batches], rows)}

The values are mean ± sample standard deviation over the seeds.

{chr(10).join(verdicts)}"""
    lines = {row[0]: [(int(batch), 100 - accuracy) for batch, accuracy in at[norm].items()]
             for row, norm in zip(rows, norms)}
    figures = {"test-error-against-batch-per-replica": [chart.Panel(
        lines, "test error, %", "images per replica", x_ticks=[int(b) for b in batches], x_log=True, width=420)]}
    title = ("Tiny batches, ResNet-20 on CIFAR-10: per-device BatchNorm loses "
             f"{loss:.0f} points from {last} images to {first}")
    return title, text, figures


PAGES = {"cifar10_rates": ("rates", rates_page), "cifar10_landscape": ("landscape", landscape_page),
         "cifar10_tiny_batches": ("tiny_batches", tiny_batches_page)}


def write_page(study, results, missing, images, folder, overrides=()):
    """Replaces a page of docs/results, its figures, and its line in studies.md; returns the page's path."""
    name, make = PAGES[study]
    title, text, figures = make(results)
    pictures = folder / "studies"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob(f"{name}-*.svg"):
        old.unlink()
    links = []
    for figure, panels in figures.items():
        (pictures / f"{name}-{figure}.svg").write_text(chart.svg(panels))
        links.append(f"![{panels[0].title}](studies/{name}-{figure}.svg)")
    incomplete = f"\n\n**{missing} runs of the study were not run.**" if missing else ""
    page = folder / f"{name}.md"
    parts = [f"# {title}", head(results, study, images, overrides) + incomplete, text, "\n".join(links),
             machine(results)]
    page.write_text("\n\n".join(parts) + "\n")
    update_index(folder / "studies.md", study, name, title, results, images, missing)
    return page


def update_index(path, study, name, title, results, images, missing):
    if not path.exists():
        return
    seeds = len({r["settings"]["seed"] for r in results})
    ran = f"CIFAR-10 ({images}), {results[0]['parameters']:,} parameters, {seeds} seed{'s' if seeds > 1 else ''}"
    ran += f", {missing} runs missing" if missing else ""
    line = f"| [{study}]({name}.md) | {ran} | {title.split(': ', 1)[1]} |"
    lines = [line if f"]({name}.md) |" in old else old for old in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def write_pages(studies, images, folder, overrides=()):
    """The pages of all studies with complete runs of every norm."""
    pages = []
    for study in studies:
        results = study.results()
        norms = {result["settings"]["norm"] for result in results}
        if not results or not {"none", "bn"} <= norms:
            continue
        pages.append(write_page(study.name, results, len(study.names) - len(results), images, Path(folder), overrides))
    return pages
