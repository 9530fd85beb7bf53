// Draws one chart as SVG and lets mouse, finger and keyboard read its values.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  return filled(made, attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Charts that share one legend state: a series that is hidden in one is hidden in all.
class Charts {
  constructor(series, roles) {
    this.series = series;
    this.hidden = new Set();
    this.role = roles[0];
    this.all = [];
  }

  visible() {
    return this.series.filter((one) => !this.hidden.has(one.key));
  }

  add(description) {
    const chart = new Chart(this, description);
    this.all.push(chart);
    return chart.figure;
  }

  toggle(key) {
    if (this.hidden.has(key)) this.hidden.delete(key);
    else if (this.visible().length > 1) this.hidden.add(key);
    this.draw();
  }

  draw() {
    for (const chart of this.all) chart.draw();
  }
}

const PLOT_HEIGHT = 300;
const DIGIT_WIDTH = 7.2;
const MARKS_MAX = 60;

class Chart {
  constructor(charts, description) {
    this.charts = charts;
    this.description = description;
    this.scale = description.scale;
    this.stop = null;
    this.plot = element("div", { class: "plot" });
    this.tooltip = element("div", { class: "tooltip", hidden: "" });
    this.spoken = element("div", { class: "spoken", "aria-live": "polite" });
    this.legend = element("div", { class: "legend", role: "group", "aria-label": "Series" });
    this.table = element("div", { class: "scroll" });
    this.details = element("details", {}, element("summary", {}, "Values as a table"), this.table);
    this.details.addEventListener("toggle", () => this.fillTable());
    this.figure = element("figure", { id: description.id },
      element("div", { class: "chart-head" },
        element("h3", {}, description.title), ...this.scaleControl()),
      element("p", { class: "quiet" }, description.about),
      this.plot, this.legend, this.details, this.spoken);
  }

  scaleControl() {
    if (this.scale === undefined) return [];
    const select = element("select", {}, ...LATENCY_SCALES.map((name) =>
      element("option", name === this.scale ? { value: name, selected: "" } : { value: name },
        name)));
    select.addEventListener("change", () => {
      this.scale = select.value;
      this.draw();
    });
    const label = element("label", { class: "quiet" }, "Scale ", select);
    return [element("div", { class: "controls" }, label)];
  }

  draw() {
    const visible = this.charts.visible();
    this.spec = this.description.build(visible, { role: this.charts.role, scale: this.scale });
    this.spec.stops = this.spec.stops.filter((stop) => stop.rows.length > 0);
    this.stop = null;
    this.tooltip.hidden = true;
    this.drawLegend();
    this.layOut();
    const label = `${this.description.title}: ${this.spec.y.title} against ${this.spec.x.title}. ` +
      "Arrow keys read the values.";
    this.svg = drawn("svg", {
      viewBox: `0 0 ${this.width} ${this.height}`, height: this.height, role: "img",
      tabindex: "0", "aria-label": label,
    });
    this.drawAxes();
    for (const layer of this.spec.layers) this.drawLayer(layer);
    this.cursor = drawn("g", { class: "reading" });
    this.svg.append(this.cursor);
    this.listen();
    this.plot.replaceChildren(this.svg, this.tooltip);
    this.fillTable();
  }

  layOut() {
    const { x, y } = this.spec;
    this.width = Math.max(260, this.plot.clientWidth || 600);
    this.height = this.width < 420 ? PLOT_HEIGHT - 30 : PLOT_HEIGHT + 20;
    this.yTicks = y.ticks(6);
    const widest = Math.max(1, ...this.yTicks.map((tick) => tick.text.length));
    this.left = 30 + widest * DIGIT_WIDTH;
    this.right = this.width - 14;
    this.top = this.spec.separators?.length ? 24 : 12;
    this.bottom = this.height - 44;
    this.xTicks = x.ticks(Math.max(2, Math.floor((this.right - this.left) / 64)));
  }

  x(value) {
    return position(this.spec.x, value, this.left, this.right);
  }

  y(value) {
    return position(this.spec.y, value, this.bottom, this.top);
  }

  drawAxes() {
    const { x, y, separators = [] } = this.spec;
    const line = (name, x1, y1, x2, y2) =>
      this.svg.append(drawn("line", { class: name, x1, y1, x2, y2 }));
    const text = (content, attributes) => this.svg.append(drawn("text", attributes, content));
    for (const tick of this.yTicks) {
      const at = this.y(tick.at);
      line("grid", this.left, at, this.right, at);
      text(tick.text, { x: this.left - 7, y: at + 4, "text-anchor": "end" });
    }
    let free = -Infinity;
    for (const tick of this.xTicks) {
      const at = this.x(tick.at);
      const half = (tick.text.length * DIGIT_WIDTH) / 2;
      line("grid", at, this.top, at, this.bottom);
      if (at - half < free || at + half > this.width) continue;
      text(tick.text, { x: at, y: this.bottom + 18, "text-anchor": "middle" });
      free = at + half + 6;
    }
    line("axis", this.left, this.bottom, this.right, this.bottom);
    free = -Infinity;
    for (const { at, text: label } of separators) {
      const place = this.x(at);
      if (at > 0) line("between", place, this.top - 10, place, this.bottom);
      if (place < free) continue;
      text(label, { x: place + 4, y: this.top - 9 });
      free = place + (label.length + 1) * DIGIT_WIDTH;
    }
    text(x.title, { class: "axis-title", x: (this.left + this.right) / 2, y: this.height - 6,
      "text-anchor": "middle" });
    const middle = (this.top + this.bottom) / 2;
    text(y.title, { class: "axis-title", x: 14, y: middle, "text-anchor": "middle",
      transform: `rotate(-90 14 ${middle})` });
  }

  drawLayer({ series, kind, points, marks }) {
    const name = `${kind === "fine" ? "curve fine" : kind}${series.second ? " second" : ""}`;
    const paint = kind === "area" ? `stroke: ${series.colour}; fill: ${series.colour}`
      : `stroke: ${series.colour}`;
    const floor = this.y(Math.max(0, this.spec.y.from)).toFixed(1);
    const path = kind === "area" ? areaPath(this.placed(points), floor)
      : curvePath(this.placed(points));
    this.svg.append(drawn("path", { class: name, style: paint, d: path }));
    const present = points.filter((point) => point !== null);
    if (!marks || present.length > MARKS_MAX) return;
    for (const [x, y] of present) this.svg.append(mark(series, this.x(x), this.y(y), 3.5));
  }

  placed(points) {
    return points.map((point) => point && [this.x(point[0]).toFixed(1), this.y(point[1]).toFixed(1)]);
  }

  drawLegend() {
    const buttons = this.charts.series.map((one) => {
      const isShown = !this.charts.hidden.has(one.key);
      const button = element("button", { type: "button", "aria-pressed": String(isShown),
        "data-series": one.key, title: isShown ? "Hide this series" : "Show this series" },
        sample(one), one.label);
      button.addEventListener("click", () => {
        this.charts.toggle(one.key);
        this.legend.querySelector(`[data-series="${one.key}"]`).focus();
      });
      return button;
    });
    this.legend.replaceChildren(...buttons);
  }

  listen() {
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.read(this.nearest(((event.clientX - box.left) / box.width) * this.width));
    });
    this.svg.addEventListener("pointerleave", () => this.read(null));
    this.svg.addEventListener("blur", () => this.read(null));
    this.svg.addEventListener("keydown", (event) => {
      const last = this.spec.stops.length - 1;
      const current = this.stop;
      const next = {
        ArrowRight: current === null ? 0 : Math.min(last, current + 1),
        ArrowLeft: current === null ? last : Math.max(0, current - 1),
        Home: 0,
        End: last,
        Escape: null,
      }[event.key];
      if (next === undefined || last < 0) return;
      event.preventDefault();
      this.read(next);
      if (next !== null) this.spoken.textContent = this.tooltip.innerText;
    });
  }

  nearest(place) {
    let best = null;
    let distance = Infinity;
    this.spec.stops.forEach((stop, index) => {
      const away = Math.abs(this.x(stop.at) - place);
      if (away < distance) [best, distance] = [index, away];
    });
    return best;
  }

  // Shows the values at a stop, or none.
  read(index) {
    this.stop = index;
    this.cursor.replaceChildren();
    this.tooltip.hidden = index === null;
    if (index === null) return;
    const stop = this.spec.stops[index];
    const at = this.x(stop.at);
    this.cursor.append(
      drawn("line", { class: "cursor", x1: at, x2: at, y1: this.top, y2: this.bottom }),
      ...stop.rows.map((row) => mark(row.series, at, this.y(row.y), 4.5)));
    this.tooltip.replaceChildren(element("strong", {}, stop.title), ...stop.rows.map((row) =>
      element("div", { class: "row" },
        drawn("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, mark(row.series, 6, 6, 4.5)),
        element("span", {}, [row.series.label, row.name].filter((part) => part).join(", ")),
        element("b", {}, row.text))));
    this.placeTooltip(at);
  }

  placeTooltip(at) {
    const scale = this.plot.clientWidth / this.width;
    const room = this.plot.clientWidth - this.tooltip.offsetWidth;
    const right = at * scale + 14;
    const left = at * scale - this.tooltip.offsetWidth - 14;
    const wanted = right <= room ? right : left;
    this.tooltip.style.left = `${Math.max(0, Math.min(room, wanted))}px`;
    this.tooltip.style.top = `${this.top + 4}px`;
  }

  fillTable() {
    if (!this.details.open) return;
    const stops = this.spec.stops.filter((stop) => stop.is_key);
    const columns = new Map();
    for (const row of stops.flatMap((stop) => stop.rows)) {
      columns.set(`${row.series.label} ${row.name}`.trim(), null);
    }
    const names = [...columns.keys()];
    const line = (stop) => element("tr", {}, element("th", { scope: "row" }, stop.title),
      ...names.map((name) => element("td", {}, stop.rows.find((row) =>
        `${row.series.label} ${row.name}`.trim() === name)?.text ?? "–")));
    this.table.replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, element("th", {}, ""),
        ...names.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...stops.map(line))));
  }
}

function position({ scale, from, to }, value, start, end) {
  const part = scale === "log"
    ? Math.log(Math.max(value, from) / from) / Math.log(to / from)
    : (value - from) / (to - from);
  return start + Math.min(1, Math.max(0, part)) * (end - start);
}

function curvePath(points) {
  let path = "";
  let pen = "M";
  for (const point of points) {
    if (point === null) {
      pen = "M";
      continue;
    }
    path += `${pen}${point[0]} ${point[1]}`;
    pen = "L";
  }
  return path;
}

function areaPath(points, floor) {
  if (points.length === 0) return "";
  const top = points.map((point) => `L${point[0]} ${point[1]}`).join("");
  return `M${points[0][0]} ${floor}${top}L${points[points.length - 1][0]} ${floor}Z`;
}

// Shapes tell the transports apart where colours do not; a hollow one is the second run's.
function mark(series, x, y, size) {
  const paint = series.second
    ? `fill: var(--panel); stroke: ${series.colour}` : `fill: ${series.colour}`;
  const attributes = { class: "mark", style: paint };
  if (series.mark === "circle") return drawn("circle", { ...attributes, cx: x, cy: y, r: size });
  const turn = series.mark === "diamond" ? { transform: `rotate(45 ${x} ${y})` } : {};
  return drawn("rect", { ...attributes, ...turn, x: x - size * 0.9, y: y - size * 0.9,
    width: size * 1.8, height: size * 1.8 });
}

function sample(series) {
  const name = series.second ? "curve second" : "curve";
  return drawn("svg", { viewBox: "0 0 30 12", "aria-hidden": "true" },
    drawn("path", { class: name, style: `stroke: ${series.colour}`, d: "M1 6L29 6" }),
    mark(series, 15, 6, 4));
}
