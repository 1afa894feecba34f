"""Line charts as SVG, for the pages of docs/results."""
import html
import math

COLORS = ["#1b6ca8", "#c8553d", "#4f8a4c", "#8a5fa8", "#b8860b", "#3a9a9a", "#a83a6a", "#666666"]
TOP, BOTTOM, LEFT, GAP = 40, 60, 60, 70


class Scale:
    """Values to positions along an axis of `length` units."""

    def __init__(self, low, high, length, logarithmic=False):
        self.low, self.high, self.length, self.logarithmic = low, high, length, logarithmic

    def __call__(self, value):
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return (value - low) / ((high - low) or 1) * self.length

    def ticks(self):
        """Round values within the axis, about five."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1,) if len(decades) > 4 else (1, 2, 5)
            ticks = [factor * 10.0 ** decade for decade in decades for factor in factors]
        else:
            span = self.high - self.low or 1
            step = 10 ** math.floor(math.log10(span / 2))
            step = next(s for s in (step, 2 * step, 5 * step, 10 * step) if span / s <= 6)
            ticks = [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in ticks if self.low <= tick <= self.high]


class Panel:
    """One chart: `lines` maps names to lists of (x, y). The y axis begins at 0 unless it is logarithmic or `low` is
    given; `x_ticks` are the values to write below, or None for round ones."""

    def __init__(self, lines, title, label, x_ticks=None, x_log=False, y_log=False, low=0.0, width=270, height=260):
        self.lines, self.title, self.label, self.x_ticks = lines, title, label, x_ticks
        self.width, self.height = width, height
        xs = [x for points in lines.values() for x, _ in points] or [1.0]
        ys = [y for points in lines.values() for _, y in points if math.isfinite(y) and (y > 0 or not y_log)] or [1.0]
        self.x = Scale(min(xs), max(xs), width, x_log)
        self.y = Scale(min(ys) / 1.1 if y_log else low, max(ys) + 0.1 * abs(max(ys) - (0 if y_log else low)), height,
                       y_log)

    def draw(self, left, colors):
        def text(x, y, words, anchor="middle"):
            return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
        base = TOP + self.height
        out = [text(left + self.width / 2, TOP - 16, self.title),
               f'<path d="M{left},{TOP} V{base} H{left + self.width}" fill="none" stroke="#888"/>',
               text(left + self.width / 2, base + BOTTOM - 16, self.label)]
        for tick in self.y.ticks():
            y = base - self.y(tick)
            if y < base:
                out.append(f'<path d="M{left},{y:.1f} h{self.width}" stroke="#ddd"/>')
            out.append(text(left - 6, y + 4, f"{tick:g}", "end"))
        for tick in self.x.ticks() if self.x_ticks is None else self.x_ticks:
            out.append(text(left + self.x(tick), base + 18, f"{tick:g}"))
        for name, points in self.lines.items():
            color = colors[name]
            at = [(left + self.x(x), base - self.y(y)) for x, y in points if math.isfinite(y)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
            if len(at) <= 30:
                out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in at]
        return out


def svg(panels, colors=None):
    """Panels side by side, with one legend below; `colors`: name -> color, by default in order."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colors = colors or {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    body, left = [], LEFT
    for panel in panels:
        body += panel.draw(left, colors)
        left += panel.width + GAP
    below = TOP + BOTTOM + max(panel.height for panel in panels) + 12
    x = LEFT
    for name in names:
        if x > LEFT and x + 7 * len(name) + 30 > left:
            x, below = LEFT, below + 20
        body.append(f'<rect x="{x}" y="{below}" width="14" height="4" fill="{colors[name]}"/>'
                    f'<text x="{x + 20}" y="{below + 6}">{html.escape(name)}</text>')
        x += 7 * len(name) + 48
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left} {below + 20}" '
            'font-family="sans-serif" font-size="12">\n'
            '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n")
