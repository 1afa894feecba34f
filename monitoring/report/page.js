// Draws a report: tables and notes from its data, and every figure as inline SVG that is drawn anew
// when its width, or the set of lines shown, changes.
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// ---- Small helpers.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function shape(tag, attributes, parent, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

const color = (index) => `var(--s${index % 8})`;
const dashes = (index) => ["none", "6 3", "2 2", "8 3 2 3"][Math.floor(index / 8) % 4];

function format(value, axis, digits = 4) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (axis.format === "percent") return `${(100 * value).toFixed(2).replace(/\.?0+$/, "")}%`;
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(Math.max(digits, size >= 1 ? Math.floor(Math.log10(size)) + 1 : 1))));
}

// ---- Scales and ticks.

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    if (v === null) continue;
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  return low <= high ? [low, high] : [0, 1];
}

/// About `count` ticks, up to a third more.
function linearTicks(low, high, count) {
  const least = (0.75 * (high - low)) / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = power * [1, 2, 5, 10].find((m) => power * m >= least * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) ticks.push(i * step);
  return ticks;
}

function logTicks(low, high, values) {
  if (values.length <= 8) return values;
  const ticks = [];
  const per = Math.log10(high / low) < 2 ? [1, 2, 5] : [1];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); ++e) {
    for (const m of per) if (m * 10 ** e >= low * 0.999 && m * 10 ** e <= high * 1.001) ticks.push(m * 10 ** e);
  }
  return ticks;
}

/// A function from values to pixels, with its ticks.
function makeScale(axis, values, from, to, count, padded) {
  let [low, high] = extent(axis.scale === "zero" ? [0, ...values] : values);
  const log = low > 0 && (axis.scale === "log" || (axis.scale === "auto" && high > 50 * low));
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low <= 1e-9 * size) {  // equal, or but for rounding
    [low, high] = log ? [low / 2, high * 2] : [low - 0.1 * size, high + 0.1 * (size || 1)];
  }
  const map = log ? Math.log : (v) => v;
  const room = padded ? 0.05 * (map(high) - map(low)) : 0;
  const first = map(low) - room, last = map(high) + room;
  const at = (v) => from + ((map(v) - first) / (last - first)) * (to - from);
  const distinct = [...new Set(values.filter((v) => v !== null))].sort((a, b) => a - b);
  at.ticks = log ? logTicks(low, high, distinct) : linearTicks(first, last, count);
  return at;
}

// ---- Figures.

const HEIGHT = 260;
const EDGE = { left: 66, right: 12, top: 10, bottom: 40 };

/// Numbers of the horizontal axis; one at the right edge ends there, so that it is not cut.
function drawTicksBelow(svg, figure, x, width, height) {
  for (const tick of x.ticks) {
    const text = format(tick, figure.x);
    const isCut = x(tick) + 3.5 * text.length > width;
    shape("text", { x: isCut ? width : x(tick), y: height - EDGE.bottom + 16, "text-anchor": isCut ? "end" : "middle" }, svg, text);
  }
}

function drawAxes(svg, figure, x, y, width, height) {
  for (const tick of y.ticks) {
    shape("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }, svg);
    shape("text", { x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, svg, format(tick, figure.y));
  }
  drawTicksBelow(svg, figure, x, width, height);
  shape("text", { x: (EDGE.left + width - EDGE.right) / 2, y: height - 6, "text-anchor": "middle" }, svg, figure.x.label);
  shape("text", { x: 12, y: (height - EDGE.bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(height - EDGE.bottom) / 2})` }, svg, figure.y.label);
}

/// Pieces of a line between its gaps, as [x, y...] in pixels.
function pieces(line, columns, x, y) {
  const found = [[]];
  line.x.forEach((at, i) => {
    const values = columns.map((c) => c[i]);
    if (at === null || values.some((v) => v === null)) found.push([]);
    else found.at(-1).push([x(at), ...values.map(y)]);
  });
  return found.filter((piece) => piece.length > 0);
}

const path = (points) => points.map((p, i) => `${i ? "L" : "M"}${p[0].toFixed(1)},${p[1].toFixed(1)}`).join("");

function drawLine(svg, line, x, y) {
  const ink = color(line.color);
  if (line.low.length) {
    for (const piece of pieces(line, [line.low, line.high], x, y)) {
      const back = piece.map(([at, , high]) => [at, high]).reverse();
      shape("path", { class: "band", d: `${path(piece)}L${path(back).slice(1)}Z`, fill: ink }, svg);
    }
  }
  for (const piece of pieces(line, [line.y], x, y)) {
    shape("path", { class: "line", d: path(piece), stroke: ink, "stroke-dasharray": dashes(line.color) }, svg);
    if (piece.length <= 30) for (const [cx, cy] of piece) shape("circle", { cx, cy, r: 2.6, fill: ink }, svg);
  }
}

class LinePlot {
  constructor(figure, holder) {
    this.figure = figure;
    this.holder = holder;
    this.hidden = new Set();
    this.tip = element("div", { class: "tip", hidden: "" });
    holder.append(this.tip);
  }

  get entries() { return this.figure.lines; }
  get visible() { return this.figure.lines.filter((line) => !this.hidden.has(line)); }

  draw(width) {
    const height = this.figure.small ? 200 : HEIGHT;
    const lines = this.visible;
    const ys = lines.flatMap((line) => [...line.y, ...line.low, ...line.high]);
    this.xs = [...new Set(lines.flatMap((line) => line.x.filter((v) => v !== null)))].sort((a, b) => a - b);
    this.x = makeScale(this.figure.x, this.xs, EDGE.left, width - EDGE.right, Math.max(4, width / 110), this.figure.x.scale === "log");
    this.y = makeScale(this.figure.y, ys, height - EDGE.bottom, EDGE.top, 6, true);
    this.svg?.remove();
    this.svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `${this.figure.title}. Arrow keys show values.` }, this.holder);
    drawAxes(this.svg, this.figure, this.x, this.y, width, height);
    for (const line of lines) drawLine(this.svg, line, this.x, this.y);
    this.cursor = shape("line", { class: "cursor", y1: EDGE.top, y2: height - EDGE.bottom, visibility: "hidden" }, this.svg);
    this.listen(width);
  }

  listen(width) {
    const leave = () => this.point(null);
    const move = (event) => {
      const box = this.svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * width;
      const nearest = (best, v) => (Math.abs(this.x(v) - at) < Math.abs(this.x(best) - at) ? v : best);
      this.point(this.xs.length ? this.xs.reduce(nearest) : null);
    };
    this.svg.addEventListener("pointermove", move);
    this.svg.addEventListener("pointerdown", move);
    this.svg.addEventListener("pointerleave", leave);
    this.svg.addEventListener("blur", leave);
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const now = this.xs.indexOf(this.at ?? this.xs[0]);
      this.point(this.xs[Math.min(Math.max(now + step, 0), this.xs.length - 1)]);
    });
  }

  /// Shows the values at `at`, or nothing.
  point(at) {
    this.at = at;
    this.tip.hidden = at === null || at === undefined;
    this.cursor.setAttribute("visibility", this.tip.hidden ? "hidden" : "visible");
    if (this.tip.hidden) return;
    this.cursor.setAttribute("x1", this.x(at));
    this.cursor.setAttribute("x2", this.x(at));
    this.tip.replaceChildren(element("b", {}, `${format(at, this.figure.x)} ${this.figure.x.label}`));
    for (const line of this.visible) {
      const i = line.x.indexOf(at);
      if (i < 0 || line.y[i] === null) continue;
      const range = line.low.length ? ` (${format(line.low[i], this.figure.y)} to ${format(line.high[i], this.figure.y)})` : "";
      const row = element("span", {}, `${line.name}: ${format(line.y[i], this.figure.y)}${range}`);
      row.style.color = color(line.color);
      this.tip.append(row);
    }
    const share = this.x(at) / this.svg.viewBox.baseVal.width;
    this.tip.style.left = share < 0.5 ? `${100 * share + 2}%` : "auto";
    this.tip.style.right = share < 0.5 ? "auto" : `${100 * (1 - share) + 2}%`;
  }

  csv() {
    const rows = [["line", this.figure.x.label, this.figure.y.label, "low", "high"]];
    for (const line of this.figure.lines) {
      line.x.forEach((x, i) => rows.push([line.name, x, line.y[i], line.low[i] ?? "", line.high[i] ?? ""]));
    }
    return rows;
  }
}

const BAR = { text: 14, height: 15, gap: 11 };

/// Lines of whole words, each about `width` pixels at most.
function wrap(text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (longer.length * 6.4 <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

class BarPlot {
  constructor(figure, holder) {
    this.figure = figure;
    this.holder = holder;
    this.hidden = new Set();
    this.entries = figure.parts.map((name, color) => ({ name, color }));
  }

  draw(width) {
    const shown = this.entries.filter((part) => !this.hidden.has(part));
    const total = (bar) => shown.reduce((sum, part) => sum + (bar.values[part.color] ?? 0), 0);
    const names = this.figure.bars.map((bar) => wrap(`${bar.name}: ${format(total(bar), this.figure.x)}`, width - 16));
    const height = names.reduce((sum, lines) => sum + BAR.text * lines.length + BAR.height + BAR.gap, EDGE.bottom + 4);
    const x = makeScale(this.figure.x, [0, ...this.figure.bars.map(total)], 8, width - EDGE.right, Math.max(2, width / 110), false);
    this.svg?.remove();
    this.svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.figure.title }, this.holder);
    for (const tick of x.ticks) {
      shape("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 2, y2: height - EDGE.bottom }, this.svg);
    }
    drawTicksBelow(this.svg, this.figure, x, width, height);
    shape("text", { x: width / 2, y: height - 6, "text-anchor": "middle" }, this.svg, this.figure.x.label);
    let y = 0;
    this.figure.bars.forEach((bar, i) => {
      for (const line of names[i]) shape("text", { x: 8, y: (y += BAR.text) }, this.svg, line);
      let left = 0;
      for (const part of shown) {
        const value = bar.values[part.color] ?? 0;
        const box = shape("rect", { x: x(left), y: y + 5, width: Math.max(x(left + value) - x(left), 0), height: BAR.height, fill: color(part.color) }, this.svg);
        shape("title", {}, box, `${bar.name}, ${part.name}: ${format(value, this.figure.x)} ${this.figure.x.label}`);
        left += value;
      }
      y += BAR.height + BAR.gap;
    });
  }

  csv() {
    return [["bar", ...this.figure.parts.map((name) => `${name}, ${this.figure.x.label}`)], ...this.figure.bars.map((bar) => [bar.name, ...bar.values])];
  }
}

// ---- Saving.

function download(name, type, text) {
  const link = element("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function csvText(rows) {
  const cell = (v) => (/[",\n]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : v ?? "");
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/// The figure as a file of its own: styles as attributes, with title and legend.
function svgText(plot) {
  const copy = plot.svg.cloneNode(true);
  const styles = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size"];
  const originals = plot.svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((node, i) => {
    const style = getComputedStyle(originals[i]);
    for (const name of styles) node.setAttribute(name, style.getPropertyValue(name));
  });
  const { width, height } = plot.svg.viewBox.baseVal;
  const shown = plot.entries.filter((entry) => !plot.hidden.has(entry));
  const page = getComputedStyle(document.body);
  const text = { fill: page.color, "font-family": page.fontFamily, "font-size": 12 };
  const ground = shape("rect", { y: -24, width, height: height + 32 + 18 * shown.length, fill: page.backgroundColor }, copy);
  copy.prepend(ground);
  shape("text", { x: 8, y: -8, ...text, "font-weight": "bold" }, copy, plot.figure.title);
  shown.forEach((entry, i) => {
    const ink = page.getPropertyValue(`--s${entry.color % 8}`).trim();
    const y = height + 8 + 18 * i;
    shape("line", { x1: 4, x2: 26, y1: y, y2: y, stroke: ink, "stroke-width": 4, "stroke-dasharray": dashes(entry.color) }, copy);
    shape("text", { x: 30, y: height + 12 + 18 * i, ...text }, copy, entry.name);
  });
  copy.setAttribute("viewBox", `0 -24 ${width} ${height + 32 + 18 * shown.length}`);
  copy.setAttribute("width", width);
  return new XMLSerializer().serializeToString(copy);
}

// ---- The page.

function legend(plot, redraw) {
  const box = element("div", { class: "legend" });
  for (const entry of plot.entries) {
    const button = element("button", { type: "button", "aria-pressed": "true" });
    const key = shape("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" }, button);
    shape("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: color(entry.color), "stroke-width": 3, "stroke-dasharray": dashes(entry.color) }, key);
    button.append(entry.name);
    button.addEventListener("click", () => {
      if (!plot.hidden.delete(entry)) plot.hidden.add(entry);
      button.setAttribute("aria-pressed", String(!plot.hidden.has(entry)));
      redraw();
    });
    box.append(button);
  }
  return box;
}

function addFigure(figure, parent) {
  const holder = element("div", { class: "plot" });
  const plot = new (figure.bars.length ? BarPlot : LinePlot)(figure, holder);
  const redraw = () => plot.draw(Math.max(Math.round(holder.clientWidth), 240));
  const name = figure.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  const save = element("span", { class: "save" });
  for (const [label, action] of [
    ["SVG", () => download(`${name}.svg`, "image/svg+xml", svgText(plot))],
    ["CSV", () => download(`${name}.csv`, "text/csv", csvText(plot.csv()))],
  ]) {
    const button = element("button", { type: "button", "aria-label": `Save ${figure.title} as ${label}` }, label);
    button.addEventListener("click", action);
    save.append(button);
  }
  const node = element("figure", {}, element("figcaption", {}, element("h3", {}, figure.title), save));
  if (figure.note) node.append(element("p", { class: "note" }, figure.note));
  node.append(legend(plot, redraw), holder);
  parent.append(node);
  redraw();
  let width = holder.clientWidth;
  new ResizeObserver(() => {
    if (holder.clientWidth === width || matchMedia("print").matches) return;
    width = holder.clientWidth;
    requestAnimationFrame(redraw);  // not in here: it may change the width of others
  }).observe(holder);
  // On paper, columns are narrow: a figure that was drawn for a screen would have tiny letters there.
  addEventListener("beforeprint", () => plot.draw(figure.small ? 240 : 360));
  addEventListener("afterprint", redraw);
}

function addTable(table, name, parent) {
  const head = element("tr", {}, ...table.columns.map((text) => element("th", { scope: "col" }, text)));
  const body = table.rows.map((row) =>
    element("tr", {}, ...row.map((text, i) => element("td", { class: i ? "value" : "key" }, text))));
  parent.append(element("div", { class: "scroll" }, element("table", { class: name }, element("thead", {}, head), element("tbody", {}, ...body))));
}

function addSection(title, parent) {
  const section = element("section", {}, element("h2", {}, title));
  parent.append(section);
  return section;
}

function addFigures(title, section) {
  const figures = report.figures.filter((figure) => figure.section === title);
  for (const small of [false, true]) {
    const some = figures.filter((figure) => figure.small === small);
    if (!some.length) continue;
    const grid = element("div", { class: small ? "figures small" : "figures" });
    section.append(grid);
    for (const figure of some) addFigure(figure, grid);
  }
}

/// Pictures of test images, each with its labels and predictions, and the colors of the classes.
function addExamples(examples, main) {
  const section = addSection("Test images: the image, its labels, the prediction", main);
  section.append(element("p", { class: "note" }, "Picked at equal distances in the order of the test set, not by how well they look."));
  section.append(element("ul", { class: "classes" }, ...examples.legend.map((one) =>
    element("li", {}, element("span", { style: `background: rgb(${one.color.join(",")})` }), one.name))));
  for (const setting of examples.settings) {
    if (setting.name) section.append(element("h3", {}, setting.name));
    const box = element("div", { class: "examples" });
    for (const image of setting.images) {
      box.append(element("figure", {},
        element("img", { src: `data:image/png;base64,${image.png}`, alt: `test image ${image.sample}, its labels and the prediction` }),
        element("figcaption", {}, `test image ${image.sample}`)));
    }
    section.append(box);
  }
}

function draw() {
  const main = document.querySelector("main");
  document.title = `${report.name} – syncnorm report`;
  main.append(element("h1", {}, report.name));
  main.append(element("ul", { class: "facts" }, ...report.facts.map((text) => element("li", {}, text))));
  const result = addSection("Result", main);
  addFigures("Result", result);
  const byBatch = report.by_batch.rows.length > 0;
  addTable(byBatch ? report.by_batch : report.every_setting, "headline", result);
  if (report.warnings.length) {
    result.append(element("ul", { class: "warnings" }, ...report.warnings.map((text) => element("li", {}, text))));
  }
  const titles = new Set(report.figures.map((figure) => figure.section));
  titles.delete("Result");
  for (const title of titles) addFigures(title, addSection(title, main));
  if (byBatch) addTable(report.every_setting, "headline", addSection("Every setting", main));
  if (report.to_target.rows.length) addTable(report.to_target, "headline", addSection("Updates to a given accuracy", main));
  if (report.examples.settings.length) addExamples(report.examples, main);
  if (report.by_class.rows.length) addTable(report.by_class, "headline", addSection(report.by_class_title, main));
  const settings = addSection(report.kind === "study" ? "Settings that differ, from each other or from the default" : "Settings that differ from the default", main);
  addTable(report.settings, "settings", settings);
}

draw();
