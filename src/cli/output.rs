//! What commands print: answers on standard output, everything else on standard error.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use crate::clock::Timestamp;

/// Prints an answer. Whoever closed our output does not want to know.
pub(super) fn print(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Says something beside the answer.
pub(super) fn remark(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &serde_json::Value) {
    print(format_args!("{value:#}"));
}

/// A table with a head, its columns as wide as they have to be.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(head: [&str; COLUMNS]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells);
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        f.write_str(text.trim_end())
    }
}

/// A moment, or `-` where there is none.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let mut table = Table::new(["SET", "KEY", "NOTE"]);
        table.row(["default".into(), "sk-…AbCd".into(), String::new()]);
        table.row(["a".into(), "x".into(), "y z".into()]);
        let expected = "SET      KEY       NOTE\ndefault  sk-…AbCd\na        x         y z";
        assert_eq!(table.to_string(), expected);
        assert_eq!(moment(None), "-");
    }
}
