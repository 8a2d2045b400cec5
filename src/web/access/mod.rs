//! Who may call, what each may do, and what is kept of it.
//!
//! Read in this order: `caller` (who there is, and what each role may do), `origin` (what no page of another site may),
//! `site` (where our page is), `peer` (who calls by the Unix socket), `agent` (which callers are agents), `guard` (all of it,
//! at each request), `changes` (what a browser's change needs), `lease` (for how long), `token`, `named`, `sign_ins` (what
//! opens), `pages` (how a browser signs in), `manage` (tokens and links over REST), `audit` (what was done, and by whom),
//! `refusals` (what was not), `chain` and `key` (that nobody changes it unseen).

mod agent;
pub(super) mod audit;
mod caller;
mod chain;
mod changes;
pub(super) mod entry;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod guard;
mod key;
mod lease;
pub(super) mod manage;
mod named;
mod origin;
pub(super) mod pages;
pub(crate) mod peer;
mod refusals;
mod saved;
mod sign_ins;
mod site;
mod token;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub(crate) use self::agent::{DEPTH_HEADER, MARK_HEADER};
use self::audit::Audit;
pub use self::audit::verify as verify_audit;
pub(super) use self::caller::needed;
pub(crate) use self::caller::{Caller, Face, Role};
pub(super) use self::guard::guard;
#[cfg(test)]
pub(super) use self::guard::is_public;
use self::key::ServerKey;
use self::lease::SignedBy;
use self::named::NamedTokens;
use self::origin::Origins;
use self::sign_ins::{Links, SignIns};
use self::site::Site;
use self::token::Fingerprint;
pub use self::token::{Token, TokenError};
use crate::config::Settings;
use crate::disk::create_private_dir;
use crate::session::hex::hex;
use crate::store::SmallStore;

/// What the owner of this machine's token is called.
const OWNER: &str = "owner";

/// Whose token a request has: what is bound to it opens for nobody else. It tells nothing of the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signer {
    /// Names who calls and the token.
    pub(super) id: String,
    /// True for the machine's own token.
    pub(super) is_own: bool,
}

impl Signer {
    /// Who made a request that the guard has let through.
    pub(super) fn of(request: &HttpRequest, access: &Access) -> Option<Self> {
        let extensions = request.extensions();
        let (caller, by) = (extensions.get::<Caller>()?, extensions.get::<SignedBy>()?);
        let print = Sha256::digest(format!("signer {} {}", caller.name, String::from(by.token)));
        Some(Self {
            id: hex(&print),
            is_own: access.0.owner.is(&by.token),
        })
    }
}

/// What callers are held against; cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<AccessState>);

struct AccessState {
    /// The token of the user whose daemon this is.
    owner: Fingerprint,
    /// From where it may be called.
    origins: Origins,
    /// Where browsers reach the page.
    site: Site,
    /// Seals what is given out and written down.
    key: ServerKey,
    /// How long after it was signed in by a link a browser may change tokens.
    fresh: Duration,
    /// Tokens of others.
    tokens: NamedTokens,
    /// Browsers that are signed in.
    sign_ins: SignIns,
    /// Links that sign a browser in.
    links: Links,
    /// The audit log.
    audit: Audit,
}

impl Access {
    /// Who knows `token` may do all, at this address; what outlives the daemon is kept in `directory` and in `clients`.
    pub fn open(
        token: &Token,
        address: SocketAddr,
        directory: &Path,
        clients: Arc<SmallStore>,
        settings: &Settings,
    ) -> io::Result<Self> {
        create_private_dir(directory)?;
        let site = Site::open(directory, address.port(), &settings.server)?;
        let (key, audit) = open_audit(directory, settings.access.audit_bytes_max)?;
        let settings = &settings.access;
        let minutes = |minutes: u64| Duration::from_secs(minutes.saturating_mul(60));
        Ok(Self(Arc::new(AccessState {
            owner: Fingerprint::of(token.reveal()),
            origins: Origins { port: address.port() },
            tokens: NamedTokens::open(Arc::clone(&clients), &directory.join("tokens.json"))?,
            sign_ins: SignIns::open(
                clients,
                &directory.join("sign_ins.json"),
                Duration::from_secs(settings.sign_in_days.saturating_mul(24 * 3600)),
                !site.is_alone,
            )?,
            links: Links::new(minutes(settings.sign_in_link_minutes)),
            fresh: minutes(settings.fresh_sign_in_minutes),
            site,
            key,
            audit,
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

/// Opens the audit log with the key that seals it. A new key is kept only when the log has begun with it: a key without
/// its log means that somebody removed the log.
fn open_audit(directory: &Path, bytes_max: u64) -> io::Result<(ServerKey, Audit)> {
    let path = directory.join(audit::KEY_FILE);
    if let Some(key) = ServerKey::read(&path)? {
        let audit = Audit::open(directory, bytes_max, key.clone(), false)?;
        return Ok((key, audit));
    }
    let key = ServerKey::random();
    let audit = Audit::open(directory, bytes_max, key.clone(), true)?;
    key.keep(&path)?;
    Ok((key, audit))
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
