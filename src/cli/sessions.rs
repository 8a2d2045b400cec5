//! Looking at sessions and ending them: `ls`, `status`, `cancel`.

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::answer::flags_for;
use super::args::{CancelArgs, LsArgs, StatusArgs, Wanted};
use super::clean::{clean, name, one_line};
use super::client::{Client, SessionPage, read};
use super::columns::{Column, Cut, list, width_of_stdout};
use super::exit::{Exit, Failure};
use super::prompt;
use super::screen::{eprint, print, print_json};
use super::units;
use super::view::View;
use crate::session::id::SessionId;
use crate::session::terms::Terms;

/// How many sessions are asked for at a time where all are wanted.
const PAGE_SESSIONS_MAX: usize = 500;

/// How long a name may get in the list, in characters.
const NAME_CHARS_MAX: usize = 40;

/// What the list of sessions shows. What `status` tells as well goes first where there is no room for all.
const COLUMNS: [Column; 8] = [
    Column::new("ID"),
    Column::new("NAME").cut(Cut::End),
    Column::new("STATE"),
    Column::new("ATTEMPT").goes(1),
    Column::new("TURNS").goes(2),
    Column::new("COST").goes(3),
    Column::new("AT WORK").goes(5),
    Column::new("DIRECTORY").cut(Cut::Start).goes(4),
];

/// `ls`
pub(crate) async fn ls(client: &Client, args: &LsArgs) -> Result<Exit, Failure> {
    let SessionPage { sessions, next_cursor } = find(client, args).await?;
    if args.json {
        let objects: Vec<_> = sessions.iter().map(|session| session.get()).collect();
        print_json(&format!("[{}]\n", objects.join(",\n")))?;
        return Ok(Exit::Ok);
    }
    let views = sessions.iter().map(|raw| read(raw)).collect::<Result<Vec<View>, _>>()?;
    match views.as_slice() {
        views if args.quiet => print(
            &views
                .iter()
                .map(|view| view.session_id.short() + "\n")
                .collect::<String>(),
        )?,
        [] => print("no sessions\n")?,
        views => print(&table(views, width_of_stdout()))?,
    }
    if next_cursor.is_some() {
        eprint("older ones that have ended are left out: `cc-executor ls --all` lists them");
    }
    Ok(Exit::Ok)
}

/// What is looked for; where that is nothing and not all, those that live and those that were created lately.
async fn find(client: &Client, args: &LsArgs) -> Result<SessionPage, Failure> {
    let mut query = query(&args.wanted)?;
    if args.all || !query.is_empty() {
        query.push(("limit", PAGE_SESSIONS_MAX.to_string()));
        let sessions = client.list(&query).await?;
        let next_cursor = None;
        return Ok(SessionPage { sessions, next_cursor });
    }
    let mut found = client.page(&[]).await?;
    let ids = found.sessions.iter().map(|raw| id_of(raw));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    for raw in client.live().await? {
        if !ids.contains(&id_of(&raw)?) {
            found.sessions.push(raw);
        }
    }
    Ok(found)
}

/// The query that says which sessions are wanted.
pub(crate) fn query(wanted: &Wanted) -> Result<Vec<(&'static str, String)>, Failure> {
    let Wanted {
        state,
        directory,
        since,
        until,
        search,
    } = wanted;
    let mut query = Vec::new();
    if !state.is_empty() {
        query.push(("state", state.join(",")));
    }
    if let Some(directory) = directory {
        query.push(("directory", whole_path(directory)));
    }
    for (name, when) in [("since", since), ("until", until)] {
        if let Some(when) = when {
            query.push((name, units::parse_when(when, Timestamp::now()).map_err(Failure::Usage)?));
        }
    }
    if let Some(search) = search {
        query.push(("q", search.clone()));
    }
    Ok(query)
}

/// A directory as sessions have it: absolute, and without links where it exists.
pub(crate) fn whole_path(directory: &std::path::Path) -> String {
    let absolute = directory.canonicalize().or_else(|_| std::path::absolute(directory));
    absolute.unwrap_or_else(|_| directory.to_owned()).display().to_string()
}

fn id_of(raw: &RawValue) -> Result<SessionId, Failure> {
    let view: View = read(raw)?;
    Ok(view.session_id)
}

/// `status`
pub(crate) async fn status(client: &Client, args: &StatusArgs) -> Result<Exit, Failure> {
    let raw = meant(client, args.id.as_deref()).await?;
    if args.json {
        print_object(&raw)?;
    } else {
        print(&describe(&read(&raw)?, Timestamp::now()))?;
    }
    Ok(Exit::Ok)
}

/// The session with this id; where none is typed, the only one that has not ended.
pub(crate) async fn meant(client: &Client, id: Option<&str>) -> Result<Box<RawValue>, Failure> {
    if let Some(id) = id {
        return client.get_raw(id).await;
    }
    let mut live = client.live().await?;
    match live.len() {
        0 => Err(Failure::UnknownId(
            "no session is live: name one that `cc-executor ls` lists".to_owned(),
        )),
        1 => Ok(live.remove(0)),
        _ => {
            let views = live.iter().map(|raw| read(raw)).collect::<Result<Vec<View>, _>>()?;
            let lines = views.iter().map(|view| {
                let (short, name) = (view.session_id.short(), one_line(&view.name, NAME_CHARS_MAX));
                format!("\n  {short}  {name}")
            });
            let lines: String = lines.collect();
            Err(Failure::Usage(format!("several sessions are live: name one{lines}")))
        }
    }
}

/// `cancel`
pub(crate) async fn cancel(client: &Client, args: &CancelArgs) -> Result<Exit, Failure> {
    let mut worst = Exit::Ok;
    for id in &args.ids {
        match client.cancel(id).await {
            Ok(raw) => show_cancelled(&raw, args.json)?,
            // One that cannot be cancelled keeps no other from it.
            Err(failure) if args.ids.len() > 1 => {
                eprint(&format!("error: {}: {failure}", name(id)));
                worst = worst.worse(failure.exit());
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(worst)
}

fn show_cancelled(raw: &RawValue, json: bool) -> Result<(), Failure> {
    if json {
        return print_object(raw);
    }
    let view: View = read(raw)?;
    let (short, state) = (view.session_id.short(), shown_state(&view));
    Ok(print(&format!("session {short} is {state}\n"))?)
}

/// Prints an object as the daemon wrote it.
pub(crate) fn print_object(raw: &RawValue) -> Result<(), Failure> {
    Ok(print_json(&format!("{}\n", raw.get()))?)
}

pub(crate) fn table(views: &[View], width_max: Option<usize>) -> String {
    let row = |view: &View| {
        [
            view.session_id.short(),
            one_line(&view.name, NAME_CHARS_MAX),
            shown_state(view),
            view.attempt.to_string(),
            view.turns.to_string(),
            units::usd(view.used().cost_usd),
            view.at_work().unwrap_or_default(),
            name(&view.cwd),
        ]
    };
    list(COLUMNS, &views.iter().map(row).collect::<Vec<_>>(), width_max)
}

/// The state, and why it failed, or until when it waits.
pub(crate) fn shown_state(view: &View) -> String {
    let state = name(&view.state);
    match (&view.cause, view.waits_until) {
        (Some(cause), _) => format!("{state}({})", name(cause)),
        (None, Some(until)) => format!("{state}(until {})", units::moment(until)),
        (None, None) => state,
    }
}

/// What a session has used, in parts: turns, tokens, cost, time at work.
pub(crate) fn used(view: &View) -> Vec<String> {
    let mut used = vec![
        units::turns(view.turns),
        units::tokens(view.used().tokens()),
        units::usd(view.used().cost_usd),
    ];
    used.extend(view.at_work().map(|time| format!("{time} at work")));
    used
}

fn describe(view: &View, now: Timestamp) -> String {
    let used = used(view).join(" · ");
    let returns = view.waits_until.map(|until| until.duration_since(now));
    let returns = returns.filter(SignedDuration::is_positive);
    let returns = returns.map(|left| format!(", goes on in {}", units::duration(left)));
    let mut lines = vec![
        format!("session    {}", view.session_id),
        format!("name       {}", one_line(&view.name, 200)),
        format!("state      {}{}", shown_state(view), returns.unwrap_or_default()),
        format!("directory  {}", name(&view.cwd)),
        format!("model      {}", name(view.model.as_deref().unwrap_or("not known yet"))),
        format!("attempt    {}", view.attempt),
        format!("used       {used}"),
    ];
    lines.extend(describe_terms(&view.terms));
    let limits = view.limits.and_then(|limits| limits.limits.used(&limits.used));
    lines.extend(limits.map(|limits| format!("limits     {limits}")));
    lines.extend(
        view.note
            .as_ref()
            .map(|note| format!("note       {}", one_line(note, 400))),
    );
    lines.extend(
        view.timers
            .iter()
            .map(|timer| format!("timer      {}", one_line(timer, 400))),
    );
    lines.extend(
        view.cut_off
            .iter()
            .map(|what| format!("cut off    {}", one_line(what, 400))),
    );
    for question in view.unanswered() {
        let orphaned = if question.orphaned {
            " (its agent is gone; the answer is kept for the next one)"
        } else {
            ""
        };
        let (id, short) = (question.question_id, view.session_id.short());
        lines.push(format!(
            "question   {id} {}{orphaned}",
            one_line(&question.kind.headline(), 200)
        ));
        let explained = prompt::explain(&question.kind).into_iter();
        lines.extend(explained.map(|line| format!("           {line}").trim_end().to_owned()));
        lines.push(format!(
            "           answer with: cc-executor answer {short} {id} {}",
            flags_for(&question.kind)
        ));
    }
    if let Some(result) = view.result.as_deref().filter(|_| view.has_ended()) {
        lines.push(String::new());
        lines.push(clean(result.trim_end()));
    }
    lines.join("\n") + "\n"
}

/// What holds now besides what was asked for, or instead of it, a line each.
fn describe_terms(terms: &Terms) -> Vec<String> {
    let Terms {
        permission_mode,
        allowed_tools,
        add_dirs,
        model,
    } = terms;
    let mode = permission_mode.map(|mode| format!("permission mode {}: {}", mode.name(), mode.meaning()));
    let rules = allowed_tools
        .iter()
        .map(|rule| format!("granted: do not ask again for {rule}"));
    let directories = add_dirs
        .iter()
        .map(|path| format!("granted: work in {}", path.display()));
    let model = model.as_ref().map(|model| format!("switched to the model {model}"));
    let lines = mode.into_iter().chain(model).chain(rules).chain(directories);
    lines
        .map(|line| format!("terms      {}", one_line(&line, 400)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view(more: Value) -> View {
        let mut view = json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "name": "tidy\nup", "state": "running", "attempt": 1,
            "created_at": "2026-01-01T00:00:00Z", "cwd": "/srv/me", "turns": 2, "active_ms": 3_720_000, "head": 5});
        view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T01:05:00Z".parse().unwrap()
    }

    #[test]
    fn the_list_is_a_table() {
        let failed = json!({"name": "a name that is much longer than any column should be", "state": "failed", "cause": "crashed", "cwd": "/\u{1b}[2Jtmp"});
        insta::assert_snapshot!(table(&[view(json!({})), view(failed)], None), @r"
        ID        NAME                                       STATE            ATTEMPT  TURNS  COST   AT WORK    DIRECTORY
        0000abcd  tidy up                                    running          1        2      $0.00  1 h 2 min  /srv/me
        0000abcd  a name that is much longer than any colu…  failed(crashed)  1        2      $0.00  1 h 2 min  /⟨U+001B⟩[2Jtmp
        ");
    }

    #[test]
    fn a_status_says_what_holds_now_where_that_is_not_what_was_asked_for() {
        let terms = json!({"permission_mode": "plan", "allowed_tools": ["Bash(ls *)"], "add_dirs": ["/srv"], "model": "sonnet"});
        let told = describe(&view(json!({"terms": terms})), now());
        let told: Vec<_> = told.lines().filter(|line| line.starts_with("terms")).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        terms      permission mode plan: nothing is changed before a plan is approved
        terms      switched to the model sonnet
        terms      granted: do not ask again for Bash(ls *)
        terms      granted: work in /srv
        ");
        assert!(!describe(&view(json!({})), now()).contains("terms"));
    }

    #[test]
    fn a_status_says_what_is_left_of_its_limits_and_of_its_wait() {
        let limits =
            json!({"max_turns": 9, "max_budget_usd": 2.0, "used": {"turns": 2, "cost_usd": 0.5, "active_ms": 0}});
        let waiting = json!({"state": "waiting_quota", "waits_until": "2026-01-01T02:07:00Z", "limits": limits});
        let text = describe(&view(waiting), now());
        assert!(text.contains(", goes on in 1 h 2 min\n"), "{text}");
        assert!(text.contains("limits     2 of 9 turns, $0.5000 of $2.00\n"), "{text}");
        let late = json!({"state": "waiting_retry", "waits_until": "2026-01-01T00:00:00Z"});
        assert!(!describe(&view(late), now()).contains("goes on"));
    }

    #[test]
    fn a_status_says_how_to_answer() {
        let question = json!({"question_id": "q1", "ask": "permission", "tool": "Bash", "input": {"command": "make"}, "orphaned": true});
        let waiting = json!({"state": "awaiting_input", "model": "sonnet", "questions": [question]});
        insta::assert_snapshot!(describe(&view(waiting), now()), @r"
        session    01890000-0000-7000-8000-00000000abcd
        name       tidy up
        state      awaiting_input
        directory  /srv/me
        model      sonnet
        attempt    1
        used       2 turns · 0 tokens · $0.00 · 1 h 2 min at work
        question   q1 Bash: make (its agent is gone; the answer is kept for the next one)
                   The agent wants to use Bash:
                     command: make
                   answer with: cc-executor answer 0000abcd q1 --allow | --deny [REASON]
        ");
    }
}
