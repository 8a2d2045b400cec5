//! `run`: asks for a session and follows it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::session::request::{Background, Request};
use crate::session::umask::Umask;

use super::args::{OutputArgs, RunArgs};
use super::attach;
use super::clean::{clean, one_line};
use super::client::{Client, read};
use super::exit::{Exit, Failure};
use super::input::{is_inline_json, read_json, read_task, split_rules};
use super::launch::find_or_start;
use super::mark::is_inside_agent;
use super::screen::{eprint, print};
use super::sessions::print_object;
use super::view::View;

/// Maximum length of a session's name where its id is told, in characters.
const NAME_CHARS_MAX: usize = 60;

/// Body of the request for a session.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    request: &'a Request,
    #[serde(flatten)]
    environment: &'a OwnEnvironment,
}

/// The environment that this process gives to a session: all of it, and the umask with it.
#[derive(Serialize)]
pub(crate) struct OwnEnvironment {
    env: BTreeMap<String, String>,
    /// `false`: the session gets nothing of the daemon's environment. A daemon of another version may not know the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    inherit_env: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    umask: Option<Umask>,
}

impl OwnEnvironment {
    /// The environment `env` and the umask of this process, as the daemon of `client` knows them.
    pub(crate) fn for_daemon(client: &Client, env: BTreeMap<String, String>) -> Self {
        let is_known = client.other_version().is_none();
        Self {
            env,
            inherit_env: (is_known && !is_inside_agent()).then_some(false),
            umask: own_umask().filter(|_| is_known),
        }
    }
}

/// What the daemon says about a new session besides its view.
#[derive(Deserialize)]
struct Remarks {
    #[serde(default)]
    warnings: Vec<String>,
}

/// `run`
pub(crate) async fn run(state_dir: &Path, args: &RunArgs) -> Result<Exit, Failure> {
    let env = environment(std::env::vars_os(), &args.env)?;
    let env = given_by(is_inside_agent(), env, &args.env);
    let request = request(args, &env, is_inside_agent())?;
    request.check().map_err(|error| Failure::Usage(error.to_string()))?;
    let client = find_or_start(state_dir).await?;
    let body = Body {
        request: &request,
        environment: &OwnEnvironment::for_daemon(&client, env),
    };
    let created = client.create(&body).await?;
    show_new(client, &created, args.shown).await
}

/// Follows a session that was just created, or only names it.
pub(crate) async fn show_new(client: Client, created: &RawValue, shown: OutputArgs) -> Result<Exit, Failure> {
    let remarks: Remarks = read(created)?;
    for warning in remarks.warnings {
        eprint(&format!("warning: {}", clean(&warning)));
    }
    show(client, created, 0, shown).await
}

/// Follows a session that was just set going from behind the record `after`, or only names it.
pub(crate) async fn show(client: Client, going: &RawValue, after: u64, shown: OutputArgs) -> Result<Exit, Failure> {
    let view: View = read(going)?;
    let short_id = view.session_id.short();
    if !shown.detach {
        if !shown.json && !shown.quiet {
            eprint(&format!("session {short_id}: {}", one_line(&view.name, NAME_CHARS_MAX)));
        }
        return attach::follow(client, &view, after, shown).await;
    }
    // What a resume lets it use; who follows it reads the notice.
    let granted = (after > 0).then(|| view.granted()).flatten();
    if shown.json {
        print_object(going)?;
    } else {
        print(&format!("{short_id}\n"))?;
        if let Some(granted) = granted {
            eprint(&granted);
        }
        eprint(&format!(
            "it runs on its own: follow it with `cc-executor attach {short_id}`"
        ));
    }
    Ok(Exit::Ok)
}

fn request(args: &RunArgs, env: &BTreeMap<String, String>, is_agent: bool) -> Result<Request, Failure> {
    let json_schema = args.json_schema.as_deref().map(read_json).transpose();
    Ok(Request {
        task: read_task(args.task.as_deref(), args.file.as_deref())?,
        cwd: directory(args.cwd.as_deref().unwrap_or(Path::new(".")))?,
        name: args.name.clone(),
        model: args.model.clone(),
        permission_mode: args.permission_mode,
        allowed_tools: args.allowed_tools.iter().flat_map(|list| split_rules(list)).collect(),
        disallowed_tools: args
            .disallowed_tools
            .iter()
            .flat_map(|list| split_rules(list))
            .collect(),
        append_system_prompt: system_prompt(args)?,
        mcp_config: args
            .mcp_config
            .iter()
            .map(|config| mcp_config(config, is_agent))
            .collect::<Result<_, _>>()?,
        max_turns: args.max_turns,
        max_budget_usd: args.max_budget_usd,
        add_dirs: args
            .add_dir
            .iter()
            .map(|dir| directory(dir))
            .collect::<Result<_, _>>()?,
        json_schema: json_schema.map_err(|error| Failure::Usage(format!("--json-schema: {error}")))?,
        timeout_seconds: args.timeout,
        on_question: args.on_question,
        question_timeout_seconds: args.question_timeout,
        checkpoint_interval_seconds: args.checkpoint_interval,
        background_shells: Some(args.background).filter(|choice| *choice != Background::End),
        keep_background: args.keep_background,
        // It is sent beside the request, like the environment.
        umask: None,
        env_names: env.keys().cloned().collect(),
        clarify: args.clarify,
        trust_project: args.trust_project,
        executor_tools: args.with_executor,
        // The daemon takes both from the environment.
        depth: 0,
        parent: None,
        origin: None,
    })
}

/// The text that is added to the system prompt: given in words or as a file.
fn system_prompt(args: &RunArgs) -> Result<Option<String>, Failure> {
    let Some(file) = &args.append_system_prompt_file else {
        return Ok(args.append_system_prompt.clone());
    };
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Failure::Usage(format!("--append-system-prompt-file: cannot read {file:?}: {error}")));
    text.map(Some)
}

/// The umask of this process, as Linux shows it; to ask for it by the system call would change it.
fn own_umask() -> Option<Umask> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    umask.trim().parse().ok()
}

/// The caller's own environment.
pub(crate) fn own_environment() -> BTreeMap<String, String> {
    utf8(std::env::vars_os())
}

/// The caller's own environment and what `--env` adds. Variables that are not UTF-8 cannot be sent in JSON.
fn environment(
    own: impl Iterator<Item = (OsString, OsString)>,
    given: &[String],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut env = utf8(own);
    for given in given {
        match given.split_once('=') {
            Some(("", _)) => return Err(Failure::Usage(format!("--env {given}: the variable has no name"))),
            Some((name, value)) => {
                env.insert(name.to_owned(), value.to_owned());
            }
            None if env.contains_key(given) => {}
            None => {
                return Err(Failure::Usage(format!(
                    "--env {given}: this variable is not set here: export it, or write --env {given}=VALUE"
                )));
            }
        }
    }
    Ok(env)
}

/// What is sent of the environment. An agent sends what it was told to alone: the session that it asks for has the
/// environment of its own session, and another one is for a person to give.
fn given_by(is_agent: bool, mut env: BTreeMap<String, String>, given: &[String]) -> BTreeMap<String, String> {
    let name = |given: &String| given.split('=').next().unwrap_or_default().to_owned();
    let named: Vec<_> = given.iter().map(name).collect();
    env.retain(|name, _| !is_agent || named.contains(name));
    env
}

fn utf8(own: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The whole path of a directory that exists.
pub(crate) fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let whole = path
        .canonicalize()
        .map_err(|error| Failure::Usage(format!("the directory {path:?} cannot be used: {error}")))?;
    if whole.is_dir() {
        Ok(whole)
    } else {
        Err(Failure::Usage(format!("{path:?} is not a directory")))
    }
}

/// JSON as it stands, or the whole path of a file, which the daemon reads as soon as it has the request. An agent reads it
/// itself: the daemon takes no path of it.
fn mcp_config(given: &str, is_agent: bool) -> Result<String, Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::Usage(format!("--mcp-config: {error}"));
    if let Ok(metadata) = std::fs::metadata(given.strip_prefix('@').unwrap_or(given))
        && !metadata.is_file()
        && !is_inline_json(given)
    {
        return Err(bad(&format!(
            "{given:?} is not a regular file: write the JSON into one"
        )));
    }
    let json = read_json(given).map_err(|error| bad(&error))?;
    if !json.is_object() {
        return Err(bad(&"it holds JSON that is not an object"));
    }
    if is_agent && !is_inline_json(given) {
        return Ok(json.to_string());
    }
    if is_inline_json(given) {
        return Ok(given.to_owned());
    }
    let path = given.strip_prefix('@').unwrap_or(given);
    let whole = std::path::absolute(path).map_err(|error| bad(&error))?;
    whole
        .into_os_string()
        .into_string()
        .map_err(|_| bad(&"the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Verb};
    use clap::Parser;

    fn args(line: &[&str]) -> RunArgs {
        let cli = Cli::try_parse_from([&["cc-executor", "run"], line].concat()).unwrap();
        let Verb::Run(args) = cli.verb else { panic!() };
        *args
    }

    fn own() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
        [
            ("HOME".into(), "/srv/me".into()),
            ("EMPTY".into(), String::new().into()),
        ]
        .into_iter()
    }

    #[test]
    fn the_whole_environment_is_sent_and_what_is_named_must_be_there() {
        let env = environment(own(), &["HOME".into(), "EMPTY".into(), "NEW=a=b".into()]).unwrap();
        assert_eq!(
            (env["HOME"].as_str(), env["EMPTY"].as_str(), env["NEW"].as_str()),
            ("/srv/me", "", "a=b")
        );
        let failure = environment(own(), &["MISSING".into()]).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("MISSING"));
    }

    #[test]
    fn an_agent_sends_the_variables_that_are_named_alone() {
        let named = ["NEW=1".to_owned(), "EMPTY".to_owned()];
        let env = environment(own(), &named).unwrap();
        assert_eq!(given_by(false, env.clone(), &named), env);
        let sent: Vec<_> = given_by(true, env, &named).into_keys().collect();
        assert_eq!(sent, ["EMPTY", "NEW"]);
    }

    #[test]
    fn paths_are_made_whole_before_they_leave() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("mcp.json");
        std::fs::write(&config, "{}").unwrap();
        let dir = dir.path().to_str().unwrap();
        let args = args(&[
            "tidy up",
            "--cwd",
            dir,
            "--add-dir",
            ".",
            "--mcp-config",
            config.to_str().unwrap(),
            "--mcp-config",
            "{}",
        ]);
        let of_agent = request(&args, &BTreeMap::new(), true).unwrap();
        assert_eq!(
            of_agent.mcp_config,
            ["{}", "{}"],
            "the daemon takes no file of an agent"
        );
        let request = request(&args, &BTreeMap::new(), false).unwrap();
        assert!(request.cwd.is_absolute() && request.add_dirs[0].is_absolute());
        assert_eq!(request.mcp_config[1], "{}");
        assert!(Path::new(&request.mcp_config[0]).is_absolute());
        request.check().unwrap();
    }

    #[test]
    fn the_umask_is_read_and_stays_as_it_is() {
        let umask = own_umask().expect("Linux shows it");
        assert_eq!(own_umask(), Some(umask));
    }

    #[test]
    fn a_long_system_prompt_comes_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompt");
        std::fs::write(&path, "x".repeat(160_000)).unwrap();
        let args = args(&["t", "--append-system-prompt-file", path.to_str().unwrap()]);
        let request = request(&args, &BTreeMap::new(), false).unwrap();
        assert_eq!(request.append_system_prompt.as_deref().map(str::len), Some(160_000));
        request.check().unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        let failure = |line: &[&str]| request(&args(line), &BTreeMap::new(), false).unwrap_err();
        for (line, word) in [
            (&["x", "--cwd", "/nowhere"][..], "/nowhere"),
            (&["x", "--json-schema", "@/nowhere"], "--json-schema"),
            (&["x", "--mcp-config", "/nowhere"], "--mcp-config"),
            (&["x", "--mcp-config", "/dev/null"], "regular file"),
            (&["x", "--mcp-config", "[]"], "not an object"),
            (
                &["x", "--append-system-prompt-file", "/nowhere"],
                "--append-system-prompt-file",
            ),
        ] {
            let failure = failure(line);
            assert_eq!(failure.exit(), Exit::Usage);
            assert!(failure.to_string().contains(word), "{failure}");
        }
    }

    #[test]
    fn the_body_has_request_and_environment_side_by_side() {
        let request = Request {
            task: "t".into(),
            cwd: "/".into(),
            ..Request::default()
        };
        let env = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        let body = |inherit_env, umask| {
            let environment = &OwnEnvironment {
                env: env.clone(),
                inherit_env,
                umask,
            };
            let request = &request;
            serde_json::to_value(Body { request, environment }).unwrap()
        };
        let older = serde_json::json!({"task": "t", "cwd": "/", "env": {"A": "b"}});
        assert_eq!(body(None, None), older, "as a daemon of another version reads it");
        let whole = body(Some(false), Some("27".parse().unwrap()));
        assert_eq!(
            (&whole["inherit_env"], &whole["umask"]),
            (&false.into(), &"0027".into())
        );
    }
}
