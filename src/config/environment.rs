//! The environment as it was when the daemon started: read once, handed on as a value, so that tests have their own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What the names of variables that are settings begin with.
pub(super) const PREFIX: &str = "CC_EXECUTOR__";

/// Variables by name.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    pub fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// An absolute path from a variable; as the XDG specification has it, others do not count.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.0.get(OsStr::new(name))?);
        path.is_absolute().then_some(path)
    }

    /// Where settings of users are.
    pub(super) fn config_home(&self) -> Option<PathBuf> {
        self.home_of("XDG_CONFIG_HOME", ".config")
    }

    /// Where state of users is.
    pub(super) fn state_home(&self) -> Option<PathBuf> {
        self.home_of("XDG_STATE_HOME", ".local/state")
    }

    /// Names and values of the variables that are settings.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
            .filter(|(name, _)| name.starts_with(PREFIX))
    }

    fn home_of(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        self.path(variable)
            .or_else(|| Some(self.path("HOME")?.join(below_home)))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(
            vars.into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}
