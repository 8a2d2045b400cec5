//! Looking at sessions and ending them: `ls`, `status`, `wait`, `cancel`.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::answer::flags_for;
use super::args::{CancelArgs, LsArgs, StatusArgs, WaitArgs, Wanted};
use super::clean::{clean, one_line};
use super::client::{Client, HowMany, read};
use super::exit::{Exit, Failure};
use super::follow::Follow;
use super::prompt;
use super::screen::print;
use super::units;
use super::view::View;
use crate::session::id::SessionId;

/// How many sessions are asked for at a time where all are wanted.
const PAGE_SESSIONS_MAX: usize = 500;

/// How long a name may get in the list, in characters.
const NAME_CHARS_MAX: usize = 40;

/// `ls`
pub(crate) async fn ls(client: &Client, args: &LsArgs) -> Result<Exit, Failure> {
    let sessions = find(client, args).await?;
    if args.json {
        let objects: Vec<_> = sessions.iter().map(|session| session.get()).collect();
        print(&format!("[{}]\n", objects.join(",\n")))?;
        return Ok(Exit::Ok);
    }
    let views = sessions.iter().map(|raw| read(raw)).collect::<Result<Vec<View>, _>>()?;
    match views.as_slice() {
        [] => print("no sessions\n")?,
        views => print(&table(views, Timestamp::now()))?,
    }
    Ok(Exit::Ok)
}

/// What is looked for; where that is nothing and not all, those that live and those that were created lately.
async fn find(client: &Client, args: &LsArgs) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut query = query(&args.wanted)?;
    if args.all || !query.is_empty() {
        query.push(("limit", PAGE_SESSIONS_MAX.to_string()));
        return client.list(&query, HowMany::All).await;
    }
    let mut found = client.list(&[], HowMany::Page).await?;
    let ids = found.iter().map(|raw| id_of(raw)).collect::<Result<Vec<_>, _>>()?;
    for raw in client.live().await? {
        if !ids.contains(&id_of(&raw)?) {
            found.push(raw);
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
    let raw = client.get_raw(&args.id).await?;
    if args.json {
        print_object(&raw)?;
    } else {
        print(&describe(&read(&raw)?, Timestamp::now()))?;
    }
    Ok(Exit::Ok)
}

/// `wait`
pub(crate) async fn wait(state_dir: &std::path::Path, args: &WaitArgs) -> Result<Exit, Failure> {
    let mut worst = Exit::Ok;
    for id in &args.ids {
        let raw = wait_for(Client::find(state_dir)?, id).await?;
        let view: View = read(&raw)?;
        if args.json {
            print_object(&raw)?;
        } else {
            print(&format!("{} {}\n", view.session_id.short(), shown_state(&view)))?;
        }
        worst = worst.worse(Exit::of_outcome(view.ended_as()));
    }
    Ok(worst)
}

/// `cancel`
pub(crate) async fn cancel(client: &Client, args: &CancelArgs) -> Result<Exit, Failure> {
    let raw = client.cancel(&args.id).await?;
    if args.json {
        print_object(&raw)?;
    } else {
        let view: View = read(&raw)?;
        print(&format!(
            "session {} is {}\n",
            view.session_id.short(),
            shown_state(&view)
        ))?;
    }
    Ok(Exit::Ok)
}

/// Prints an object as the daemon wrote it.
pub(crate) fn print_object(raw: &RawValue) -> Result<(), Failure> {
    Ok(print(&format!("{}\n", raw.get()))?)
}

/// Follows a session's stream to its end, without looking at it; through daemons that come and go.
async fn wait_for(client: Client, id: &str) -> Result<Box<RawValue>, Failure> {
    let view = client.view(id).await?;
    let id = view.session_id.to_string();
    if view.has_ended() {
        return client.get_raw(&id).await;
    }
    let mut follow = Follow::new(client, id.clone(), view.head);
    while follow.next().await?.is_some() {}
    follow.client().get_raw(&id).await
}

pub(crate) fn table(views: &[View], now: Timestamp) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["ID", "NAME", "STATE", "ATTEMPT", "TURNS", "COST", "AGE", "DIRECTORY"]);
    for view in views {
        table.add_row([
            view.session_id.short(),
            one_line(&view.name, NAME_CHARS_MAX),
            shown_state(view),
            view.attempt.to_string(),
            view.turns.to_string(),
            units::usd(view.used().cost_usd),
            units::duration(now.duration_since(view.created_at)),
            clean(&view.cwd),
        ]);
    }
    let lines = table.lines().map(|line| line.trim().to_owned() + "\n");
    lines.collect()
}

fn shown_state(view: &View) -> String {
    match &view.cause {
        Some(cause) => format!("{}({})", clean(&view.state), clean(cause)),
        None => clean(&view.state),
    }
}

fn describe(view: &View, now: Timestamp) -> String {
    let took = view.ended_at.unwrap_or(now).duration_since(view.created_at);
    let used = [
        units::turns(view.turns),
        units::tokens(view.used().tokens()),
        units::usd(view.used().cost_usd),
        units::duration(took),
    ];
    let mut lines = vec![
        format!("session    {}", view.session_id),
        format!("name       {}", one_line(&view.name, 200)),
        format!("state      {}", shown_state(view)),
        format!("directory  {}", clean(&view.cwd)),
        format!("model      {}", clean(view.model.as_deref().unwrap_or("not known yet"))),
        format!("attempt    {}", view.attempt),
        format!("used       {}", used.join(" · ")),
    ];
    lines.extend(
        view.note
            .as_ref()
            .map(|note| format!("note       {}", one_line(note, 400))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view(more: Value) -> View {
        let mut view = json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "name": "tidy\nup", "state": "running", "attempt": 1,
            "created_at": "2026-01-01T00:00:00Z", "cwd": "/srv/me", "turns": 2, "head": 5});
        view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T01:05:00Z".parse().unwrap()
    }

    #[test]
    fn the_list_is_a_table() {
        let failed = json!({"name": "a name that is much longer than any column should be", "state": "failed", "cause": "crashed", "cwd": "/\u{1b}[2Jtmp"});
        insta::assert_snapshot!(table(&[view(json!({})), view(failed)], now()), @r"
        ID        NAME                                       STATE            ATTEMPT  TURNS  COST   AGE     DIRECTORY
        0000abcd  tidy up                                    running          1        2      $0.00  1h 05m  /srv/me
        0000abcd  a name that is much longer than any colu…  failed(crashed)  1        2      $0.00  1h 05m  /tmp
        ");
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
        used       2 turns · 0 tokens · $0.00 · 1h 05m
        question   q1 Bash: make (its agent is gone; the answer is kept for the next one)
                   The agent wants to use Bash:
                     command: make
                   answer with: cc-executor answer 0000abcd q1 --allow | --deny [REASON]
        ");
    }
}
