//! Text for people: columns, and lengths of time.

/// Rows with their columns aligned; the last column is as long as it is.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths = (0..columns).map(|column| width(column).unwrap_or(0)).collect::<Vec<_>>();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A length of time for people.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        86_400.. => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{table, time};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["A".into(), "LONG".into()], vec!["long".into(), "b".into()]];
        assert_eq!(table(&rows), "A     LONG\nlong  b\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn times_are_as_exact_as_people_need_them() {
        let words = [0, 59, 60, 3599, 3600, 86_399, 86_400, 8_640_061].map(time);
        assert_eq!(words, ["0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d0h", "100d0h"]);
    }
}
