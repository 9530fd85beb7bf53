//! One bar chart per scenario: the main figure of each server, the lowest at the top.

use std::fmt::Write;

use super::table::number;
use super::{Chapter, Comparison, Line};
use crate::scenario::Kind;
use crate::servers::Family;

const WIDTH: f64 = 800.0;
const NAME_WIDTH: f64 = 150.0;
const VALUE_WIDTH: f64 = 130.0;
const LINE_HEIGHT: f64 = 24.0;
const BAR_HEIGHT: f64 = 16.0;
const HEAD_HEIGHT: f64 = 56.0;
/// A bar beyond this many times our own is cut, so that the others can be told apart.
const RATIO_MAX: f64 = 12.0;

/// File names and their contents.
pub(crate) fn render(comparison: &Comparison<'_>) -> Vec<(String, String)> {
    comparison
        .chapters
        .iter()
        .filter(|chapter| !chapter.lines.is_empty())
        .map(|chapter| (format!("{}.svg", chapter.scenario.name), draw(chapter)))
        .collect()
}

fn draw(chapter: &Chapter<'_>) -> String {
    let scenario = chapter.scenario;
    let unit = match scenario.kind {
        Kind::Idle => "resident bytes per connection",
        Kind::Echo { .. } | Kind::Broadcast => "server CPU µs per message",
    };
    let bars: Vec<(&Line<'_>, f64)> = chapter
        .lines
        .iter()
        .filter_map(|line| Some((line, line.cost(scenario)?)))
        .collect();
    let largest = bars.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
    let ours = bars
        .iter()
        .find(|(line, _)| line.server.family == Family::Ours)
        .map_or(largest, |(_, cost)| *cost);
    let scale_max = largest.min(ours * RATIO_MAX).max(f64::MIN_POSITIVE);
    let height = HEAD_HEIGHT + LINE_HEIGHT * bars.len() as f64 + 8.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"600\" fill=\"#1f2328\">{}</text>\n\
         <text x=\"12\" y=\"43\" fill=\"#59636e\">{unit}, less is better</text>\n",
        scenario.title
    );
    for (index, (line, cost)) in bars.iter().enumerate() {
        let y = HEAD_HEIGHT + LINE_HEIGHT * index as f64;
        bar(&mut text, line, *cost, scale_max, y);
    }
    text.push_str("</svg>\n");
    text
}

fn bar(text: &mut String, line: &Line<'_>, cost: f64, scale_max: f64, y: f64) {
    let (color, weight) = match line.server.family {
        Family::Ours => ("#0969da", 600),
        Family::Variant => ("#80b3f0", 400),
        Family::Raw => ("#afb8c1", 400),
        Family::Peer => ("#bf8700", 400),
    };
    let room = WIDTH - NAME_WIDTH - VALUE_WIDTH;
    let length = room * (cost / scale_max).min(1.0);
    let middle = y + BAR_HEIGHT - 3.0;
    let cut = if cost > scale_max { " (cut)" } else { "" };
    let _ = writeln!(
        text,
        "<text x=\"{:.0}\" y=\"{middle:.0}\" text-anchor=\"end\" font-weight=\"{weight}\" \
         fill=\"#1f2328\">{}</text>\n\
         <rect x=\"{NAME_WIDTH:.0}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR_HEIGHT:.0}\" \
         rx=\"2\" fill=\"{color}\"/>\n\
         <text x=\"{:.1}\" y=\"{middle:.0}\" fill=\"#59636e\">{}{cut}</text>",
        NAME_WIDTH - 8.0,
        line.server.name,
        NAME_WIDTH + length + 6.0,
        number(cost),
    );
}
