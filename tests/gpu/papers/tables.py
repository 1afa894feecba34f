"""The words and tables of a page: norms, accuracies over seeds, verdicts, and curves for its figures."""
import math
import statistics
import textwrap

NORMS = {"none": "none", "bn": "BN", "syncbn": "SyncBN over all", "gn": "GN, 8 groups", "ln": "LN", "in": "IN",
         "rms": "RMSNorm", "dyt": "DyT", "derf": "Derf", "{kind: batch, synced_replicas: 2}": "SyncBN over 2",
         "{kind: batch, synced_replicas: 4}": "SyncBN over 4", "{kind: group, weights: standardized}": "GN, WS",
         "{kind: none, weights: normalized}": "weight norm", "{kind: layer, over: channels}": "LN over channels",
         "{kind: frn, tlu: true}": "FRN, TLU", "{kind: evonorm_s0}": "EvoNorm-S0"}

CHANCE = 0.1  # accuracy, of ten classes


def label(norm):
    """The norm of a study's setting, for a reader."""
    for word, name in (("noise", "BN, noise"), ("deviation: l1", "L1"), ("deviation: linf", "L∞"),
                       ("renormalize: true", "batch renormalization")):
        if word in norm:
            return name
    return NORMS.get(norm, norm)


def mean(values):
    return statistics.fmean(values) if values else math.nan


def spread(accuracies):
    """Mean ± sample standard deviation, in percent."""
    if not accuracies:
        return "–"
    text = f"{100 * mean(accuracies):.2f}%"
    return text + (f" ± {100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else "")


class Results:
    """The complete runs of a study by their settings."""

    def __init__(self, results):
        self.all = results

    def where(self, **settings):
        return [r for r in self.all if all(r["settings"].get(key.replace("__", ".")) == value
                                           for key, value in settings.items())]

    def values(self, key):
        return list(dict.fromkeys(r["settings"][key] for r in self.all))

    def accuracy(self, **settings):
        """Test accuracies of the seeds; a run that diverged has none, so it counts as chance."""
        return [r["test_accuracy"] if r["status"] == "done" else CHANCE for r in self.where(**settings)]


def accuracy_cell(results):
    diverged = sum(r["status"] == "diverged" for r in results)
    text = spread([r["test_accuracy"] for r in results if r["status"] == "done"])
    return text if not diverged else f"{diverged} of {len(results)} diverged" + ("" if text == "–" else f", {text}")


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1),
                      *("| " + " | ".join(row) + " |" for row in rows)])


def verdict(held, text):
    return wrapped(f"- **{'Held' if held else 'Did not hold'}**: {text}").replace("\n", "\n  ")


def averaged(curves):
    """Points that all curves have, with the mean of their values."""
    common = set.intersection(*(set(dict(curve)) for curve in curves)) if curves else set()
    return [(x, mean([dict(curve)[x] for curve in curves])) for x in sorted(common)]


def evaluations(results, split="test"):
    return averaged([[(step, 100 * accuracy) for step, own, accuracy in r["evals"] if own == split]
                     for r in results if r["status"] == "done"])


def probed(result, value):
    """(step, value(probe)) of every probe of a run."""
    return [(probe["step"], value(probe)) for probe in result["probes"]]


def machine(results):
    first = results[0]
    return wrapped(f"Machine: {first['device']}, syncnorm {first['version']}. Runs shared it, so this page gives no "
                   "times.")


def head(results, study, images, overrides):
    """The study and the format of its images."""
    first = results[0]
    epochs = first["total_steps"] / max(first["steps_per_epoch"], 1)
    seeds = sorted({r["settings"]["seed"] for r in results})
    given = f" {' '.join(overrides)}" if overrides else ""
    return f"    tests/gpu/studies DATA --only {study}{given}\n\n" + wrapped(
            f"The study is [configs/studies/{study}.yaml](../../configs/studies/{study}.yaml), on CIFAR-10 ({images}): "
            f"{first['train_samples']:,} training and {first['test_samples']:,} test images."
            f"{' JPEG loses a little of the original pixels.' if 'JPEG' in images else ''} Training took "
            f"{epochs:.3g} epochs ({first['total_steps']:,} updates), with "
            f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}.")


def wrapped(text):
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)
