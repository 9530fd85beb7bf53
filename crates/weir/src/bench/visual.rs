//! Saved runs for the eye: one interactive page, static charts, and two runs beside each other.
//!
//! Everything starts from the JSON of a run, whether it was measured just now or last year, so
//! that a saved run can always be drawn again. Nothing here measures. Start at [`draw`]; the page
//! itself is in `visual/page/`.

mod charts;
mod compare;
mod figures;
mod page;
mod saved;
mod svg;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

pub(crate) use compare::{Arguments, run};
use saved::Saved;

/// What to draw, and where to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Pictures {
    /// One page with interactive charts, which needs nothing else to be opened.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The charts as SVG files, for documents.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) svg: Option<PathBuf>,
}

/// Draws the run that was just measured; `name` is what the page calls it.
///
/// # Errors
/// One line that says which file cannot be written.
pub(crate) fn draw(pictures: &Pictures, name: &str, run: Value) -> anyhow::Result<()> {
    if pictures.html.is_none() && pictures.svg.is_none() {
        return Ok(());
    }
    draw_saved(pictures, &[Saved::new(name.to_owned(), run)?])
}

fn draw_saved(pictures: &Pictures, runs: &[Saved]) -> anyhow::Result<()> {
    if let Some(path) = &pictures.html {
        write(path, &page::render(runs)?)?;
    }
    if let Some(directory) = &pictures.svg {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        for (name, chart) in charts::all(runs) {
            write(&directory.join(format!("{name}.svg")), &chart)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
