//! Curves over time, as SVG for a browser and as text for a terminal.

#![allow(clippy::cast_possible_truncation)] // rows and columns of a page

use std::fmt::Write as _;

/// One curve.
pub struct Curve {
    /// What it shows.
    pub name: &'static str,
    /// Colour, in SVG's words.
    pub colour: &'static str,
    /// Seconds and values.
    pub points: Vec<(f64, f64)>,
}

/// A picture: curves over the same time, with level lines.
pub struct Picture {
    /// Its title.
    pub title: String,
    /// What the values are.
    pub unit: &'static str,
    /// Curves.
    pub curves: Vec<Curve>,
    /// Values at which a line is drawn, with their names.
    pub levels: Vec<(f64, &'static str)>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 60.0;
const COLUMNS: usize = 72;
const ROWS: usize = 16;

impl Picture {
    /// End of time and largest value.
    fn extent(&self) -> (f64, f64) {
        let points = || self.curves.iter().flat_map(|c| &c.points);
        let time = points().map(|p| p.0).fold(1.0, f64::max);
        let value = points().map(|p| p.1).chain(self.levels.iter().map(|l| l.0));
        (time, value.fold(f64::MIN_POSITIVE, f64::max))
    }

    /// As SVG, `top` pixels below the upper edge.
    fn draw(&self, top: f64) -> String {
        let (time, most) = self.extent();
        let x = |t: f64| MARGIN + t / time * (WIDTH - 2.0 * MARGIN);
        let y = |v: f64| top + HEIGHT - MARGIN / 2.0 - v / most * (HEIGHT - MARGIN);
        let mut s = format!("<text x=\"{MARGIN}\" y=\"{:.0}\">{}</text>\n", top + 18.0, self.title);
        // Writing to a String cannot fail.
        for (value, name) in self.levels.iter().copied().chain([(0.0, ""), (most, self.unit)]) {
            let (y, right) = (y(value), WIDTH - MARGIN);
            let _ = writeln!(
                s,
                "<line x1=\"{MARGIN}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#bbb\"/>\
                 <text x=\"{:.0}\" y=\"{y:.1}\" font-size=\"10\">{name} {value:.0}</text>",
                right + 4.0
            );
        }
        for t in (0..=6).map(|i| time * f64::from(i) / 6.0) {
            let (x, y) = (x(t), top + HEIGHT - 2.0);
            let _ = writeln!(s, "<text x=\"{x:.0}\" y=\"{y:.0}\" font-size=\"10\">{t:.0} s</text>");
        }
        for (i, curve) in self.curves.iter().enumerate() {
            let points: Vec<String> =
                curve.points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
            let (colour, points) = (curve.colour, points.join(" "));
            let _ = writeln!(
                s,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\" font-size=\"11\">{}</text>",
                WIDTH / 2.0 + 130.0 * i as f64,
                top + 18.0,
                curve.name
            );
        }
        s
    }

    /// As text: a letter for each curve (its name's first), `-` for level lines.
    pub fn text(&self) -> String {
        let (time, most) = self.extent();
        let row =
            |v: f64| ROWS - 1 - ((v / most * (ROWS - 1) as f64).round() as usize).min(ROWS - 1);
        let mut field = vec![vec![' '; COLUMNS]; ROWS];
        for (value, _) in &self.levels {
            field[row(*value)].fill('-');
        }
        for curve in &self.curves {
            let letter = curve.name.chars().next().unwrap_or('*');
            for (t, v) in &curve.points {
                let column = (t / time * (COLUMNS - 1) as f64).round() as usize;
                field[row(*v)][column.min(COLUMNS - 1)] = letter;
            }
        }
        let mut s = format!("{}\n", self.title);
        for (i, line) in field.iter().enumerate() {
            let value = most * (ROWS - 1 - i) as f64 / (ROWS - 1) as f64;
            let line: String = line.iter().collect();
            let _ = writeln!(s, "{value:>9.0} |{}", line.trim_end());
        }
        let _ =
            writeln!(s, "{:>9} +{}\n{:>11}0 s{:>68.0} s", self.unit, "-".repeat(COLUMNS), "", time);
        s
    }
}

/// Pictures below each other, as one SVG.
pub fn svg(pictures: &[Picture]) -> String {
    let height = HEIGHT * pictures.len() as f64 + 20.0;
    let mut s = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n"
    );
    for (i, picture) in pictures.iter().enumerate() {
        s.push_str(&picture.draw(HEIGHT * i as f64));
    }
    s.push_str("</svg>\n");
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_curves_and_levels() {
        let picture = Picture {
            title: "Level".into(),
            unit: "MiB",
            curves: vec![Curve {
                name: "dirty",
                colour: "navy",
                points: vec![(0.0, 0.0), (30.0, 50.0), (60.0, 100.0)],
            }],
            levels: vec![(60.0, "60 %")],
        };
        let text = picture.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + ROWS + 2);
        assert!(lines[1].ends_with('d') && lines[1].starts_with("      100 |"));
        assert!(lines[ROWS].starts_with("        0 |d"));
        assert!(lines[7].contains("-----"));
        let svg = svg(&[picture]);
        assert!(svg.contains("60.0,290.0") && svg.contains("840.0,30.0"), "{svg}");
    }
}
