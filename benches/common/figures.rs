//! Figures as they are printed.

/// Several values of one figure.
#[derive(Clone, Debug, Default)]
pub struct Figure(pub Vec<f64>);

impl Figure {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The ratio to another figure's values, pair by pair.
    pub fn over(&self, other: &Figure) -> Figure {
        Figure(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }

    /// By how much it is more than another figure's values, pair by pair.
    pub fn beyond(&self, other: &Figure) -> Figure {
        Figure(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours - theirs).collect())
    }

    pub fn median(&self) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        }
    }

    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

/// The median, and the least and the most where they differ.
impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least = self.0.iter().copied().fold(f64::NAN, f64::min);
        match self.0.len() {
            0 => f.write_str("-"),
            _ if number(least) == number(self.most()) => f.write_str(&number(least)),
            _ => write!(f, "{} [{}..{}]", number(self.median()), number(least), number(self.most())),
        }
    }
}

/// With about three digits; a count as the whole number that it is.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size < 1000.0 && size.fract() == 0.0 => format!("{size}"),
        size if size >= 1000.0 => {
            let thousands = (value / 1000.0).trunc();
            format!("{thousands},{:03}", (value - thousands * 1000.0).trunc().abs())
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A table in Markdown.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|word| (*word).to_owned()).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push([name.to_owned()].into_iter().chain(cells).collect());
    }

    pub fn print(&self, title: &str) {
        println!("\n### {title}\n\n| {} |", self.head.join(" | "));
        println!("|{}", " --- |".repeat(self.head.len()));
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
    }
}
