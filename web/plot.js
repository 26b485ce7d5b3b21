// A plot of values over the last minutes: lines with axes, a cursor with the values there, and a table of them.
import { el, svg } from "./dom.js";

const kHeight = 168;
const kLeft = 46;
const kRight = 10;
const kTop = 8;
const kBottom = 22;
const kTableRows = 12;

// How values are written, by unit. A tick and a value are written the same way.
const kFormats = {
  seconds: (v) => (v < 0.001 && v > 0 ? `${round(v * 1e6)} µs` : v < 1 ? `${round(v * 1e3)} ms` : `${round(v)} s`),
  share: (v) => `${round(v * 100)} %`,
  number: (v) => (v >= 1e6 ? `${round(v / 1e6)} M` : v >= 1e4 ? `${round(v / 1e3)} k` : round(v)),
};

function round(value) {
  const digits = value >= 100 || value === 0 ? 0 : value >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

// Three to five steps of 1, 2 or 5 times a power of ten.
function ticks(most) {
  const raw = most / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

const agoText = (seconds) => {
  if (seconds < 1) return "now";
  return seconds >= 60 ? `−${round(seconds / 60)} min` : `−${Math.round(seconds)} s`;
};

export class Plot {
  #points = [];  // {time, values}
  #span = 120;
  #cursor = null;  // seconds before now
  #width = 400;

  // series: [{name, colour, dashed}]; unit: of kFormats; least: the top of the axis is no lower. onCursor(ago) is called
  // when the reader points at a time.
  constructor({ title, note, unit, series, least = 0 }, onCursor) {
    this.title = title;
    this.format = kFormats[unit];
    this.series = series;
    this.least = least;
    this.onCursor = onCursor;
    this.values = series.map(() => el("b", {}, "–"));
    this.when = el("span", { class: "when" });
    this.frame = svg("g", { class: "frame" });
    this.lines = series.map(({ colour, dashed }) => svg("path", { class: `line ${colour}${dashed ? " dashed" : ""}` }));
    this.rule = svg("path", { class: "cursor" });
    this.dots = series.map(({ colour }) => svg("circle", { class: `dot ${colour}`, r: 3.5 }));
    this.svg = svg(
      "svg",
      { height: kHeight, tabindex: "0", role: "img", "aria-label": title },
      this.frame,
      ...this.lines,
      this.rule,
      ...this.dots,
    );
    this.table = el("table");
    const legend = series.map(({ name, colour, dashed }, i) =>
      el("span", { class: "entry" }, el("i", { class: `${colour}${dashed ? " dashed" : ""}` }), name, " ", this.values[i]),
    );
    const details = el("details", { class: "values" }, el("summary", {}, "Values"), this.table);
    details.addEventListener("toggle", () => this.#drawTable());
    this.details = details;
    this.element = el(
      "figure",
      { class: "plot" },
      el("figcaption", {}, el("h2", {}, title), el("small", {}, note), el("div", { class: "legend" }, ...legend, this.when)),
      this.svg,
      details,
    );
    this.#listen();
    new ResizeObserver(([entry]) => {
      this.#width = Math.max(200, Math.round(entry.contentRect.width));
      this.draw();
    }).observe(this.element);
  }

  show(points, span) {
    this.#points = points;
    this.#span = span;
    this.draw();
    this.#drawTable();
  }

  // Shows the values of a time, in seconds before now; null for the latest.
  setCursor(ago) {
    this.#cursor = ago;
    this.#drawCursor();
  }

  #listen() {
    this.svg.addEventListener("pointermove", (event) => {
      const share = (event.offsetX - kLeft) / (this.#width - kLeft - kRight);
      this.onCursor(Math.min(this.#span, Math.max(0, (1 - share) * this.#span)));
    });
    this.svg.addEventListener("pointerleave", () => this.onCursor(null));
    this.svg.addEventListener("blur", () => this.onCursor(null));
    this.svg.addEventListener("keydown", (event) => {
      const step = this.#span / 60;
      const at = this.#cursor ?? 0;
      const to = { ArrowLeft: at + step, ArrowRight: at - step, Home: this.#span, End: 0, Escape: null }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.onCursor(to === null ? null : Math.min(this.#span, Math.max(0, to)));
    });
  }

  get #now() {
    return this.#points.at(-1)?.time ?? 0;
  }

  #x(time) {
    return this.#width - kRight - ((this.#now - time) / this.#span) * (this.#width - kLeft - kRight);
  }

  #y(value) {
    return kHeight - kBottom - (value / this.top) * (kHeight - kTop - kBottom);
  }

  draw() {
    const shown = this.#points.filter(({ time }) => time >= this.#now - this.#span);
    let most = this.least;
    for (const { values } of shown) for (const value of values) if (value > most) most = value;
    const steps = ticks(most || 1);
    this.top = steps.at(-1);
    this.svg.setAttribute("width", this.#width);
    this.svg.setAttribute("viewBox", `0 0 ${this.#width} ${kHeight}`);
    this.frame.replaceChildren();
    for (const step of steps) {
      const y = Math.round(this.#y(step)) + 0.5;
      this.frame.append(
        svg("path", { d: `M${kLeft} ${y}H${this.#width - kRight}` }),
        svg("text", { x: kLeft - 6, y: y + 4, "text-anchor": "end" }, this.format(step)),
      );
    }
    for (const share of [1, 0.5, 0]) {
      const x = this.#width - kRight - share * (this.#width - kLeft - kRight);
      const anchor = share === 1 ? "start" : share === 0 ? "end" : "middle";
      this.frame.append(svg("text", { x, y: kHeight - 5, "text-anchor": anchor }, agoText(share * this.#span)));
    }
    this.lines.forEach((line, i) => line.setAttribute("d", this.#path(shown, i)));
    this.#drawCursor();
  }

  // A line with a gap where there is no value; of points closer than a pixel one is enough.
  #path(points, i) {
    let path = "";
    let open = false;
    let lastX = -1;
    for (const { time, values } of points) {
      const value = values[i];
      if (value === null || value === undefined) {
        open = false;
        continue;
      }
      const x = this.#x(time);
      if (open && x - lastX < 0.75) continue;
      // A value between gaps is a dot.
      path += open ? `L${x.toFixed(1)} ${this.#y(value).toFixed(1)}` : `M${x.toFixed(1)} ${this.#y(value).toFixed(1)}h0.01`;
      open = true;
      lastX = x;
    }
    return path;
  }

  #drawCursor() {
    const time = this.#now - (this.#cursor ?? 0);
    let point = this.#points.at(-1);
    if (this.#cursor !== null) {
      for (const other of this.#points) if (Math.abs(other.time - time) < Math.abs(point.time - time)) point = other;
    }
    const shows = this.#cursor !== null && point;
    this.rule.setAttribute("d", shows ? `M${this.#x(point.time).toFixed(1)} ${kTop}V${kHeight - kBottom}` : "");
    this.when.textContent = shows ? agoText(this.#now - point.time) : "";
    const texts = this.series.map((_, i) => {
      const value = point?.values[i] ?? null;
      const dot = this.dots[i];
      dot.setAttribute("visibility", shows && value !== null ? "visible" : "hidden");
      if (shows && value !== null) {
        dot.setAttribute("cx", this.#x(point.time));
        dot.setAttribute("cy", this.#y(value));
      }
      return value === null ? "–" : this.format(value);
    });
    texts.forEach((text, i) => (this.values[i].textContent = text));
    const described = this.series.map(({ name }, i) => `${name} ${texts[i]}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, ${shows ? agoText(this.#now - point.time) : "now"}: ${described}`);
  }

  // The values as a table, some moments of the span that is shown. Drawn only while it is open.
  #drawTable() {
    if (!this.details.open) return;
    const cell = (name, text, attributes) => el(name, attributes, text);
    const head = ["Time", ...this.series.map(({ name }) => name)].map((text) => cell("th", text, { scope: "col" }));
    const shown = this.#points.filter(({ time }) => time >= this.#now - this.#span);
    const every = Math.max(1, Math.floor(shown.length / kTableRows));
    const rows = [];
    for (let i = shown.length - 1; i >= 0; i -= every) {
      const { time, values } = shown[i];
      const cells = values.map((value) => cell("td", value === null ? "–" : this.format(value)));
      rows.push(el("tr", {}, cell("th", agoText(this.#now - time), { scope: "row" }), ...cells));
    }
    this.table.replaceChildren(
      el("caption", { class: "hidden-text" }, this.title),
      el("thead", {}, el("tr", {}, ...head)),
      el("tbody", {}, ...rows),
    );
  }
}
