"""The worked example as it is printed, against the same numbers from exact fractions."""
import re
from decimal import Decimal, getcontext
from fractions import Fraction
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parents[2]
getcontext().prec = 50


def exact(number):
    """A decimal of 50 digits for a decimal text or a fraction."""
    fraction = Fraction(number)
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)


def statistics(values):
    mean = sum(values) / len(values)
    return mean, (sum((v - mean) ** 2 for v in values) / len(values)).sqrt()


def expected_rows(inputs, weights, normalize):
    """Every row of a step: its values, their mean and deviation."""
    rows, values = [], [exact(v) for v in inputs]
    for weight in weights:
        values = [exact(weight) * v for v in values]
        rows.append(values)
        if normalize:
            mean, deviation = statistics(values)
            values = [(v - mean) / deviation for v in values]
            rows.append(values)
        values = [max(v, Decimal(0)) for v in values]
        rows.append(values)
    return [[*row, *statistics(row)] for row in rows]


INPUTS = [["2.0", "3.0", "1.5", "2.5"], ["2.2", "3.1", "1.8", "2.7"], ["2.4", "3.2", "2.0", "2.8"]]
WEIGHTS = [["0.5", "0.8"], ["0.3", "0.9"], ["0.2", "1.1"]]  # of each step


def printed_rows(text):
    """The numbers of every line that ends in six of them."""
    found = [re.search(r"((?:\s-?\d+\.\d+ *){6})$", line) for line in text.splitlines()]
    return [m.group(1).split() for m in found if m]


class Trace(harness.TestCase):
    def trace(self, *arguments):
        result = harness.run("trace", *arguments)
        self.assertEqual(result.code, 0, result.err)
        return result.out

    def refused(self, text):
        (self.folder / "trace.yaml").write_text(text)
        result = harness.run("trace", self.folder / "trace.yaml")
        self.assertEqual(result.code, 2)
        return result.err

    def test_every_number_of_the_worked_example(self):
        for digits in (4, 9):
            expected = []
            for inputs, weights in zip(INPUTS, WEIGHTS):
                values = [exact(v) for v in inputs]
                expected.append([*values, *statistics(values)])
                expected += expected_rows(inputs, weights, normalize=False)
                expected += expected_rows(inputs, weights, normalize=True)
            rows = printed_rows(self.trace("--digits", digits))
            self.assertEqual(len(rows), len(expected))
            for row, values in zip(rows, expected):
                for text, value in zip(row, values):
                    self.assertRegex(text, rf"^-?\d+\.\d{{{digits}}}$")
                    off = abs(Decimal(text) - value)
                    self.assertLessEqual(off, Decimal("0.500001") / 10 ** digits, (text, value))

    def test_the_note_on_the_misrounded_rendering(self):
        note = self.trace().split("\n\n")[-1]
        for number in ("0.2795", "0.31", "−0.447, 1.342, −1.342", "0.447"):
            self.assertIn(number, note)
        (self.folder / "trace.yaml").write_text("weights: [[0.5, 0.3, 0.2]]")
        self.assertNotIn("0.31", self.trace(self.folder / "trace.yaml"))

    def test_inputs_weights_and_norm_of_a_file(self):
        path = self.folder / "trace.yaml"
        path.write_text("inputs: [[1, 3, 2, 2]]\nweights: [[2]]\nnorm: {deviation: linf}")
        rows = printed_rows(self.trace(path))
        self.assertEqual(rows[4], ["-1.0000", "1.0000", "0.0000", "0.0000", "0.0000", "1.0000"])
        path.write_text("norm: none")
        self.assertNotIn("normalized", self.trace(path))

    def test_the_block_of_the_reference_page_is_the_example(self):
        page = (ROOT / "docs" / "config.md").read_text()
        (self.folder / "trace.yaml").write_text(
            re.search(r"## Trace.*?```yaml\n(.*?)```", page, re.DOTALL).group(1))
        self.assertEqual(printed_rows(self.trace(self.folder / "trace.yaml", "--digits", 6)),
                         printed_rows(self.trace("--digits", 6)))

    def test_mistakes_are_told_with_their_place(self):
        err = self.refused("input: [[1, 2]]\nweights: [[1, x, 1]]\nnorm: {groups: 2, kind: group}")
        self.assertIn("trace.yaml:1:1: input: unknown key; did you mean `inputs`?", err)
        self.assertIn("trace.yaml:2:15: weights: ", err)
        self.assertIn("norm.groups: has no meaning in a trace", err)
        self.assertIn("give batch or none", err)
        self.assertIn("2 weights for 3 steps", self.refused("weights: [[1, 2]]"))
        self.assertIn("the list is empty", self.refused("inputs: []"))


if __name__ == "__main__":
    harness.main()
