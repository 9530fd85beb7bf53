//! Text in columns: words to the left, numbers to the right.

/// Rows below a head. Renders to nothing while it has no row.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Table { rows: vec![head] }
    }

    /// Adds a row with as many cells as the head has.
    pub(crate) fn row(&mut self, cells: &[String]) {
        assert_eq!(cells.len(), self.rows[0].len(), "a cell for each column");
        self.rows.push(cells.to_vec());
    }

    /// Lines that end in a line break.
    pub(crate) fn render(&self) -> String {
        if self.rows.len() == 1 {
            return String::new();
        }
        let mut lines = vec![String::new(); self.rows.len()];
        for column in 0..self.rows[0].len() {
            let cells = || self.rows.iter().map(|row| &row[column]);
            let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
            let is_number = |cell: &String| {
                let mut characters = cell.chars();
                characters.all(|one| one.is_ascii_digit() || one == '.')
            };
            let to_right = cells().skip(1).all(is_number);
            for (line, cell) in lines.iter_mut().zip(cells()) {
                line.push_str(&match to_right {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:<width$}  "),
                });
            }
        }
        let lines = lines.iter().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table = Table::new(&["place", "count", "state"]);
        assert_eq!(table.render(), "");
        for [place, count, state] in [["1/2/10", "7", "sound"], ["1/2/9", "123456", "torn"]] {
            table.row(&[place.to_owned(), count.to_owned(), state.to_owned()]);
        }
        let expected = "place    count  state\n\
                        1/2/10       7  sound\n\
                        1/2/9   123456  torn\n";
        assert_eq!(table.render(), expected);
    }
}
