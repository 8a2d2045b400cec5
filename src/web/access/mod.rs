//! Who may call, what each may do, and what is kept of it.
//!
//! Read in this order: `caller` (who there is, and what each role may do), `origin` (what no page of another site may),
//! `peer` (who calls by the Unix socket), `agent` (which callers are agents), `guard` (all of it, at each request), `lease` (for how long), `token`, `named`, `sign_ins` (what opens), `pages` (how a browser signs in),
//! `manage` (tokens and links over REST), `audit` (what was done, and by whom).

mod agent;
pub(super) mod audit;
mod caller;
mod guard;
mod kept;
mod lease;
pub(super) mod manage;
mod named;
mod origin;
pub(super) mod pages;
pub(crate) mod peer;
mod sign_ins;
mod token;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub(crate) use self::agent::{DEPTH_HEADER, MARK_HEADER};
use self::audit::Audit;
pub(super) use self::caller::needed;
pub(crate) use self::caller::{Caller, Face, Role};
pub(super) use self::guard::guard;
#[cfg(test)]
pub(super) use self::guard::is_public;
use self::named::NamedTokens;
use self::origin::Origins;
use self::sign_ins::{Links, SignIns};
use self::token::Fingerprint;
pub use self::token::{Token, TokenError};
use crate::agent::launch::private_directory;
use crate::config::AccessSettings;

/// What the owner of this machine's token is called.
const OWNER: &str = "owner";

/// What callers are held against; cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    /// The token of the user whose daemon this is.
    owner: Fingerprint,
    /// How a browser of this machine reaches us.
    base_url: String,
    /// From where it may be called.
    origins: Origins,
    /// Tokens of others.
    tokens: NamedTokens,
    /// Browsers that are signed in.
    sign_ins: SignIns,
    /// Links that sign a browser in.
    links: Links,
    /// What was done.
    audit: Audit,
}

impl Access {
    /// Who knows `token` may do all, at this address; what outlives the daemon is kept in `directory`.
    pub fn open(token: &Token, address: SocketAddr, directory: &Path, settings: &AccessSettings) -> io::Result<Self> {
        private_directory(directory)?;
        Ok(Self(Arc::new(Inner {
            owner: Fingerprint::of(token.reveal()),
            base_url: format!("http://{address}"),
            origins: Origins { port: address.port() },
            tokens: NamedTokens::open(&directory.join("tokens.json"))?,
            sign_ins: SignIns::open(
                &directory.join("sign_ins.json"),
                Duration::from_secs(settings.sign_in_days.saturating_mul(24 * 3600)),
            ),
            links: Links::new(Duration::from_secs(settings.sign_in_link_minutes.saturating_mul(60))),
            audit: Audit::open(directory, settings.audit_bytes_max)?,
        })))
    }

    /// What was done, and by whom.
    pub(super) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Who holds the token with this fingerprint now.
    fn holder(&self, token: &Fingerprint, now: Timestamp) -> Option<(String, Role)> {
        if self.0.owner.is(token) {
            return Some((OWNER.to_owned(), Role::Admin));
        }
        self.0.tokens.holder(token, now)
    }

    /// The name of our cookie: cookies do not know ports, and two daemons may serve one browser.
    fn cookie_name(&self) -> String {
        format!("cc_executor_{}", self.0.origins.port)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
