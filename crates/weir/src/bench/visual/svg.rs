//! A static chart as one SVG document that is readable on light and dark pages.
//!
//! Drawn here because the colours must follow the reader's scheme, which takes a style sheet
//! within the image; chart crates write fixed colours.

use std::fmt::Write;

use super::figures::{self, Units};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 74.0;
const BOTTOM: f64 = HEIGHT - 52.0;

/// More marks than this hide the curve.
const MARKS_MAX: usize = 60;

/// The page's colours, see `page/page.css`.
const STYLE: &str = "\
.page{fill:#fff}text{fill:#56606b;font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif}\
.title{fill:#1b1f24;font-size:16px;font-weight:600}.name{fill:#1b1f24}\
.grid{stroke:#e3e7ec}.axis,.between{stroke:#56606b}.between{stroke-dasharray:2 4}\
.tcp{color:#0067a8}.websocket{color:#c14a00}.bridge{color:#00785a}.other{color:#8a3f85}\
.curve{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}\
.second{stroke-dasharray:7 4}.fine{stroke-width:1.2;stroke-dasharray:1.5 3}\
.fine.second{stroke-dasharray:1.5 6}\
.area{stroke:currentColor;fill:currentColor;fill-opacity:.16;stroke-width:1.5}\
.area.second{fill-opacity:.06}.mark{fill:currentColor}\
.mark.second{fill:#fff;stroke:currentColor;stroke-width:1.5;stroke-dasharray:none}\
@media(prefers-color-scheme:dark){.page{fill:#14171b}text{fill:#a3adb8}\
.title,.name{fill:#e8ebef}.grid{stroke:#2b323a}.axis,.between{stroke:#a3adb8}\
.tcp{color:#56b4e9}.websocket{color:#f28e3c}.bridge{color:#3fcf9f}.other{color:#d79ad3}\
.mark.second{fill:#14171b}}";

/// What is drawn.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) layers: Vec<Layer>,
    /// Series in the order of the legend.
    pub(crate) series: Vec<Series>,
    /// Upright lines with a name on their right.
    pub(crate) separators: Vec<(f64, String)>,
}

/// One transport of one run.
#[derive(Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) label: String,
    /// Name of the transport, which decides the colour.
    pub(crate) transport: String,
    pub(crate) is_second: bool,
}

pub(crate) struct Layer {
    pub(crate) series: Series,
    pub(crate) shape: Shape,
    /// A gap where there is none.
    pub(crate) points: Vec<Option<(f64, f64)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Curve,
    /// A curve with a mark on each point.
    Marked,
    /// A dotted curve.
    Fine,
    /// Filled down to nothing.
    Area,
}

pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) is_log: bool,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From nothing, or from below nothing, with round ticks in the fitting unit.
    pub(crate) fn linear(title: &str, from: f64, to: f64, units: Units) -> Axis {
        let unit = figures::unit_for(units, to);
        Axis {
            title: titled(title, unit.0, false),
            is_log: false,
            from,
            to,
            ticks: ticks(linear_places(from / unit.1, to / unit.1, 8), unit.1),
        }
    }

    pub(crate) fn log(title: &str, from: f64, to: f64, units: Units) -> Axis {
        let unit = figures::unit_for(units, (from * to).sqrt());
        Axis {
            title: titled(title, unit.0, true),
            is_log: true,
            from,
            to,
            ticks: ticks(log_places(from / unit.1, to / unit.1, 10), unit.1),
        }
    }

    fn place(&self, value: f64, start: f64, end: f64) -> f64 {
        let part = if self.is_log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        start + part.clamp(0.0, 1.0) * (end - start)
    }
}

fn titled(title: &str, unit: &str, is_log: bool) -> String {
    match (unit.is_empty(), is_log) {
        (true, false) => title.to_owned(),
        (true, true) => format!("{title} (log scale)"),
        (false, false) => format!("{title} ({unit})"),
        (false, true) => format!("{title} ({unit}, log scale)"),
    }
}

fn ticks(places: Vec<f64>, size: f64) -> Vec<(f64, String)> {
    let text = |place: f64| {
        // Cuts what adding steps has left behind the digits.
        let rounded = (place * 1e6).round() / 1e6;
        format!("{rounded}")
    };
    places
        .into_iter()
        .map(|place| (place * size, text(place)))
        .collect()
}

/// Round places, 1, 2 or 5 times a power of ten apart.
fn linear_places(from: f64, to: f64, count_max: u32) -> Vec<f64> {
    let rough = (to - from) / f64::from(count_max);
    let power = 10_f64.powf(rough.log10().floor());
    let sizes = [1.0, 2.0, 5.0, 10.0].map(|part| part * power);
    let fits = sizes.into_iter().find(|size| *size >= rough * 0.999);
    let step = fits.unwrap_or(sizes[3]);
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

fn log_places(from: f64, to: f64, count_max: usize) -> Vec<f64> {
    let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let places = |parts: &[f64]| -> Vec<f64> {
        powers
            .clone()
            .flat_map(|power| parts.iter().map(move |part| part * 10_f64.powi(power)))
            .filter(|place| (from * 0.999..=to * 1.001).contains(place))
            .collect()
    };
    let finest = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0]].map(places);
    let fits = finest.into_iter().find(|found| found.len() <= count_max);
    fits.unwrap_or_else(|| places(&[1.0]))
}

impl Chart {
    pub(crate) fn render(&self) -> String {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text class=\"title\" x=\"16\" y=\"26\">{title}</text>\n",
            title = escaped(&self.title),
        );
        self.draw_legend(&mut text);
        self.draw_axes(&mut text);
        for layer in &self.layers {
            self.draw_layer(&mut text, layer);
        }
        text.push_str("</svg>\n");
        text
    }

    fn x(&self, value: f64) -> f64 {
        self.x.place(value, LEFT, RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.y.place(value, BOTTOM, TOP)
    }

    fn draw_legend(&self, text: &mut String) {
        let mut x = 16.0;
        for series in &self.series {
            let class = class(series);
            let label = escaped(&series.label);
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "<path class=\"curve {class}\" d=\"M{x} 44h26\"/>{}\
                 <text class=\"name\" x=\"{}\" y=\"48\">{label}</text>",
                mark(series, x + 13.0, 44.0),
                x + 32.0,
            );
            x += 52.0 + 7.6 * series.label.chars().count() as f64;
        }
    }

    fn draw_axes(&self, text: &mut String) {
        let mut line = |class: &str, x1: f64, y1: f64, x2: f64, y2: f64| {
            let _ = writeln!(
                text,
                "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"
            );
        };
        for (value, _) in &self.y.ticks {
            line("grid", LEFT, self.y(*value), RIGHT, self.y(*value));
        }
        for (value, _) in &self.x.ticks {
            line("grid", self.x(*value), TOP, self.x(*value), BOTTOM);
        }
        for (value, _) in self.separators.iter().skip(1) {
            line(
                "between",
                self.x(*value),
                TOP - 14.0,
                self.x(*value),
                BOTTOM,
            );
        }
        line("axis", LEFT, BOTTOM, RIGHT, BOTTOM);
        let mut write = |x: f64, y: f64, rest: &str, content: &str| {
            let content = escaped(content);
            let _ = writeln!(
                text,
                "<text x=\"{x:.1}\" y=\"{y:.1}\"{rest}>{content}</text>"
            );
        };
        for (value, label) in &self.y.ticks {
            write(
                LEFT - 8.0,
                self.y(*value) + 4.0,
                " text-anchor=\"end\"",
                label,
            );
        }
        for (value, label) in &self.x.ticks {
            write(
                self.x(*value),
                BOTTOM + 20.0,
                " text-anchor=\"middle\"",
                label,
            );
        }
        for (value, label) in &self.separators {
            write(self.x(*value) + 5.0, TOP - 5.0, "", label);
        }
        let middle = (LEFT + RIGHT) / 2.0;
        let centred = " class=\"name\" text-anchor=\"middle\"";
        write(middle, HEIGHT - 12.0, centred, &self.x.title);
        let middle = (TOP + BOTTOM) / 2.0;
        let turned = format!("{centred} transform=\"rotate(-90 18 {middle})\"");
        write(18.0, middle, &turned, &self.y.title);
    }

    fn draw_layer(&self, text: &mut String, layer: &Layer) {
        let floor = self.y(0.0_f64.max(self.y.from));
        let mut path = String::new();
        let mut pen = 'M';
        let mut last = None;
        if let (Shape::Area, Some(Some((x, _)))) = (layer.shape, layer.points.first()) {
            let _ = write!(path, "M{:.1} {floor:.1}", self.x(*x));
            pen = 'L';
        }
        for point in &layer.points {
            let Some((x, y)) = point else {
                pen = 'M';
                continue;
            };
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x(*x), self.y(*y));
            pen = 'L';
            last = Some(self.x(*x));
        }
        if let (Shape::Area, Some(x)) = (layer.shape, last) {
            let _ = write!(path, "L{x:.1} {floor:.1}Z");
        }
        let shape = match layer.shape {
            Shape::Curve | Shape::Marked => "curve",
            Shape::Fine => "curve fine",
            Shape::Area => "area",
        };
        let class = class(&layer.series);
        let _ = writeln!(text, "<path class=\"{shape} {class}\" d=\"{path}\"/>");
        let marks = layer.points.iter().flatten().count();
        if layer.shape == Shape::Marked && marks <= MARKS_MAX {
            for (x, y) in layer.points.iter().flatten() {
                let _ = writeln!(text, "{}", mark(&layer.series, self.x(*x), self.y(*y)));
            }
        }
    }
}

fn class(series: &Series) -> String {
    let colour = match series.transport.replace('-', "_").as_str() {
        "tcp" => "tcp",
        "websocket" => "websocket",
        "websocket_bridge" => "bridge",
        _ => "other",
    };
    let second = if series.is_second { " second" } else { "" };
    format!("{colour}{second}")
}

/// Shapes tell transports apart where colours do not.
fn mark(series: &Series, x: f64, y: f64) -> String {
    let class = class(series);
    if series.transport == "tcp" {
        return format!("<circle class=\"mark {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
    }
    let size = 4.6;
    format!(
        "<path class=\"mark {class}\" \
         d=\"M{:.1} {y:.1}l{size} {size} {size}-{size}-{size}-{size}z\"/>",
        x - size
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear_places(0.0, 5.3, 8), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(log_places(0.9, 12.0, 10), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(log_places(1.0, 1e6, 10).len(), 7);
    }

    #[test]
    fn axes_name_their_unit() {
        let axis = Axis::linear("Latency", 0.0, 5_300.0, figures::MICROSECONDS);
        assert_eq!(axis.title, "Latency (ms)");
        assert_eq!(axis.ticks[1], (1_000.0, "1".to_owned()));
        let axis = Axis::log("Latency", 90.0, 900.0, figures::MICROSECONDS);
        assert_eq!(axis.title, "Latency (µs, log scale)");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
