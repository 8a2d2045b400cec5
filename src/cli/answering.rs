//! `answer`: finds the question that is meant and gives it the answer.

use crate::session::id::QuestionId;

use super::answer::flags_for;
use super::args::AnswerArgs;
use super::asking::{Asking, Prompted, is_interactive};
use super::clean::{name, one_line};
use super::client::{Client, read};
use super::describe::{LINE_CHARS_MAX, describe_answer};
use super::exit::{Exit, Failure};
use super::screen::{eprint, print};
use super::sessions::print_object;
use super::view::{OpenQuestion, View};

/// `answer`
pub(crate) async fn answer(client: &Client, args: &AnswerArgs) -> Result<Exit, Failure> {
    let views = match &args.id {
        Some(id) => vec![client.view(id).await?],
        None => client
            .live()
            .await?
            .iter()
            .map(|raw| read(raw))
            .collect::<Result<_, _>>()?,
    };
    let wanted = args.question.as_deref().map(parse_question_id).transpose()?;
    let (view, question) = find_question(&views, wanted).map_err(|failure| within(failure, args.id.as_deref()))?;
    let answer = match args
        .flags
        .to_answer(&question.kind)
        .map_err(|error| Failure::Usage(error.to_string()))?
    {
        Some(answer) => answer,
        None if is_interactive() => match ask(view, question).await? {
            Prompted::Answered(_, answer) => answer,
            Prompted::Later(id) => {
                eprint(&format!("{id} stays open"));
                return Ok(Exit::Ok);
            }
            Prompted::Interrupted => return Ok(Exit::Cancelled),
        },
        None => {
            let how = how_to_answer(view, question);
            return Err(Failure::Usage(format!("say what the answer is\n  {how}")));
        }
    };
    let raw = client
        .answer(&view.session_id.to_string(), question.question_id, &answer)
        .await?;
    if args.json {
        print_object(&raw)?;
    } else {
        let (id, short) = (question.question_id, view.session_id.short());
        let granted = question.kind.granted(&answer).unwrap_or_default();
        let said = one_line(&describe_answer(&answer, &granted), LINE_CHARS_MAX);
        print(&format!("{id} of session {short} is {said}\n"))?;
    }
    Ok(Exit::Ok)
}

/// The same, saying which session was looked at.
fn within(failure: Failure, session: Option<&str>) -> Failure {
    match (failure, session) {
        (Failure::UnknownId(message), Some(id)) => Failure::UnknownId(format!("session {}: {message}", name(id))),
        (failure, _) => failure,
    }
}

fn parse_question_id(typed: &str) -> Result<QuestionId, Failure> {
    typed.parse().map_err(|error| Failure::Usage(format!("{error}")))
}

/// The question that is meant: the named one, or the only one.
fn find_question(views: &[View], wanted: Option<QuestionId>) -> Result<(&View, &OpenQuestion), Failure> {
    let open: Vec<_> = views
        .iter()
        .flat_map(|view| view.unanswered().map(move |question| (view, question)))
        .filter(|(_, question)| wanted.is_none_or(|wanted| wanted == question.question_id))
        .collect();
    match (open.as_slice(), wanted) {
        ([only], _) => Ok(*only),
        ([], Some(wanted)) => Err(Failure::UnknownId(format!(
            "no open question is called {wanted}: it may be answered already"
        ))),
        ([], None) => Err(Failure::UnknownId("no question is open".to_owned())),
        (several, _) => {
            let lines: Vec<_> = several
                .iter()
                .map(|(view, question)| how_to_answer(view, question))
                .collect();
            Err(Failure::Usage(format!(
                "several questions are open: name one\n  {}",
                lines.join("\n  ")
            )))
        }
    }
}

fn how_to_answer(view: &View, question: &OpenQuestion) -> String {
    format!(
        "{}: cc-executor answer {} {} {}",
        one_line(&question.kind.headline(), 100),
        view.session_id.short(),
        question.question_id,
        flags_for(&question.kind)
    )
}

async fn ask(view: &View, question: &OpenQuestion) -> Result<Prompted, Failure> {
    let name = one_line(&view.name, 60);
    eprint(&format!("session {} ({name}) asks:", view.session_id.short()));
    let mut asking = Asking::new(view);
    asking.ask(question.question_id, &question.kind).await?;
    Ok(asking.prompted().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn view(tail: &str, questions: &[(&str, bool)]) -> View {
        let question = |(id, answered): &(&str, bool)| json!({"question_id": id, "answered": answered, "ask": "plan", "input": {}});
        let questions: Vec<_> = questions.iter().map(question).collect();
        let json = json!({"session_id": format!("01890000-0000-7000-8000-00000000{tail}"), "state": "awaiting_input",
            "created_at": "2026-01-01T00:00:00Z", "questions": questions});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_only_open_question_needs_no_name() {
        let views = [view("aaaa", &[]), view("bbbb", &[("q1", true), ("q2", false)])];
        let (found, question) = find_question(&views, None).unwrap();
        assert_eq!(
            (found.session_id.short().as_str(), question.question_id),
            ("0000bbbb", QuestionId(2))
        );
    }

    #[test]
    fn several_open_questions_are_listed() {
        let views = [
            view("aaaa", &[("q1", false)]),
            view("bbbb", &[("q1", false), ("q2", false)]),
        ];
        let failure = find_question(&views, None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("answer 0000bbbb q2 --allow"), "{failure}");
        assert!(find_question(&views, Some(QuestionId(2))).is_ok());
        assert_eq!(
            find_question(&views[1..], Some(QuestionId(1))).unwrap().1.question_id,
            QuestionId(1)
        );
    }

    #[test]
    fn no_open_question_is_an_unknown_id() {
        assert_eq!(find_question(&[], None).unwrap_err().exit(), Exit::UnknownId);
        let views = [view("aaaa", &[("q1", true)])];
        assert_eq!(
            find_question(&views, Some(QuestionId(1))).unwrap_err().exit(),
            Exit::UnknownId
        );
    }
}
