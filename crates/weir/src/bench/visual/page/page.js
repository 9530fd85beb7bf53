// Puts the report together: head, verdict, tables, charts, facts.

const runs = JSON.parse(document.getElementById("runs").textContent);

function table(caption, head, rows) {
  const cell = (tag, content, attributes = {}) =>
    (content instanceof Node ? content : element(tag, attributes, content));
  return element("div", { class: "scroll" }, element("table", {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head.map((text, index) =>
      element("th", { scope: "col", ...(index === 0 ? { class: "text" } : {}) }, text)))),
    element("tbody", {}, ...rows.map(([first, ...rest]) => element("tr", {},
      element("th", { scope: "row", class: "text" }, first),
      ...rest.map((content) => cell("td", content)))))));
}

function head() {
  const kinds = [...new Set(runs.map(({ run }) => run.kind))];
  document.title = `weir bench: ${kinds.join(" and ")}`;
  const lines = runs.map(({ name, run }, index) => element("p", { class: "run-name" },
    runs.length > 1 ? element("strong", {}, `${letter(index)} `) : "", name,
    element("span", { class: "quiet" }, ` · ${workload(run)} · server ${run.server}`)));
  return element("header", {}, element("h1", {}, document.title), ...lines);
}

function workload({ kind, parameters: given }) {
  if (kind === "idle-connections") return `${given.connections.toLocaleString("en")} connections`;
  const [low, high] = [given.message_bytes_min, given.message_bytes_max];
  const size = low === high ? `${low.toLocaleString("en")} B`
    : `${low.toLocaleString("en")} to ${high.toLocaleString("en")} B`;
  const rate = given.rate_bytes_per_second === null ? "as fast as it goes"
    : `${shown(given.rate_bytes_per_second / 1e6, MEGABYTES)} for each actor`;
  return `${given.messages_per_batch.toLocaleString("en")} messages of ${size} in a batch · ` +
    `${rate} · ${given.durability}${given.tls ? " · TLS" : ""}` +
    `${given.deflate ? " · compressed" : ""}`;
}

// What makes the figures doubtful, before anybody reads them.
function careful() {
  const lines = runs.filter(({ run }) => run.doubt)
    .map(({ name, run }) => `${runs.length > 1 ? `${name}: ` : ""}${run.doubt}.`);
  if (runs.length > 1) {
    const kinds = new Set(runs.map(({ run }) => run.kind));
    const others = parameterNames().filter(differs("parameters"));
    if (kinds.size > 1) lines.push("The runs are of different kinds.");
    if (others.length > 0) {
      lines.push(`The runs differ in ${others.map(parameterLabel).join(", ").toLowerCase()}.`);
    }
    if (factNames("machine").some(differs("machine"))) {
      lines.push("The runs are of different machines or kernels.");
    }
  }
  return lines.map((line) =>
    element("p", { class: "careful", role: "note" }, element("strong", {}, "Careful: "), line));
}

const CARDS = [
  ["avg", "Average latency"],
  ["p99", "P99 latency"],
  ["throughput", "Throughput"],
  ["server_cpu_per_batch", "Server CPU per batch"],
  ["server_bytes_per_connection", "Server memory per connection"],
  ["connections_per_second", "Connections opened"],
];

// The pairs that are compared, each the second over the first.
function pairs() {
  if (runs.length > 1) {
    return all.filter((one) => !one.second).flatMap((one) => {
      const name = one.key.split(".")[1];
      const other = all.find((two) => two.second && two.key.endsWith(`.${name}`));
      const isShared = other && Object.keys(one.summary).some((figure) => figure !== "spread" &&
        figure in other.summary);
      return isShared ? [[one, other]] : [];
    });
  }
  const named = (name) => all.find((one) => one.key === `0.${name}`);
  const [native, bridge] = [named("websocket"), named("websocket_bridge")];
  const toFirst = all.slice(1).map((other) => [all[0], other]);
  // What the native path gains over the bridge, where TCP is there to compare both with.
  return native && bridge && all.length > 2 ? [...toFirst, [bridge, native]] : toFirst;
}

function cards() {
  const found = pairs();
  const alone = all.filter((one) => !one.second).slice(0, 1).map((one) => [one, null]);
  return (runs.length === 1 && found.length === 0 ? alone : found).flatMap(cardsOf);
}

function cardsOf([one, other]) {
  const entries = CARDS.flatMap(([name, label]) => {
    const from = one?.summary[name];
    const to = other?.summary[name];
    const { units } = figure(name);
    if (from === undefined || (other && to === undefined)) return [];
    if (!other) return [[label, shown(from, units), one.label, `${one.key}.${name}`]];
    if (!(from > 0)) return [];
    const unit = unitOf(units, [from, to]);
    return [[label, ratioText(to / from), `${other.label} ${inUnit(to, unit(to))}, ${one.label} ` +
      inUnit(from, unit(from)), `${other.key}_over_${one.key}.${name}`]];
  });
  const title = other ? `${other.label} over ${one.label}` : one.label;
  return [element("h2", {}, title), element("dl", { class: "cards" }, ...entries.map(([label, value, small, key]) =>
    element("div", { class: "card" }, element("dt", {}, label),
      element("dd", {}, element("span", { "data-ratio": key }, value),
        element("small", {}, small)))))];
}

function figureNames() {
  const known = Object.keys(FIGURES);
  const present = new Set(all.flatMap(({ summary }) => Object.keys(summary)));
  present.delete("spread");
  const rank = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return [...present].sort((one, other) => rank(one) - rank(other));
}

function summaryTable(caption, columns) {
  const names = figureNames().filter((name) => columns.some((one) => name in one.summary));
  const isLatency = names.some((name) => figure(name).latency);
  const heads = columns.flatMap((one, index) => [one.label,
    ...(index === 0 ? [] : [columns.length > 2 ? `${one.label} to ${columns[0].label}`
      : "Difference"])]);
  const value = (one, name, unit) => element("td", { "data-figure": `${one.key}.${name}` },
    name in one.summary ? inUnit(one.summary[name], unit(one.summary[name])) : "–");
  const rows = names.map((name) => {
    const { label, units } = figure(name);
    const present = columns.filter((one) => name in one.summary);
    const unit = unitOf(units, present.map((one) => one.summary[name]));
    const [first] = columns;
    return [label, ...columns.flatMap((one, index) => [value(one, name, unit),
      ...(index === 0 ? [] : [name in first.summary && name in one.summary
        ? difference(first.summary[name], one.summary[name], units) : "–"])])];
  });
  if (isLatency) {
    rows.push(["Spread of the rounds", ...columns.flatMap((one, index) => [
      element("td", { "data-figure": `${one.key}.spread` }, "spread" in one.summary
        ? ratioText(one.summary.spread) : "–"),
      ...(index === 0 ? [] : [""])])]);
  }
  return table(caption, [isLatency ? "Percentile" : "Figure", ...heads], rows);
}

function summaryTables() {
  const within = runs.map(({ name }, index) => {
    const columns = all.filter((one) => one.key.startsWith(`${index}.`));
    return summaryTable(`All rounds together${runs.length > 1 ? `, ${letter(index)} ${name}` : ""}`,
      columns);
  });
  if (runs.length === 1) return within;
  const across = pairs().map(([one, other]) =>
    summaryTable(`${one.label} and ${other.label}`, [one, other]));
  return [...across, ...within];
}

// Tables of more than two transports need the whole width.
const hasWideTables = () => runs.some((_, index) =>
  all.filter((one) => one.key.startsWith(`${index}.`)).length > 2);

// A percentile beyond the number of batches is their highest latency and says no more.
function restingOnFew() {
  if (roles.length === 0) return [];
  const counts = all.map((one) => countOf(distribution(one, roles[0])));
  const batches = Math.min(...counts.filter((count) => count > 0));
  const few = [["P99", 100], ["P999", 1000], ["P9999", 10000]]
    .filter(([, needed]) => batches < needed).map(([name]) => name);
  if (few.length === 0) return [];
  return [element("p", { class: "quiet" }, `${batches.toLocaleString("en")} batches are too few ` +
    `for ${few.join(", ")}: the highest latencies stand there.`)];
}

const ROUND_FIGURES = [
  ["Latency avg", (round, role) => round[role]?.total?.latency_us.avg, MICROSECONDS],
  ["P50", (round, role) => round[role]?.total?.latency_us.p50, MICROSECONDS],
  ["P99", (round, role) => round[role]?.total?.latency_us.p99, MICROSECONDS],
  ["Max", (round, role) => round[role]?.total?.latency_us.max, MICROSECONDS],
  ["Throughput", (round, role) => rate(round[role]?.total), MEGABYTES],
  ["Connections", (round) => round.connections, COUNT],
  ["Opened", connectionsPerSecond, PER_SECOND],
  ["Memory per connection", memoryPerConnection, BYTES],
  ["Server CPU", (round) => seconds(round.server), MICROSECONDS],
  ["Client CPU", (round) => seconds(round.client), MICROSECONDS],
  ["Syncs", (round) => round.server_syncs ?? undefined, COUNT],
  ["Server peak memory", (round) => round.server?.resident_peak_bytes, BYTES],
];

const rate = (total) =>
  (total && total.seconds > 0 ? total.payload_bytes / 1e6 / total.seconds : undefined);
const seconds = (cost) => (cost ? cost.cpu_seconds * 1e6 : undefined);

function roundsTable() {
  const rounds = all.flatMap((one) => one.rounds.map((round) => ({ one, round })));
  const figures = ROUND_FIGURES.map(([label, value, units]) =>
    ({ label, units, values: rounds.map(({ round }) => value(round, charts.role) ?? null) }))
    .filter(({ values }) => values.some((value) => value !== null));
  const rows = rounds.map(({ one, round }, index) => [`${one.label}, round ${round.round}`,
    ...figures.map(({ values, units }) =>
      (values[index] === null ? "–" : shown(values[index], units)))]);
  return table("Each round by itself", ["Round", ...figures.map(({ label }) => label)], rows);
}

const PARAMETERS = {
  message_bytes_min: ["Smallest message", BYTES],
  message_bytes_max: ["Largest message", BYTES],
  rate_bytes_per_second: ["Rate limit of each actor", [["MB/s", 1e6]]],
  memory_bytes: ["Memory", BYTES],
  cpu: ["CPU"],
  tls: ["TLS"],
  disk_free_bytes: ["Disk free", BYTES],
};

const factNames = (section) =>
  [...new Set(runs.flatMap(({ run }) => Object.keys(run[section] ?? {})))];
const parameterNames = () => factNames("parameters");
const parameterLabel = (name) => PARAMETERS[name]?.[0]
  ?? sentence(name.replace(/_(seconds|us)$/, "").replace("_kib_", "_KiB_"));
const differs = (section) => (name) =>
  new Set(runs.map(({ run }) => JSON.stringify(run[section]?.[name] ?? null))).size > 1;

function factText(name, value) {
  if (value === null || value === undefined) return name.startsWith("rate_") ? "none" : "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map((part) => factText("", part)).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  const units = PARAMETERS[name]?.[1];
  if (units) return shown(value, units);
  if (name.endsWith("_us")) return shown(value, MICROSECONDS);
  if (name.endsWith("_seconds") || name === "seconds") return `${value.toLocaleString("en")} s`;
  // A seed is a name, not an amount.
  return name === "seed" ? String(value) : value.toLocaleString("en");
}

function facts(caption, section) {
  const names = factNames(section).filter((name) => name !== "connections" ||
    runs.some(({ run }) => run.kind === "idle-connections"));
  const rows = names.map((name) => element("tr",
    runs.length > 1 && differs(section)(name) ? { class: "differs" } : {},
    element("th", { scope: "row", class: "text" }, parameterLabel(name)),
    ...runs.map(({ run }) =>
      element("td", { class: "text", "data-fact": `${section}.${name}` },
        factText(name, run[section]?.[name])))));
  const heads = runs.length > 1
    ? [element("thead", {}, element("tr", {}, element("th", {}, ""), ...runs.map((_, index) =>
      element("th", { class: "text", scope: "col" }, letter(index)))))] : [];
  return element("div", { class: "scroll" }, element("table", {},
    element("caption", {}, caption), ...heads, element("tbody", {}, ...rows)));
}

function roleControl() {
  if (roles.length < 2) return [];
  const select = element("select", {}, ...roles.map((role) =>
    element("option", { value: role }, role)));
  select.addEventListener("change", () => {
    charts.role = select.value;
    charts.draw();
    rounds.replaceChildren(roundsTable());
  });
  return [element("p", { class: "controls" }, element("label", {}, "Charts and rounds of the ",
    select))];
}

const all = allSeries(runs);
const roles = rolesOf(runs);
const charts = new Charts(all, roles);
const figures = chartsOf(runs, all, roles).map((chart) => charts.add(chart));
const rounds = element("div", { id: "rounds" }, roundsTable());
document.body.append(
  head(), ...careful(), element("main", {},
    ...cards(),
    element("h2", {}, "Summary"), element("div", { class: hasWideTables() ? "tables wide" : "tables" }, ...summaryTables()),
    ...restingOnFew(),
    element("h2", {}, "Charts"), ...roleControl(), element("div", { class: "charts" }, ...figures),
    element("h2", {}, "Rounds"), rounds,
    element("h2", {}, "What was run"),
    element("div", { class: "facts" },
      facts("Parameters", "parameters"), facts("Machine", "machine"))),
  element("footer", { class: "quiet" }, element("p", {},
    `Made by weir ${[...new Set(runs.map(({ run }) => run.weir))].join(" and ")}. ` +
    "Latencies are of whole batches.")));
charts.draw();
let drawnWidth = document.body.clientWidth;
window.addEventListener("resize", () => {
  if (document.body.clientWidth === drawnWidth) return;
  drawnWidth = document.body.clientWidth;
  charts.draw();
});
