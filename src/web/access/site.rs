//! Where the page is. Cookies know no ports: a browser gives the page's cookie to every server that it visits under the
//! same name. So the page has a name that no other server knows, and cookies count under that name alone.

use std::io;
use std::path::Path;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;

use super::origin::{check_origin, check_site, host_of, split_authority};
use crate::config::{PageAddress, PageHost, ServerSettings};
use crate::disk::regular;
use crate::disk::write_private;
use crate::session::hex::hex;
use crate::web::error::Problem;

/// Bytes of randomness in the page's name.
const NAME_BYTES: usize = 16;

/// What the page's name ends with: browsers take such a name for this machine.
const NAME_END: &str = ".localhost";

/// The page's own place.
#[derive(Debug)]
pub(super) struct Site {
    address: PageAddress,
    /// True if no other server has the name of the page.
    pub(super) is_alone: bool,
}

impl Site {
    /// Finds the page's place. Its random name is made once and kept in `directory`.
    pub(super) fn open(directory: &Path, port: u16, settings: &ServerSettings) -> io::Result<Self> {
        if let Ok(Some(address)) = settings.public() {
            let is_alone = false;
            return Ok(Self { address, is_alone });
        }
        let (host, is_alone) = match settings.page_host {
            PageHost::Random => (name(&directory.join("page_name"))?, true),
            PageHost::Localhost => ("localhost".to_owned(), false),
        };
        let address = PageAddress {
            is_secure: false,
            host,
            port,
        };
        Ok(Self { address, is_alone })
    }

    /// True if a request was sent to the page's own name and port.
    pub(super) fn is_here(&self, request: &HttpRequest) -> bool {
        host_of(request).is_some_and(|named| self.is(named))
    }

    /// Errors if a request to this place comes from a page of another one.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let scheme = if self.address.is_secure { "https://" } else { "http://" };
        check_origin(headers, scheme, |named| self.is(named))?;
        check_site(method, headers)
    }

    /// Returns the URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// True if browsers reach the page over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.address.is_secure
    }

    fn is(&self, authority: &str) -> bool {
        let port = |given: Option<u16>| given.unwrap_or(self.address.default_port());
        split_authority(authority).is_some_and(|(host, given)| {
            host.eq_ignore_ascii_case(&self.address.host) && port(given) == self.address.port
        })
    }
}

/// Reads the page's random name, or makes it. A file that holds no name is replaced: browsers then sign in again.
fn name(path: &Path) -> io::Result<String> {
    match regular::read_to_string(path) {
        Ok(text) if is_name(text.trim_end()) => return Ok(text.trim_end().to_owned()),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {}
        Err(error) => return Err(error),
    }
    let bytes: [u8; NAME_BYTES] = rand::random();
    let name = format!("{}{NAME_END}", hex(&bytes));
    write_private(path, name.as_bytes())?;
    Ok(name)
}

fn is_name(text: &str) -> bool {
    let label = text.strip_suffix(NAME_END);
    label.is_some_and(|label| label.len() == 2 * NAME_BYTES && label.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn site(dir: &Path, set: impl FnOnce(&mut ServerSettings)) -> Site {
        let mut settings = crate::config::Settings::embedded().unwrap().server;
        set(&mut settings);
        Site::open(dir, 8005, &settings).unwrap()
    }

    fn is_here(site: &Site, uri: &str, host: &str) -> bool {
        let request = TestRequest::with_uri(uri).insert_header(("Host", host));
        site.is_here(&request.to_http_request())
    }

    #[test]
    fn the_name_is_made_once_for_a_directory_and_its_owner_alone() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = site(one.path(), |_| {}).url("");
        assert_eq!(site(one.path(), |_| {}).url(""), made);
        assert_ne!(site(other.path(), |_| {}).url(""), made);
        assert!(
            made.starts_with("http://") && made.ends_with(".localhost:8005"),
            "{made}"
        );
        let path = one.path().join("page_name");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for damaged in ["", "localhost", "evil.example", "0.localhost"] {
            fs::write(&path, damaged).unwrap();
            let again = site(one.path(), |_| {}).url("");
            assert!(again.len() == made.len() && again != made, "{damaged}: {again}");
        }
    }

    #[test]
    fn the_page_is_under_its_own_name_and_port_alone() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path(), |_| {});
        let own = site.url("").strip_prefix("http://").unwrap().to_owned();
        let (name, _) = own.split_once(':').unwrap();
        assert!(is_here(&site, "/", &own) && is_here(&site, "/", &own.to_uppercase()));
        let upper = format!("{name}:8006");
        let below = format!("x.{own}");
        for other in [
            "127.0.0.1:8005",
            "localhost:8005",
            "[::1]:8005",
            name,
            &upper,
            &below,
            "",
        ] {
            assert!(!is_here(&site, "/", other), "{other}");
        }
        let elsewhere = "http://127.0.0.1:8005/";
        assert!(
            !is_here(&site, elsewhere, &own),
            "the address in the request line decides"
        );
    }

    #[test]
    fn a_page_of_another_place_may_not_call() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path(), |_| {});
        let check = |origin: &str| {
            let request = TestRequest::post().insert_header(("Origin", origin)).to_http_request();
            site.check(&Method::POST, request.headers()).is_ok()
        };
        assert!(check(&site.url("")));
        let tls = site.url("").replace("http:", "https:");
        for other in ["http://127.0.0.1:8005", "http://localhost:8005", "null", "", &tls] {
            assert!(!check(other), "{other}");
        }
    }

    #[test]
    fn a_public_address_and_localhost_are_not_the_pages_alone() {
        let dir = tempfile::tempdir().unwrap();
        let behind = site(dir.path(), |settings| {
            settings.public_url = "https://agents.example".into()
        });
        assert!(is_here(&behind, "/", "agents.example") && is_here(&behind, "/", "agents.example:443"));
        assert!(!is_here(&behind, "/", "agents.example:8005") && !is_here(&behind, "/", "127.0.0.1:8005"));
        assert!(behind.is_secure() && !behind.is_alone);
        assert_eq!(behind.url("/x"), "https://agents.example/x");
        let local = site(dir.path(), |settings| settings.page_host = PageHost::Localhost);
        assert!(is_here(&local, "/", "localhost:8005") && !is_here(&local, "/", "127.0.0.1:8005"));
        assert!(!local.is_secure() && !local.is_alone);
        assert!(!dir.path().join("page_name").exists(), "no name is made in vain");
    }
}
