//! What `weir bench` writes and draws: the JSON file keeps to its published schema, the page shows
//! its numbers in a real browser, the charts are images.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::browser::{Opened, open};
use crate::harness::{run_to_end, weir};

/// Reads every chart with the keyboard, uses every control, and notes what came of it.
const VISITOR: &str = r##"<script>
for (const role of document.querySelector("p.controls select")?.options ?? []) {
  role.parentElement.value = role.value;
  role.parentElement.dispatchEvent(new Event("change"));
  const read = document.querySelector("#rounds td").innerText;
  document.body.dataset[role.value] = read;
}
for (const figure of document.querySelectorAll("figure")) {
  const press = (key) => figure.querySelector(".plot svg")
    .dispatchEvent(new KeyboardEvent("keydown", { key }));
  press("End");
  press("Home");
  figure.dataset.read = figure.querySelector(".tooltip").innerText;
  const first = figure.querySelector(".legend button");
  first.click();
  figure.dataset.hidden = figure.querySelector(".legend button").ariaPressed;
  figure.querySelector(".legend button").click();
  for (const select of figure.querySelectorAll("select")) {
    for (const { value } of [...select.options]) {
      select.value = value;
      select.dispatchEvent(new Event("change"));
    }
  }
  figure.querySelector("details").open = true;
}
document.body.dataset.overflow =
  String(document.documentElement.scrollWidth - document.documentElement.clientWidth);
</script></body>"##;

/// Fails with all that is wrong if `report` is not what docs/benchmarks.schema.json describes.
fn check_schema(report: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A short run that was drawn.
pub(crate) struct Drawn {
    directory: TempDir,
    pub(crate) run: Value,
    /// What it printed.
    pub(crate) table: String,
}

impl Drawn {
    fn new(kind: &str, more: &[&str]) -> Drawn {
        let mut arguments = vec!["--rounds", "2", "--messages-per-batch", "10"];
        arguments.extend(["--message-size", "100"]);
        arguments.extend(more);
        Drawn::of(&[kind, "compare"], &arguments)
    }

    /// A run of this kind and transport, against a server of its own.
    pub(crate) fn of(what: &[&str], more: &[&str]) -> Drawn {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        let mut arguments = more.to_vec();
        if !more.contains(&"--self-test") && !more.contains(&"--server") {
            arguments.extend(["--data-dir", data.to_str().expect("a plain name")]);
        }
        let file = |name: &str| directory.path().join(name);
        let mut command = weir();
        command
            .arg("bench")
            .args(what)
            .args(["--warm-up", "0"])
            .args(arguments)
            .arg("--json")
            .arg(file("run.json"))
            .arg("--html")
            .arg(file("run.html"))
            .arg("--svg")
            .arg(file("charts"));
        let table = succeed(command);
        assert!(!data.exists(), "the run's data is left behind");
        let text = std::fs::read_to_string(file("run.json")).expect("the JSON file");
        let run = serde_json::from_str(&text).expect("JSON");
        check_schema(&run);
        Drawn {
            directory,
            run,
            table,
        }
    }

    /// Opens the page as a window of this width shows it and compares its numbers with the run's.
    pub(crate) fn check_page(&self, width_pixels: u32) {
        let opened = self.visit("run.html", width_pixels);
        check_summary(&opened.document, 0, &self.run["summary"]);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens the page and uses it, in a frame because no window is as narrow as a telephone.
    fn visit(&self, name: &str, width_pixels: u32) -> Opened {
        let page = std::fs::read_to_string(self.file(name)).expect("the page");
        let (before, after) = page.rsplit_once("</body>").expect("a body");
        let visited = format!("{before}{VISITOR}{after}");
        let framed = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>a frame</title>\
             <iframe width=\"{width_pixels}\" height=\"900\" srcdoc=\"{}\"></iframe>\
             <script>addEventListener('load', () => {{\
             const frame = document.querySelector('iframe');\
             document.body.dataset.width = frame.contentWindow.innerWidth;\
             frame.replaceWith(frame.contentDocument.body.cloneNode(true)); }});</script>",
            visited.replace('&', "&amp;").replace('"', "&quot;")
        );
        std::fs::write(self.file("framed.html"), framed).expect("written");
        let opened = open(&self.file("framed.html"));
        assert_eq!(opened.console, Vec::<String>::new());
        let width = attribute(&opened.document, "data-width");
        assert_eq!(width, [width_pixels.to_string()]);
        assert_eq!(attribute(&opened.document, "data-overflow"), ["0"]);
        opened
    }
}

/// The command's standard output.
fn succeed(command: std::process::Command) -> String {
    let output = run_to_end(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn attribute(document: &str, name: &str) -> Vec<String> {
    let start = format!("{name}=\"");
    let values = document.split(&start).skip(1);
    values
        .filter_map(|rest| Some(rest.split_once('"')?.0.replace("&nbsp;", " ")))
        .collect()
}

/// The text of the element with this attribute.
fn text_of(document: &str, attribute: &str) -> String {
    let (_, rest) = document
        .split_once(&format!("{attribute}>"))
        .unwrap_or_else(|| panic!("the page has no {attribute}"));
    let (text, _) = rest.split_once('<').expect("an end");
    text.replace("&nbsp;", " ")
}

/// Whether a text such as "1.23 ms" is `value` in the unit that the JSON file has it in.
fn check_number(text: &str, value: f64, is_bytes: bool) {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let size = match unit {
        "" | "×" | "/s" | "µs" | "MB/s" | "B" => 1.0,
        "ms" | "GB/s" => 1e3,
        "s" => 1e6,
        "kB/s" => 1e-3,
        "KiB" => 1024.0,
        "MiB" if is_bytes => 1_048_576.0,
        "MiB" => 1.0,
        "GiB" if is_bytes => 1_073_741_824.0,
        "GiB" => 1024.0,
        other => panic!("{other} is no unit of {text}"),
    };
    let decimals = number.split_once('.').map_or(0, |(_, rest)| rest.len());
    let shown: f64 = number.replace(',', "").parse().expect("a number");
    let tolerance = 0.51 * 10_f64.powi(-i32::try_from(decimals).expect("few digits")) * size;
    assert!(
        (shown * size - value).abs() <= tolerance,
        "{text} is shown for {value}"
    );
}

/// Every number of the summary stands in the page.
fn check_summary(document: &str, run: usize, summary: &Value) {
    for (transport, figures) in summary.as_object().expect("a summary") {
        if transport.contains("_over_") {
            continue;
        }
        let figures = figures.as_object().expect("figures");
        // The spread is one of latencies; without them it is not shown.
        let has_latencies = figures.contains_key("avg");
        for (name, value) in figures {
            if name == "spread" && !has_latencies {
                continue;
            }
            let text = text_of(
                document,
                &format!("data-figure=\"{run}.{transport}.{name}\""),
            );
            match value.as_f64() {
                Some(value) => check_number(&text, value, name.contains("bytes")),
                None => assert_eq!(text, "–"),
            }
        }
    }
}

#[test]
fn a_page_shows_the_numbers_of_the_run() {
    let drawn = Drawn::new("pinned-producer", &["--unlimited", "--batches", "200"]);
    for width_pixels in [1400, 400] {
        let Opened { document, .. } = drawn.visit("run.html", width_pixels);
        check_summary(&document, 0, &drawn.run["summary"]);
        let ratio = text_of(&document, "data-ratio=\"0.websocket_over_0.tcp.avg\"");
        let ratios = &drawn.run["summary"]["websocket_over_tcp"];
        check_number(&ratio, ratios["avg"].as_f64().expect("a ratio"), false);
        if let Some(doubt) = drawn.run["doubt"].as_str() {
            assert!(document.contains(&doubt.replace('>', "&gt;")), "{doubt}");
        }
        let read = attribute(&document, "data-read");
        assert_eq!(read.len(), 4, "{read:?}");
        for text in &read {
            assert!(text.contains("TCP") && text.contains("WebSocket"), "{text}");
        }
        let rounds = drawn.run["rounds"].as_array().expect("rounds");
        let first = &rounds[0]["producers"]["total"]["each_second"][0];
        let mut lines = read[0].lines().skip_while(|line| *line != "TCP, average");
        let average = lines.nth(1).expect("a value").replace('\u{a0}', " ");
        let value = first["latency_avg_us"].as_f64().expect("a number");
        check_number(&average, value, false);
        assert_eq!(attribute(&document, "data-hidden"), ["false"; 4]);
    }
}

#[test]
fn both_sides_of_a_pair_have_charts() {
    let kind = "pinned-producer-and-consumer";
    let drawn = Drawn::new(kind, &["--unlimited", "--batches", "50"]);
    let Opened { document, .. } = drawn.visit("run.html", 1000);
    check_summary(&document, 0, &drawn.run["summary"]);
    for role in ["producers", "consumers"] {
        let shown = attribute(&document, &format!("data-{role}"));
        let first = &drawn.run["rounds"][0][role]["total"]["latency_us"]["avg"];
        check_number(&shown[0], first.as_f64().expect("a number"), false);
    }
}

#[test]
fn idle_connections_have_a_page_without_latencies() {
    let drawn = Drawn::new("idle-connections", &["--connections", "5"]);
    let Opened { document, .. } = drawn.visit("run.html", 400);
    check_summary(&document, 0, &drawn.run["summary"]);
    assert_eq!(attribute(&document, "data-read").len(), 2);
    assert!(!document.contains("<h3>Latency"));
}

#[test]
fn two_saved_runs_are_compared() {
    let drawn = Drawn::new("pinned-producer", &["--unlimited", "--batches", "50"]);
    let mut other = drawn.run.clone();
    // A hostile or an odd file must not become markup.
    other["server"] = "</script><script>console.error('run')</script>".into();
    other["summary"]["tcp"]["avg"] = (2.0 * number(&other, "tcp", "avg")).into();
    let text = serde_json::to_string(&other).expect("JSON");
    std::fs::write(drawn.file("<b>other.json"), text).expect("written");
    let mut command = weir();
    command
        .args(["bench", "report"])
        .arg(drawn.file("run.json"))
        .arg(drawn.file("<b>other.json"))
        .arg("--html")
        .arg(drawn.file("both.html"));
    let table = succeed(command);
    let average = table.lines().find(|line| line.starts_with("| Average"));
    assert!(
        average.is_some_and(|line| line.ends_with(" 2.00 |")),
        "{table}"
    );
    let Opened { document, .. } = drawn.visit("both.html", 400);
    check_summary(&document, 0, &drawn.run["summary"]);
    check_summary(&document, 1, &other["summary"]);
    let ratio = text_of(&document, "data-ratio=\"1.tcp_over_0.tcp.avg\"");
    check_number(&ratio, 2.0, false);
}

fn number(run: &Value, transport: &str, name: &str) -> f64 {
    let value = &run["summary"][transport][name];
    value.as_f64().expect("a number")
}

#[test]
fn a_saved_run_is_a_table_and_what_is_none_gets_one_line() {
    let drawn = Drawn::new("pinned-producer", &["--unlimited", "--batches", "20"]);
    let mut command = weir();
    command
        .args(["bench", "report"])
        .arg(drawn.file("run.json"));
    let table = succeed(command);
    for text in ["| Percentile", "| WebSocket |", " Difference |", "| P9999 "] {
        assert!(table.contains(text), "{text} is not in {table}");
    }
    std::fs::write(drawn.file("other.json"), "{}").expect("written");
    for name in ["other.json", "absent.json", "run.html"] {
        let mut command = weir();
        command.args(["bench", "report"]).arg(drawn.file(name));
        let output = run_to_end(command);
        assert!(!output.status.success(), "{name}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.starts_with("weir: ") && said.lines().count() == 1,
            "{said}"
        );
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn charts_are_images() {
    let drawn = Drawn::new("pinned-producer", &["--unlimited", "--batches", "20"]);
    let mut page = String::from("<!doctype html><title>charts</title>");
    let names = ["histogram", "latency", "percentiles", "throughput"];
    for name in names {
        let chart = drawn.file("charts").join(format!("{name}.svg"));
        page += &format!("<img src=\"file://{}\">", chart.display());
    }
    page += "<script>addEventListener('load', () => { for (const image of document.images) {\
             image.dataset.size = `${image.naturalWidth} by ${image.naturalHeight}`; }\
             });</script>";
    let path = drawn.file("charts.html");
    std::fs::write(&path, page).expect("written");
    let opened = open(&path);
    assert_eq!(opened.console, Vec::<String>::new());
    assert_eq!(attribute(&opened.document, "data-size"), ["720 by 400"; 4]);
}
