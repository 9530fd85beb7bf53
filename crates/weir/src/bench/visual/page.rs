//! The page: runs, styles and scripts put into one document that needs nothing else.

use serde_json::json;

use super::saved::Saved;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 4] = [
    include_str!("page/figures.js"),
    include_str!("page/series.js"),
    include_str!("page/chart.js"),
    include_str!("page/page.js"),
];

/// # Errors
/// When a run cannot be written as JSON, which none does.
pub(crate) fn render(runs: &[Saved]) -> anyhow::Result<String> {
    let runs: Vec<_> = runs
        .iter()
        .map(|saved| json!({"name": saved.name, "run": saved.json}))
        .collect();
    let data = embedded(&serde_json::to_string(&runs)?);
    let mut page = String::with_capacity(data.len() + 100_000);
    let mut rest = TEMPLATE;
    // Parts are put in from left to right and never looked at again, so that a run whose text
    // happens to be the name of a place stays text.
    for (place, part) in [
        ("@STYLE@", STYLE),
        ("@RUNS@", data.as_str()),
        ("@SCRIPT@", &SCRIPTS.concat()),
    ] {
        let (before, after) = rest
            .split_once(place)
            .expect("the template has each place once, in this order");
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// JSON that may stand in a script element: it can neither end the element nor open a comment.
///
/// These characters occur in JSON only inside of strings, where the escape means the same.
fn embedded(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::visual::saved::tests::sample;

    #[test]
    fn embedded_text_cannot_leave_its_element() {
        let text = "</script><!--<script>&\u{2028}@SCRIPT@";
        let saved = sample(text);
        let page = render(std::slice::from_ref(&saved)).expect("a page");
        assert_eq!(page.matches("</script>").count(), 2, "the template's own");
        assert!(!page.contains("<!--"));
        let (_, data) = page.split_once("id=\"runs\">").expect("the data");
        let (data, _) = data.split_once("</script>").expect("its end");
        let read: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(read[0]["name"], text);
        assert_eq!(read[0]["run"], saved.json);
    }

    #[test]
    fn the_page_asks_for_nothing_from_outside() {
        let page = render(&[sample("a")]).expect("a page");
        let own = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!own.contains(outside), "{outside}");
        }
    }
}
