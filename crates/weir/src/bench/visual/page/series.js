// From the saved runs to what is drawn: a series is one transport of one run.

const TRANSPORTS = {
  tcp: { label: "TCP", colour: "var(--tcp)", mark: "circle" },
  websocket: { label: "WebSocket", colour: "var(--websocket)", mark: "diamond" },
  websocket_bridge: { label: "WebSocket bridge", colour: "var(--bridge)", mark: "square" },
};

const transportName = (name) => name.replaceAll("-", "_");

const transport = (name) =>
  TRANSPORTS[name] ?? { label: sentence(name), colour: "var(--other)", mark: "square" };

// The transports of a run, TCP first because the others are compared with it.
function transportsOf(run) {
  const order = Object.keys(TRANSPORTS);
  const rank = (name) => (order.indexOf(name) + order.length + 1) % (order.length + 1);
  const found = Object.keys(run.summary).filter((name) => !name.includes("_over_"));
  return found.map(transportName).sort((one, other) => rank(one) - rank(other));
}

function summaryOf(run, name) {
  const key = Object.keys(run.summary).find((key) => transportName(key) === name);
  const figures = Object.entries(run.summary[key] ?? {});
  return Object.fromEntries(figures.filter(([, value]) => value !== null));
}

// Where two runs are shown, A and B tell them apart.
const letter = (index) => "ABCDEFGH".charAt(index);

function allSeries(runs) {
  return runs.flatMap(({ run }, index) => transportsOf(run).map((name) => ({
    ...transport(name),
    key: `${index}.${name}`,
    label: transport(name).label + (runs.length > 1 ? ` ${letter(index)}` : ""),
    summary: summaryOf(run, name),
    rounds: run.rounds.filter((round) => transportName(round.transport) === name),
    second: index > 0,
  })));
}

const ROLES = ["consumers", "producers"];
const rolesOf = (runs) => ROLES.filter((role) =>
  runs.some(({ run }) => run.rounds.some((round) => round[role]?.total)));

const totals = (series, role) => series.rounds.map((round) => round[role]?.total ?? null);

// The latencies of all rounds as [microseconds, batches, batches until here], ascending.
function distribution(series, role) {
  const counts = new Map();
  for (const total of totals(series, role)) {
    for (const [value, count] of total?.histogram_us ?? []) {
      counts.set(value, (counts.get(value) ?? 0) + count);
    }
  }
  let until = 0;
  return [...counts].sort((one, other) => one[0] - other[0]).map(([value, count]) => {
    until += count;
    return [value, count, until];
  });
}

const countOf = (values) => (values.length === 0 ? 0 : values[values.length - 1][2]);

function quantile(values, part) {
  const wanted = Math.max(1, Math.ceil(part * countOf(values) - 1e-9));
  return values.find((entry) => entry[2] >= wanted)?.[0] ?? null;
}

// Where each round begins when the rounds are shown one after another, in seconds.
function roundStarts(series, role) {
  const lengths = [];
  for (const one of series) {
    totals(one, role).forEach((total, index) => {
      lengths[index] = Math.max(lengths[index] ?? 1, total?.each_second.length ?? 0);
    });
  }
  const starts = [0];
  for (const length of lengths) starts.push(starts[starts.length - 1] + length);
  return starts;
}

// The seconds of a series; the last one may be cut short by the end of the round.
function secondsOf(series, role, starts) {
  return totals(series, role).map((total, round) =>
    (total?.each_second ?? []).map((second, index) => ({
      ...second,
      round,
      index,
      at: starts[round] + index + 0.5,
      length: Math.min(1, total.seconds - index),
    })));
}

const LATENCY_SCALES = ["linear", "log"];

function axis(scale, from, to, units, title) {
  const [name, size] = unitFor(units, scale === "log" ? Math.sqrt(from * to) : to);
  const ticks = (count) => {
    const [low, high] = [from / size, to / size];
    const places = scale === "log" ? logTicks(low, high, count) : linearTicks(low, high, count);
    return places.map((tick) => ({ at: tick * size, text: tickText(tick) }));
  };
  const inside = [name, scale === "log" ? "log scale" : ""].filter((part) => part !== "");
  return { scale, from, to, ticks, title: `${title} (${inside.join(", ")})` };
}

// A latency axis around the values; linear ones begin at nothing.
function latencyAxis(scale, values, title) {
  const present = values.filter((value) => value !== null && value > 0);
  const high = present.reduce((one, other) => Math.max(one, other), 0) || 1;
  const low = present.reduce((one, other) => Math.min(one, other), high);
  if (scale !== "log") return axis("linear", 0, high * 1.06, MICROSECONDS, title);
  return axis("log", low * 0.9, high * 1.15, MICROSECONDS, title);
}

function timeAxis(starts) {
  const end = starts[starts.length - 1];
  const ticks = (count) =>
    linearTicks(0, end, Math.min(count, end)).map((at) => ({ at, text: tickText(at) }));
  const title = starts.length > 2 ? "Measured time, rounds in turn (s)" : "Measured time (s)";
  return { scale: "linear", from: 0, to: end, ticks, title };
}

const separators = (starts) =>
  starts.length <= 2 ? [] : starts.slice(0, -1).map((at, round) =>
    ({ at, text: `round ${round + 1}` }));

// One stop for each second at which any series has a value.
function timeStops(columns, rowsOf) {
  const stops = new Map();
  for (const { one, rounds } of columns) {
    for (const second of rounds.flat()) {
      const rows = rowsOf(one, second);
      if (rows.length === 0) continue;
      const title = `Round ${second.round + 1}, second ${second.index + 1}`;
      const stop = stops.get(second.at) ?? { at: second.at, title, rows: [], is_key: true };
      stop.rows.push(...rows);
      stops.set(second.at, stop);
    }
  }
  return [...stops.values()].sort((one, other) => one.at - other.at);
}

// Points of all rounds, with a gap between rounds and where there is nothing to show.
const joined = (rounds, value) =>
  rounds.flatMap((seconds) => [null, ...seconds.map((second) => {
    const y = value(second);
    return y === null ? null : [second.at, y];
  })]);

function latencyOverTime(series, { role, scale }) {
  const starts = roundStarts(series, role);
  const columns = series.map((one) => ({ one, rounds: secondsOf(one, role, starts) }));
  const average = (second) => (second.batches > 0 ? second.latency_avg_us : null);
  const highest = (second) => (second.batches > 0 ? second.latency_max_us : null);
  const values = columns.flatMap(({ rounds }) =>
    rounds.flat().flatMap((second) => [average(second), highest(second)]));
  return {
    x: timeAxis(starts),
    y: latencyAxis(scale, values, "Latency"),
    separators: separators(starts),
    layers: columns.flatMap(({ one, rounds }) => [
      { series: one, kind: "fine", points: joined(rounds, highest) },
      { series: one, kind: "curve", points: joined(rounds, average), marks: true },
    ]),
    stops: timeStops(columns, (one, second) => (second.batches === 0 ? [] : [
      { series: one, name: "average", y: average(second),
        text: shown(average(second), MICROSECONDS) },
      { series: one, name: "highest", y: highest(second),
        text: shown(highest(second), MICROSECONDS) },
    ])),
  };
}

// A second that is cut short by more than half says little about a rate.
const rateOf = (second) => (second.length < 0.5 && second.index > 0 ? null
  : second.payload_bytes / 1e6 / Math.max(second.length, 0.001));

function throughputOverTime(series, { role }) {
  const starts = roundStarts(series, role);
  const columns = series.map((one) => ({ one, rounds: secondsOf(one, role, starts) }));
  const values = columns.flatMap(({ rounds }) => rounds.flat().map(rateOf));
  const high = values.reduce((one, other) => Math.max(one, other ?? 0), 0) || 1;
  return {
    x: timeAxis(starts),
    y: axis("linear", 0, high * 1.06, MEGABYTES, "Throughput"),
    separators: separators(starts),
    layers: columns.map(({ one, rounds }) =>
      ({ series: one, kind: "curve", points: joined(rounds, rateOf), marks: true })),
    stops: timeStops(columns, (one, second) => (rateOf(second) === null ? [] : [
      { series: one, name: "", y: rateOf(second), text: shown(rateOf(second), MEGABYTES) },
    ])),
  };
}

// 0.99 is 2, 0.999 is 3: how many nines a part has.
const nines = (part) => -Math.log10(1 - part);
const NINES_KEYS = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 0.999999];
const percentText = (part) =>
  `${Number((part * 100).toFixed(Math.max(0, Math.ceil(nines(part) + 0.3) - 2)))}%`;

function percentileCurve(series, { role, scale }) {
  const columns = series.map((one) => ({ one, values: distribution(one, role) }))
    .filter(({ values }) => values.length > 0);
  const end = Math.max(1, ...columns.map(({ values }) => Math.log10(countOf(values))));
  const points = (values) => {
    const own = Math.log10(countOf(values));
    let from = 0;
    return values.flatMap(([value, , until]) => {
      const to = Math.min(own, nines(until / countOf(values)));
      const step = [[from, value], [to, value]];
      from = to;
      return step;
    });
  };
  const keys = NINES_KEYS.filter((part) => nines(part) <= end + 1e-9);
  const places = Array.from({ length: 121 }, (_, index) => 1 - 10 ** (-(index / 120) * end));
  const stop = (part, isKey) => ({
    at: nines(part),
    title: `${percentText(part)} of batches within`,
    is_key: isKey,
    rows: columns.filter(({ values }) => nines(part) <= Math.log10(countOf(values)) + 1e-9)
      .map(({ one, values }) => {
        const y = quantile(values, part);
        return { series: one, name: "", y, text: shown(y, MICROSECONDS) };
      }),
  });
  const stops = [...places.map((part) => stop(part, false)), ...keys.map((part) => stop(part, true))];
  const ticks = () => [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]
    .filter((part) => nines(part) <= end + 1e-9)
    .map((part) => ({ at: nines(part), text: percentText(part) }));
  const latencies = columns.flatMap(({ values }) => [values[0][0], values[values.length - 1][0]]);
  return {
    x: { scale: "linear", from: 0, to: end, ticks, title: "Percentile (1 − 10⁻ˣ scale)" },
    y: latencyAxis(scale, latencies, "Latency"),
    layers: columns.map(({ one, values }) =>
      ({ series: one, kind: "curve", points: points(values) })),
    stops: stops.sort((one, other) => one.at - other.at),
  };
}

const HISTOGRAM_BINS = 60;
// What lies beyond is for the percentile curve; shown here it would press the rest together.
const HISTOGRAM_PART = 0.999;

function latencyHistogram(series, { role }) {
  const columns = series.map((one) => ({ one, values: distribution(one, role) }))
    .filter(({ values }) => values.length > 0);
  const ends = columns.map(({ values }) => quantile(values, HISTOGRAM_PART));
  const high = Math.max(1e-3, ...ends) * 1.02;
  const low = Math.min(high / 1.1, ...columns.map(({ values }) => values[0][0])) * 0.98;
  const isLog = high / low > 8;
  const edge = (index) => (isLog ? low * (high / low) ** (index / HISTOGRAM_BINS)
    : low + ((high - low) * index) / HISTOGRAM_BINS);
  const edges = Array.from({ length: HISTOGRAM_BINS + 1 }, (_, index) => edge(index));
  const shares = columns.map(({ one, values }) => ({ one, shares: sharesOf(values, edges) }));
  const top = Math.max(1e-9, ...shares.flatMap(({ shares }) => shares));
  const unit = unitFor(MICROSECONDS, high);
  const stop = (index) => ({
    at: isLog ? Math.sqrt(edges[index] * edges[index + 1]) : (edges[index] + edges[index + 1]) / 2,
    title: `${digits(edges[index] / unit[1])} to ${inUnit(edges[index + 1], unit)}`,
    is_key: shares.some(({ shares }) => shares[index] > 0),
    rows: shares.map(({ one, shares }) =>
      ({ series: one, name: "", y: shares[index], text: `${digits(shares[index])}%` })),
  });
  return {
    x: axis(isLog ? "log" : "linear", low, high, MICROSECONDS, "Latency"),
    y: axis("linear", 0, top * 1.06, [["%", 1]], "Share of batches"),
    layers: shares.map(({ one, shares }) => ({
      series: one,
      kind: "area",
      points: shares.flatMap((share, index) => [[edges[index], share], [edges[index + 1], share]]),
    })),
    stops: Array.from({ length: HISTOGRAM_BINS }, (_, index) => stop(index)),
  };
}

function sharesOf(values, edges) {
  const shares = new Array(edges.length - 1).fill(0);
  let index = 0;
  for (const [value, count] of values) {
    while (index < shares.length && value > edges[index + 1]) index += 1;
    if (index === shares.length) break;
    shares[index] += (count * 100) / countOf(values);
  }
  return shares;
}

// One bar for each round of each series.
function bars(series, { value, units, title }) {
  const rounds = Math.max(1, ...series.map((one) => one.rounds.length));
  const width = 0.8 / series.length;
  const place = (index, round) => round + 1 - 0.4 + index * width;
  const columns = series.map((one, index) => ({
    one,
    bars: one.rounds.map((round, number) => ({ at: place(index, number), y: value(round) })),
  }));
  const values = columns.flatMap(({ bars }) => bars.map((bar) => bar.y ?? 0));
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values) || 1;
  const ticks = () => Array.from({ length: rounds }, (_, round) =>
    ({ at: round + 1, text: String(round + 1) }));
  return {
    x: { scale: "linear", from: 0.5, to: rounds + 0.5, ticks, title: "Round" },
    y: axis("linear", low * 1.06, high * 1.06, units, title),
    layers: columns.flatMap(({ one, bars }) => bars.filter((bar) => bar.y !== null).map((bar) => ({
      series: one,
      kind: "area",
      points: [[bar.at, bar.y], [bar.at + width * 0.92, bar.y]],
    }))),
    stops: Array.from({ length: rounds }, (_, round) => ({
      at: round + 1,
      title: `Round ${round + 1}`,
      is_key: true,
      rows: columns.filter(({ bars }) => (bars[round]?.y ?? null) !== null).map(({ one, bars }) =>
        ({ series: one, name: "", y: bars[round].y, text: shown(bars[round].y, units) })),
    })),
  };
}

const memoryPerConnection = (round) => (!round.server || !round.connections ? null
  : (round.server.resident_after_bytes - round.server.resident_before_bytes) / round.connections);
const connectionsPerSecond = (round) =>
  (round.connecting_seconds > 0 ? round.connections / round.connecting_seconds : null);

// Whether the values reach so far that a linear axis would hide the lower ones.
const isWide = (series, role) => series.some((one) => {
  const values = distribution(one, role);
  return values.length > 0 && values[values.length - 1][0] / quantile(values, 0.5) > 12;
});

function chartsOf(runs, series, roles) {
  if (roles.length === 0) {
    return [
      { id: "memory", title: "Server memory per connection", about: "Resident bytes that the " +
        "server grew by, for each connection; a server that is started for the run is a new one " +
        "in each round.",
        build: (visible) => bars(visible,
          { value: memoryPerConnection, units: BYTES, title: "Memory per connection" }) },
      { id: "opening", title: "Connections opened", about: "Connections that opened and logged " +
        "in, for each second of connecting.",
        build: (visible) => bars(visible,
          { value: connectionsPerSecond, units: PER_SECOND, title: "Connections" }) },
    ];
  }
  const scale = isWide(series, roles[0]) ? "log" : "linear";
  return [
    { id: "latency", title: "Latency over time", scale, build: latencyOverTime,
      about: "Each second of measured time: the average as a line, the highest dotted." },
    { id: "percentiles", title: "Latency by percentile", scale, build: percentileCurve,
      about: "Which latency so many of the batches stayed within; all rounds together." },
    { id: "throughput", title: "Throughput over time", build: throughputOverTime,
      about: "Payload bytes in each second of measured time." },
    { id: "histogram", title: "Distribution of latency", build: latencyHistogram,
      about: "Share of batches by latency, all rounds together, up to P999 of the slowest." },
  ];
}
