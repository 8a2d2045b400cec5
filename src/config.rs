//! Settings: four layers, one type. `config/default.toml` is the reference and the lowest layer; above it lie the
//! user's file, the environment (`CC_EXECUTOR__SECTION__KEY`) and the flags. An unknown key and a value that does not
//! fit are errors that name the key and where it came from.

mod environment;
mod layer;
mod page_address;
mod paths;
mod settings;

use std::io;
use std::path::PathBuf;

use ::config::{Config, ConfigError, ValueKind};

pub use environment::Environment;
use layer::Layer;
pub use page_address::{NoAddress, PageAddress, PageHost};
pub use paths::{DAEMON_LOCK, Paths, PathsError};
pub(crate) use paths::{is_daemon_socket, make_private};
pub use settings::{
    AccessSettings, AgentSettings, Argv, LimitSettings, LogFormat, LogSettings, McpSettings, ServerSettings, Settings,
    StateSettings, SupervisionSettings,
};

/// The embedded defaults, comments included.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");

/// What the embedded defaults are called where an origin is named.
const DEFAULT_ORIGIN: &str = "the built-in defaults";

/// Where settings are looked for beside the embedded defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file given with `--config`, which must exist; none for the user's own, which need not.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The flags that set something.
    pub flags: Vec<Flag>,
}

/// A flag that sets a setting.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as it was typed.
    pub flag: String,
    /// The setting's key, as in `server.port`.
    pub key: String,
    /// The value as text; arrays as JSON.
    pub value: String,
}

/// Why there are no settings; each names the key and its place.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No setting is called this.
    #[error("there is no setting `{key}`, as in {origin}; {known}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The file, variable or flag.
        origin: String,
        /// Which keys there are in its place.
        known: String,
    },
    /// A value does not fit.
    #[error("the setting `{key}` in {origin} {why}")]
    BadValue {
        /// The key.
        key: String,
        /// The file, variable or flag.
        origin: String,
        /// What is wrong with it and what would fit.
        why: String,
    },
    /// The file cannot be read.
    #[error("cannot read the settings in {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason, in words for a person.
        error: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin} is not TOML: {why}")]
    Syntax {
        /// The file.
        origin: String,
        /// The place and the reason.
        why: String,
    },
}

impl Settings {
    /// Reads all layers, checks each against the defaults, and the outcome as a whole.
    pub fn load(sources: &Sources) -> Result<Self, LoadError> {
        let defaults = Layer::from_toml(DEFAULT_TOML, DEFAULT_ORIGIN)?;
        let mut layers = vec![defaults.clone()];
        if let Some((path, text)) = read_user_file(sources)? {
            layers.push(Layer::from_toml(&text, &path.display().to_string())?.fit(&defaults)?);
        }
        layers.push(Layer::from_environment(&sources.environment)?.fit(&defaults)?);
        layers.push(Layer::from_flags(&sources.flags).fit(&defaults)?);
        let mut builder = Config::builder();
        for layer in layers {
            builder = builder.add_source(layer);
        }
        let merged = builder.build().map_err(|error| bad_value(error, &Config::default()))?;
        let settings: Self = merged
            .clone()
            .try_deserialize()
            .map_err(|error| bad_value(error, &merged))?;
        settings.check().map_err(|fault| LoadError::BadValue {
            origin: origin_of(&merged, fault.key),
            key: fault.key.to_owned(),
            why: fault.why,
        })?;
        Ok(settings)
    }

    /// The settings where nobody has set anything.
    pub fn embedded() -> Result<Self, LoadError> {
        Self::load(&Sources::default())
    }
}

/// The user's file and its text; none where there is none and none was asked for.
fn read_user_file(sources: &Sources) -> Result<Option<(PathBuf, String)>, LoadError> {
    let found = match &sources.file {
        Some(path) => path.clone(),
        None => match sources.environment.config_home() {
            Some(home) => home.join("cc-executor").join("config.toml"),
            None => return Ok(None),
        },
    };
    match std::fs::read_to_string(&found) {
        Ok(text) => Ok(Some((found, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && sources.file.is_none() => Ok(None),
        Err(error) => Err(LoadError::Unreadable { path: found, error }),
    }
}

/// What the `config` crate objects to, in our words; the layers' own checks leave it numbers out of range and
/// unknown words.
fn bad_value(error: ConfigError, merged: &Config) -> LoadError {
    let (key, why) = match error {
        ConfigError::Type {
            key: Some(key),
            unexpected,
            expected,
            ..
        } => (key, format!("is {unexpected}, not {expected}")),
        ConfigError::At {
            key: Some(key), error, ..
        } => (key, format!("does not fit: {error}")),
        other => (String::new(), other.to_string()),
    };
    let origin = origin_of(merged, &key);
    LoadError::BadValue { key, origin, why }
}

fn origin_of(merged: &Config, key: &str) -> String {
    let found = key.split('.').try_fold(&merged.cache, |value, part| match &value.kind {
        ValueKind::Table(table) => table.get(part),
        _ => None,
    });
    found
        .and_then(|value| value.origin())
        .unwrap_or("the settings")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(vars: &[(&str, &str)]) -> Result<Settings, String> {
        let sources = Sources {
            environment: vars.iter().copied().collect(),
            ..Sources::default()
        };
        Settings::load(&sources).map_err(|error| error.to_string())
    }

    fn load_file(text: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        Settings::load(&sources).map_err(|error| error.to_string())
    }

    /// The keys of all leaves, as in `server.port`; an empty table is a leaf.
    fn keys(value: &toml::Value, above: &str, found: &mut Vec<String>) {
        match value.as_table() {
            Some(table) if !table.is_empty() || above.is_empty() => {
                let join = |key: &str| {
                    if above.is_empty() {
                        key.into()
                    } else {
                        format!("{above}.{key}")
                    }
                };
                table.iter().for_each(|(key, value)| keys(value, &join(key), found));
            }
            _ => found.push(above.to_owned()),
        }
    }

    #[test]
    fn the_default_file_and_the_type_have_the_same_keys() {
        let (mut of_file, mut of_type) = (vec![], vec![]);
        keys(&toml::from_str(DEFAULT_TOML).unwrap(), "", &mut of_file);
        let settings = Settings::embedded().unwrap();
        keys(&toml::Value::try_from(settings).unwrap(), "", &mut of_type);
        of_file.sort();
        of_type.sort();
        assert_eq!(of_file, of_type);
    }

    #[test]
    fn every_setting_has_a_comment() {
        let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
        for (above, line) in lines.iter().zip(&lines[1..]) {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(above.starts_with('#'), "{line} has no comment");
            }
        }
    }

    #[test]
    fn the_later_layer_wins() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("cc-executor");
        std::fs::create_dir(&ours).unwrap();
        std::fs::write(
            ours.join("config.toml"),
            "[server]\nport = 1\nshutdown_grace_ms = 1\n[limits]\nmax_live_agents = 1",
        )
        .unwrap();
        let vars = [
            ("XDG_CONFIG_HOME", dir.path().to_str().unwrap()),
            ("CC_EXECUTOR__SERVER__PORT", "2"),
            ("CC_EXECUTOR__SERVER__SHUTDOWN_GRACE_MS", "2"),
            ("CC_EXECUTOR_ATTEMPT", "not a setting"),
        ];
        let flags = vec![Flag {
            flag: "--port".into(),
            key: "server.port".into(),
            value: "3".into(),
        }];
        let sources = Sources {
            file: None,
            environment: vars.into_iter().collect(),
            flags,
        };
        let settings = Settings::load(&sources).unwrap();
        let of_file = settings.limits.max_live_agents;
        assert_eq!(
            (settings.server.port, settings.server.shutdown_grace_ms, of_file),
            (3, 2, 1)
        );
        assert_eq!(settings.limits.stream_readers_max, 256, "the rest stays as it is");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let error = load(&[("CC_EXECUTOR__SERVER__PROT", "1")]).unwrap_err();
        assert!(
            error.contains("`server.prot`") && error.contains("CC_EXECUTOR__SERVER__PROT"),
            "{error}"
        );
        assert!(error.contains("port"), "what there is is listed: {error}");
        let error = load_file("[sever]\nport = 1").unwrap_err();
        assert!(error.contains("`sever`") && error.contains("mine.toml"), "{error}");
        let error = load_file("[supervision]\nrestarts = 1").unwrap_err();
        assert!(error.contains("`supervision.restarts`"), "{error}");
        let error = load(&[("CC_EXECUTOR__PORT", "1")]).unwrap_err();
        assert!(error.contains("`port`"), "{error}");
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_place() {
        let bad = [
            ("CC_EXECUTOR__SERVER__PORT", "abc", "`server.port`"),
            ("CC_EXECUTOR__SERVER__PORT", "70000", "`server.port`"),
            ("CC_EXECUTOR__SERVER__PORT", "-1", "`server.port`"),
            ("CC_EXECUTOR__SERVER__HOST", "0.0.0.0", "loopback"),
            ("CC_EXECUTOR__LOG__FORMAT", "xml", "`log.format`"),
            ("CC_EXECUTOR__LOG__LEVEL", "loud!=", "`log.level`"),
            (
                "CC_EXECUTOR__SUPERVISION__RESUME_AFTER_QUOTA",
                "perhaps",
                "true or false",
            ),
            ("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "0", "`limits.max_live_agents`"),
            ("CC_EXECUTOR__STATE__DIR", "here", "absolute"),
            ("CC_EXECUTOR__AGENT__COMMAND", "[1]", "`agent.command`"),
            ("CC_EXECUTOR__AGENT__COMMAND", "[\"x\"", "`agent.command`"),
            ("CC_EXECUTOR__AGENT__COMMAND", "", "`agent.command`"),
            ("CC_EXECUTOR__AGENT__ENV", "x", "`agent.env`"),
            ("CC_EXECUTOR__SERVER", "x", "`server`"),
            ("CC_EXECUTOR__SERVER__PORT__X", "1", "`server.port`"),
        ];
        for (name, value, told) in bad {
            let error = load(&[(name, value)]).unwrap_err();
            assert!(error.contains(told) && error.contains(name), "{name}={value}: {error}");
        }
        let error = load_file("[server]\nport = \"8010\"").unwrap_err();
        assert!(
            error.contains("`server.port`") && error.contains("mine.toml"),
            "{error}"
        );
        let error = load_file("[server]\nport = = 1").unwrap_err();
        assert!(error.contains("mine.toml"), "{error}");
    }

    #[test]
    fn a_file_that_was_asked_for_must_exist() {
        let sources = Sources {
            file: Some("/does/not/exist.toml".into()),
            ..Sources::default()
        };
        let error = Settings::load(&sources).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist.toml"), "{error}");
    }

    #[test]
    fn a_command_is_a_program_or_an_argv() {
        let command = |text: &str| load(&[("CC_EXECUTOR__AGENT__COMMAND", text)]).unwrap().agent.command;
        assert_eq!(command("/opt/my claude").as_slice(), ["/opt/my claude"]);
        assert_eq!(command(r#"["node", "cli.js"]"#).as_slice(), ["node", "cli.js"]);
        let of_file = load_file("[agent]\ncommand = [\"node\", \"cli.js\"]").unwrap();
        assert_eq!(of_file.agent.command.as_slice(), ["node", "cli.js"]);
    }

    #[test]
    fn directories_are_an_array_in_every_layer() {
        let of = |text: &str| {
            let loaded = load(&[("CC_EXECUTOR__ACCESS__ALLOWED_DIRECTORIES", text)])?;
            Ok::<_, String>(loaded.access.allowed_directories)
        };
        assert_eq!(of("").unwrap(), [""; 0].map(PathBuf::from));
        assert_eq!(of(r#"["/a", "/b c"]"#).unwrap(), ["/a", "/b c"].map(PathBuf::from));
        let of_file = load_file("[access]\nallowed_directories = [\"/a\"]").unwrap();
        assert_eq!(of_file.access.allowed_directories, ["/a"].map(PathBuf::from));
        for bad in ["/a", "[1]", r#"["a"]"#, r#"[""]"#] {
            let error = of(bad).unwrap_err();
            assert!(error.contains("`access.allowed_directories`"), "{bad}: {error}");
        }
        assert!(load_file("[access]\nallowed_directories = \"/a\"").is_err());
    }

    #[test]
    fn an_address_beyond_this_machine_is_refused_with_what_to_do_instead() {
        let error = load(&[("CC_EXECUTOR__SERVER__HOST", "0.0.0.0")]).unwrap_err();
        for told in ["run commands as you", "ssh -L", "reverse proxy"] {
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn variables_of_agents_keep_their_spelling() {
        let settings = load(&[("CC_EXECUTOR__AGENT__ENV__Http_PROXY", "a")]).unwrap();
        assert_eq!(settings.agent.env["Http_PROXY"], "a");
        let settings = load_file("[agent.env]\nHttp_PROXY = \"b\"").unwrap();
        assert_eq!(settings.agent.env["Http_PROXY"], "b");
    }

    #[test]
    fn the_restart_policy_of_the_defaults_is_that_of_the_core() {
        let policy = Settings::embedded().unwrap().supervision.restart_policy();
        assert_eq!(policy, crate::session::restart::RestartPolicy::default());
    }
}
