//! Rows of figures as tables and as JSON.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::bench::machine;
use crate::table::Table;

/// Rounds further apart than this say more of the machine than of the subject.
const SPREAD_DOUBTFUL: f64 = 1.3;

/// Version of the JSON's fields: higher when one changes its meaning or goes away.
const VERSION: u32 = 1;

/// What one subject showed.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) subject: String,
    /// As many as the section has names.
    pub(super) figures: Vec<Option<f64>>,
}

/// Subjects that are to be compared.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    /// Of the figures, with their unit last.
    pub(super) names: &'static [&'static str],
    pub(super) rows: Vec<Row>,
    /// What the figures mean together, a line each.
    pub(super) notes: Vec<String>,
}

impl Section {
    pub(super) fn row(&mut self, subject: impl Into<String>, figures: &[Option<f64>]) {
        assert_eq!(figures.len(), self.names.len(), "a figure for each name");
        self.rows.push(Row {
            subject: subject.into(),
            figures: figures.to_vec(),
        });
    }
}

/// Everything that a run measured.
pub(super) struct Report {
    directory: PathBuf,
    rounds: usize,
    sections: Vec<Section>,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn new(directory: &Path, rounds: usize) -> Report {
        Report {
            directory: directory.to_owned(),
            rounds,
            sections: Vec::new(),
            took: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, sections: Vec<Section>) {
        self.sections.extend(sections);
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            let mut head = vec![section.title];
            head.extend(section.names.iter().copied());
            let mut table = Table::new(&head);
            for row in &section.rows {
                let mut cells = vec![row.subject.clone()];
                cells.extend(row.figures.iter().map(|figure| cell(*figure)));
                table.row(&cells);
            }
            text.push_str(&table.render());
            for note in &section.notes {
                text.push_str(&format!("{note}\n"));
            }
            text.push('\n');
        }
        let (rounds, seconds) = (self.rounds, self.took.as_secs_f64());
        text.push_str(&format!(
            "{rounds} alternating rounds, {seconds:.0} s in all; \
             spread: slowest round over fastest\n"
        ));
        if let Some(doubt) = self.doubt() {
            text.push_str(&format!("doubt: {doubt}\n"));
        }
        text
    }

    /// Which subjects' rounds were too far apart.
    fn doubt(&self) -> Option<String> {
        let mut doubtful = Vec::new();
        for section in &self.sections {
            let Some(at) = section.names.iter().position(|name| *name == "spread") else {
                continue;
            };
            for row in &section.rows {
                if let Some(spread) = row.figures[at]
                    && spread > SPREAD_DOUBTFUL
                {
                    doubtful.push(format!("{} ({spread:.2})", row.subject));
                }
            }
        }
        (!doubtful.is_empty()).then(|| {
            let doubtful = doubtful.join(", ");
            format!("rounds are further apart than {SPREAD_DOUBTFUL} for {doubtful}")
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let section = |section: &Section| {
            let row = |row: &Row| {
                let mut fields = Map::new();
                fields.insert("subject".to_owned(), json!(row.subject));
                for (name, figure) in section.names.iter().zip(&row.figures) {
                    fields.insert(key(name), json!(figure));
                }
                Value::Object(fields)
            };
            let rows: Vec<Value> = section.rows.iter().map(row).collect();
            json!({ "title": section.title, "rows": rows, "notes": section.notes })
        };
        json!({
            "version": VERSION,
            "directory": self.directory.display().to_string(),
            "machine": machine::facts(Some(&self.directory)),
            "rounds": self.rounds,
            "seconds": self.took.as_secs_f64(),
            "sections": self.sections.iter().map(section).collect::<Vec<_>>(),
            "doubt": self.doubt(),
        })
    }
}

/// Three digits that matter, or all before the point.
fn cell(figure: Option<f64>) -> String {
    match figure {
        None => String::new(),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

/// `p50_us` for `p50 us`.
fn key(name: &str) -> String {
    name.replace([' ', '/'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_doubt_are_in_the_text_and_in_the_json() {
        let mut section = Section {
            title: "latency",
            names: &["p50 us", "spread"],
            rows: Vec::new(),
            notes: vec!["gain 2.0".to_owned()],
        };
        section.row("steady", &[Some(123.4), Some(SPREAD_DOUBTFUL)]);
        section.row("shaky", &[None, Some(1.31)]);
        let mut report = Report::new(Path::new("d"), 5);
        report.add(vec![section]);
        let text = report.to_text();
        assert!(text.contains("steady      123    1.30"), "{text}");
        assert!(text.contains("gain 2.0\n"), "{text}");
        let doubt = text.lines().last().expect("a line");
        assert!(doubt.ends_with("than 1.3 for shaky (1.31)"), "{text}");
        let json = report.to_json();
        let rows = &json["sections"][0]["rows"];
        assert_eq!(rows[0]["p50_us"], 123.4);
        assert!(rows[1]["p50_us"].is_null());
    }
}
