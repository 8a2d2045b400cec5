//! `token`: the daemon's own, and tokens of others with a role each.

use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::args::{TokenArgs, TokenVerb};
use super::clean::clean;
use super::client::{Client, read};
use super::columns::{Column, list as columns_of};
use super::exit::{Exit, Failure};
use super::screen::{eprint, print, print_json};
use super::sessions::print_object;
use super::units;
use crate::web::Token;

/// All tokens, each as the daemon wrote it.
#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Box<RawValue>>,
}

/// One of them.
#[derive(Deserialize)]
struct View {
    name: String,
    role: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    has_expired: bool,
    #[serde(default)]
    token: String,
}

/// `token`
pub(crate) async fn token(state_dir: &Path, args: &TokenArgs) -> Result<Exit, Failure> {
    match &args.what {
        None => own(state_dir, args.json)?,
        Some(TokenVerb::Create { name, role, expires }) => {
            let mut body = json!({"name": name, "role": role});
            if let Some(seconds) = expires {
                body["expires_in_seconds"] = json!(seconds);
            }
            let made: Box<RawValue> = Client::find(state_dir)?.post("/api/tokens", &body).await?;
            if args.json {
                print_object(&made)?;
            } else {
                eprint("this is shown once:");
                print(&format!("{}\n", clean(&read::<View>(&made)?.token)))?;
            }
        }
        Some(TokenVerb::Ls) => list(&Client::find(state_dir)?, args.json).await?,
        Some(TokenVerb::Revoke { name }) => {
            Client::find(state_dir)?.delete(&token_path(name)).await?;
            let told = if args.json {
                json!({"revoked": name}).to_string()
            } else {
                format!("the token {name} opens nothing any more")
            };
            print(&format!("{told}\n"))?;
        }
    }
    Ok(Exit::Ok)
}

/// Prints the daemon's own token. The first daemon makes it, and it is there while no daemon runs.
fn own(state_dir: &Path, json: bool) -> Result<(), Failure> {
    let path = state_dir.join("token");
    if matches!(path.try_exists(), Ok(false)) {
        return Err(Failure::NoDaemon(state_dir.to_owned()));
    }
    let token = Token::read(&path).map_err(|error| Failure::Failed(error.to_string()))?;
    let told = if json {
        json!({"token": token.reveal()}).to_string()
    } else {
        token.reveal().to_owned()
    };
    Ok(print(&format!("{told}\n"))?)
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let Tokens { tokens } = client.get("/api/tokens").await?;
    if json {
        let objects: Vec<_> = tokens.iter().map(|token| token.get()).collect();
        return Ok(print_json(&format!("[{}]\n", objects.join(",\n")))?);
    }
    if tokens.is_empty() {
        return Ok(print("no tokens but the daemon's own\n")?);
    }
    let views = tokens.iter().map(|raw| read(raw)).collect::<Result<Vec<View>, _>>()?;
    Ok(print(&table(&views, Timestamp::now()))?)
}

fn table(tokens: &[View], now: Timestamp) -> String {
    let row = |token: &View| {
        let expires = match token.expires_at {
            _ if token.has_expired => "has expired".to_owned(),
            Some(at) => format!("in {}", units::duration(at.duration_since(now))),
            None => "never".to_owned(),
        };
        let age = units::duration(now.duration_since(token.created_at));
        [clean(&token.name), clean(&token.role), age, expires]
    };
    let columns = ["NAME", "ROLE", "AGE", "EXPIRES"].map(Column::new);
    columns_of(columns, &tokens.iter().map(row).collect::<Vec<_>>(), None)
}

/// A token's path. What a person typed becomes one segment and nothing else.
fn token_path(name: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let plain: String = name.chars().filter(fits).collect();
    // An empty segment would be another resource, and what was changed another token.
    let segment = if plain == name && !plain.is_empty() {
        &plain
    } else {
        "%20"
    };
    format!("/api/tokens/{segment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_table() {
        let view = |name: &str, expires_at: Option<&str>, has_expired: bool| View {
            name: name.into(),
            role: "viewer".into(),
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires_at: expires_at.map(|at| at.parse().unwrap()),
            has_expired,
            token: String::new(),
        };
        let tokens = [
            view("ci", Some("2026-01-03T00:00:00Z"), false),
            view("wall", None, false),
            view("old", Some("2026-01-01T00:00:01Z"), true),
        ];
        insta::assert_snapshot!(table(&tokens, "2026-01-02T00:00:00Z".parse().unwrap()), @r"
        NAME  ROLE    AGE  EXPIRES
        ci    viewer  1 d  in 1 d
        wall  viewer  1 d  never
        old   viewer  1 d  has expired
        ");
    }

    #[test]
    fn a_name_that_is_none_is_no_other_tokens() {
        assert_eq!(token_path("ci_2"), "/api/tokens/ci_2");
        for typed in ["", "../x", "ci?", "a b"] {
            assert_eq!(token_path(typed), "/api/tokens/%20", "{typed}");
        }
    }
}
