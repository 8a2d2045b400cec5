//! The umask: the permission bits that new files do not get.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A umask, at most `0777`, written in octal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^0?[0-7]{1,3}$", example = "0022")]
pub struct Umask(u32);

impl Umask {
    /// The bits that new files do not get.
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// A text that is not a umask.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a umask: give up to three octal digits, such as \"022\"")]
pub struct NoUmask(String);

impl FromStr for Umask {
    type Err = NoUmask;

    fn from_str(text: &str) -> Result<Self, NoUmask> {
        let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let bits = u32::from_str_radix(text, 8)
            .ok()
            .filter(|bits| is_octal && *bits <= 0o777);
        bits.map(Self).ok_or_else(|| NoUmask(text.to_owned()))
    }
}

impl TryFrom<String> for Umask {
    type Error = NoUmask;

    fn try_from(text: String) -> Result<Self, NoUmask> {
        text.parse()
    }
}

impl From<Umask> for String {
    fn from(umask: Umask) -> Self {
        umask.to_string()
    }
}

impl fmt::Display for Umask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_umask_is_read_and_written_in_octal_digits() {
        for (text, bits) in [("0", 0), ("22", 0o22), ("027", 0o27), ("0777", 0o777)] {
            assert_eq!(text.parse::<Umask>().unwrap().bits(), bits, "{text}");
        }
        assert_eq!(serde_json::to_string(&Umask(0o22)).unwrap(), r#""0022""#);
        for wrong in ["", "8", "+22", "1000", "00022", "o22", "-1"] {
            assert!(
                wrong.parse::<Umask>().unwrap_err().to_string().contains("octal"),
                "{wrong}"
            );
        }
    }
}
