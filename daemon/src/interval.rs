//! Spans of time as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Interval(pub Duration);

impl FromStr for Interval {
    type Err = String;

    /// A whole number with one of `ms`, `s`, `m`, `h`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of time: say 500ms, 5s, 2m or 1h");
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(at);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(millis).map(|n| Self(Duration::from_millis(n))).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Interval {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            n if n >= 3_600_000 && n % 3_600_000 == 0 => write!(f, "{}h", n / 3_600_000),
            n if n >= 60_000 && n % 60_000 == 0 => write!(f, "{}m", n / 60_000),
            n if n >= 1_000 && n % 1_000 == 0 => write!(f, "{}s", n / 1_000),
            n if n >= 10_000 => write!(f, "{:.1}s", self.0.as_secs_f64()),
            n => write!(f, "{n}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Interval;

    #[test]
    fn spans_are_read_with_their_unit() {
        for (text, millis) in [("500ms", 500), ("5s", 5_000), ("2 m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(text.parse(), Ok(Interval(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "5 days", "99999999999999999h"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
        for text in ["500ms", "5s", "90s", "2m", "1h"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        assert_eq!(Interval(Duration::from_millis(12_345)).to_string(), "12.3s");
    }
}
