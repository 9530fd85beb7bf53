// Numbers for people: three digits that matter, with a unit.

const MICROSECONDS = [["µs", 1], ["ms", 1e3], ["s", 1e6]];
const MEGABYTES = [["kB/s", 1e-3], ["MB/s", 1], ["GB/s", 1e3]];
const BYTES = [["B", 1], ["KiB", 1024], ["MiB", 1024 ** 2], ["GiB", 1024 ** 3]];
const MEBIBYTES = BYTES.map(([name, size]) => [name, size / 1024 ** 2]);
const PER_SECOND = [["/s", 1]];
const COUNT = [["", 1]];

// What the names of the summary mean: label, units, and whether it belongs to the latencies.
const FIGURES = {
  avg: { label: "Average", units: MICROSECONDS, latency: true },
  p50: { label: "Median (P50)", units: MICROSECONDS, latency: true },
  p95: { label: "P95", units: MICROSECONDS, latency: true },
  p99: { label: "P99", units: MICROSECONDS, latency: true },
  p999: { label: "P999", units: MICROSECONDS, latency: true },
  p9999: { label: "P9999", units: MICROSECONDS, latency: true },
  max: { label: "Max", units: MICROSECONDS, latency: true },
  min: { label: "Min", units: MICROSECONDS, latency: true },
  std_dev: { label: "Standard deviation", units: MICROSECONDS, latency: true },
  throughput: { label: "Throughput", units: MEGABYTES },
  messages_per_second: { label: "Messages", units: PER_SECOND },
  batches_per_second: { label: "Batches", units: PER_SECOND },
  server_cpu_per_batch: { label: "Server CPU per batch", units: MICROSECONDS },
  client_cpu_per_batch: { label: "Client CPU per batch", units: MICROSECONDS },
  server_cpu_per_message: { label: "Server CPU per message", units: MICROSECONDS },
  client_cpu_per_message: { label: "Client CPU per message", units: MICROSECONDS },
  syncs_per_second: { label: "Syncs", units: PER_SECOND },
  batches_per_sync: { label: "Batches per sync", units: COUNT },
  server_peak_memory: { label: "Server peak memory", units: MEBIBYTES },
  server_bytes_per_connection: { label: "Server memory per connection", units: BYTES },
  connections_per_second: { label: "Connections opened", units: PER_SECOND },
};

const figure = (name) => FIGURES[name] ?? { label: sentence(name), units: unitsByName(name) };

function unitsByName(name) {
  if (name.endsWith("_us")) return MICROSECONDS;
  if (name.endsWith("_bytes")) return BYTES;
  return COUNT;
}

function sentence(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

// The largest unit in which the value is at least one.
function unitFor(units, value) {
  const size = Math.abs(value);
  let chosen = units[0];
  for (const unit of units) {
    if (size >= unit[1] * 0.9995) chosen = unit;
  }
  return chosen;
}

// Three digits that matter; whole numbers with separators.
function digits(value) {
  const size = Math.abs(value);
  const decimals = size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : size >= 0.0995 ? 2 : 3;
  const options = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en", options);
}

// The space does not break, so that a number keeps its unit.
const inUnit = (value, [name, size]) =>
  `${digits(value / size)}${name === "" ? "" : "\u00a0"}${name}`;
const shown = (value, units) => inUnit(value, unitFor(units, value));

// One unit for what is read side by side, unless that would hide the smaller value.
function unitOf(units, values) {
  const sizes = values.map(Math.abs).filter((size) => size > 0);
  const [low, high] = [Math.min(...sizes), Math.max(...sizes)];
  return sizes.length > 0 && high / low < 500 ? () => unitFor(units, high)
    : (value) => unitFor(units, value);
}

// Two digits behind the point, or two that matter.
const ratioText = (ratio) => `${ratio < 0.095 ? ratio.toPrecision(2) : ratio.toFixed(2)}\u00a0×`;

// "+0.82 ms (31.4% higher)".
function difference(from, to, units) {
  const change = to - from;
  if (Math.abs(change) <= Math.abs(from) * 0.0005) return "equal";
  const unit = unitOf(units, [from, to])(Math.max(Math.abs(from), Math.abs(to)));
  const text = `${change < 0 ? "−" : "+"}${inUnit(Math.abs(change), unit)}`;
  if (from === 0) return text;
  const percent = Math.abs(change / from) * 100;
  const many = percent >= 999.5 ? Math.round(percent).toLocaleString("en") : percent.toFixed(1);
  return `${text} (${many}%\u00a0${change < 0 ? "lower" : "higher"})`;
}

// Round places on an axis: 1, 2 or 5 times a power of ten apart.
function linearTicks(from, to, count) {
  const rough = (to - from) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((part) => part * power).find((size) => size >= rough * 0.999);
  const ticks = [];
  for (let index = Math.ceil(from / step - 1e-9); index * step <= to + step * 1e-9; index += 1) {
    ticks.push(index * step);
  }
  return ticks;
}

function logTicks(from, to, count) {
  for (const parts of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power += 1) {
      for (const part of parts) {
        const tick = part * 10 ** power;
        if (tick >= from * 0.999 && tick <= to * 1.001) ticks.push(tick);
      }
    }
    if (ticks.length <= count || parts.length === 1) return ticks;
  }
  return [];
}

// A tick without digits that say nothing.
const tickText = (value) =>
  Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 6 });
