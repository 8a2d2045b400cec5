//! The address of the page in a browser.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name under which browsers of this machine reach the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageHost {
    /// A name below `localhost` that no other server has.
    Random,
    /// `localhost`, which other servers of this machine have as well.
    Localhost,
}

/// Scheme, host and port of a site. It is shown as a browser writes an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAddress {
    /// True for `https`.
    pub is_secure: bool,
    /// Host in lower case, an IPv6 address in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A text that is no address of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl PageAddress {
    /// Returns the port that a browser leaves out.
    pub fn default_port(&self) -> u16 {
        if self.is_secure { 443 } else { 80 }
    }
}

impl FromStr for PageAddress {
    type Err = NoAddress;

    fn from_str(url: &str) -> Result<Self, NoAddress> {
        let (scheme, rest) = url.split_once("://").ok_or(NoAddress)?;
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(NoAddress),
        };
        let authority: http::uri::Authority = rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| NoAddress)?;
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(NoAddress);
        }
        let after_host = &authority.as_str()[host.len()..];
        let mut address = Self {
            is_secure,
            host,
            port: 0,
        };
        address.port = match after_host.strip_prefix(':') {
            None if after_host.is_empty() => address.default_port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(NoAddress)?
            }
            None | Some(_) => return Err(NoAddress),
        };
        Ok(address)
    }
}

impl fmt::Display for PageAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == self.default_port() {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_as_a_browser_writes_it() {
        for (url, shown, port) in [
            ("https://Agents.Example.com", "https://agents.example.com", 443),
            ("https://agents.example.com:443/", "https://agents.example.com", 443),
            ("http://localhost:9000", "http://localhost:9000", 9000),
            ("http://[::1]:9000/", "http://[::1]:9000", 9000),
            ("http://a", "http://a", 80),
        ] {
            let address: PageAddress = url.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.port), (shown, port), "{url}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_address_is_none() {
        for url in [
            "",
            "example.com",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a/b",
            "http://a?b",
            "http://a#b",
            "http://u:p@a",
            "http://a:0",
            "http://a:x",
            "http://a:",
            "http://a:99999",
            "http://a:+80",
            "http://a b",
            "http://a//",
        ] {
            assert_eq!(url.parse::<PageAddress>(), Err(NoAddress), "{url}");
        }
    }
}
