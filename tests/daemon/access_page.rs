//! Where the page is, and what a browser may change: another server of this machine, which gets to see the cookies of every
//! usual name, comes no further by that.

use serde_json::{Value, json};

use crate::access::Caller;
use crate::access_roles::{Browser, link};
use crate::support::daemon::TestDaemon;

/// What another server may try that knows a browser's cookie and this machine's names.
fn names(caller: &Caller<'_>) -> [String; 3] {
    let port = caller.address.rsplit(':').next().expect("a port");
    ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("Host: {name}:{port}"))
}

#[test]
fn the_page_is_under_a_name_that_stays_and_is_told_to_no_stranger() {
    let mut daemon = TestDaemon::start();
    let port = daemon
        .base_url()
        .and_then(|url| url.rsplit(':').next().map(str::to_owned))
        .expect("a port");
    let host = link(&daemon, &Value::Null).0;
    let name = host
        .strip_prefix("Host: ")
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .to_owned();
    assert!(
        name.len() == 32 && host.ends_with(&format!(".localhost:{port}")),
        "{host}"
    );
    daemon.kill();
    daemon.set("CC_EXECUTOR__SERVER__PORT", &port);
    daemon.launch();
    assert_eq!(
        link(&daemon, &Value::Null).0,
        host,
        "a page that is open finds its daemon again"
    );
    let caller = Caller::of(&daemon);
    let path = link(&daemon, &Value::Null).1;
    for other in names(&caller) {
        for path in ["/", "/history", "/execution/0123abcd", "/sign-in", &path] {
            let answer = caller.call("GET", path, &[&other, "Accept: text/html"], "");
            let page = answer.body.as_str().expect("a page");
            assert_eq!(
                (answer.status, answer.header("location")),
                (401, None),
                "{other} {path}"
            );
            assert!(page.contains("cc-executor open"), "{page}");
            assert!(!page.contains(&name) && !answer.head.contains(&name), "{other} {path}");
        }
        let form = [&*other, "Content-Type: application/x-www-form-urlencoded"];
        let typed = caller.call("POST", "/sign-in", &form, &format!("token={}", daemon.token()));
        assert_eq!((typed.status, typed.header("set-cookie")), (401, None), "{other}");
        let token = caller.token();
        assert_eq!(
            caller.call("GET", "/api/sessions", &[&other, &token], "").status,
            200,
            "{other}"
        );
    }
    let elsewhere = format!("Host: {}.localhost:{port}", "0".repeat(32));
    assert_eq!(caller.call("GET", "/", &[&elsewhere], "").problem(), "foreign_host");
}

#[test]
fn a_cookie_that_another_server_got_to_see_opens_nothing_under_a_usual_name() {
    let daemon = TestDaemon::start();
    let browser = Browser::sign_in(&daemon);
    let caller = Caller::of(&daemon);
    let body = r#"{"name": "stolen", "role": "admin"}"#;
    for name in names(&caller) {
        let with = [&*name, &browser.cookie, &browser.csrf, "Content-Type: application/json"];
        assert_eq!(
            caller.call("GET", "/api/sessions", &with[..2], "").status,
            401,
            "{name}"
        );
        assert_eq!(caller.call("POST", "/api/tokens", &with, body).status, 401, "{name}");
    }
    assert_eq!(daemon.get("/api/tokens").1["tokens"], json!([]));
    assert_eq!(browser.call(&daemon, "GET", "/api/sessions", "").status, 200);
}

#[test]
fn where_the_name_is_shared_a_cookie_reads_and_changes_nothing() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SERVER__PAGE_HOST", "localhost")]);
    let browser = Browser::sign_in(&daemon);
    assert!(!browser.secret.is_empty());
    let caller = Caller::of(&daemon);
    // Who has the cookie can read the page and its CSRF token, but not the storage of the page.
    let thief = [
        &*browser.host,
        &browser.cookie,
        &browser.csrf,
        "Content-Type: application/json",
    ];
    let body = r#"{"name": "stolen", "role": "admin"}"#;
    for (method, path, body) in [
        ("POST", "/api/tokens", body),
        ("POST", "/api/sign-in-links", ""),
        ("POST", "/api/sessions", r#"{"task": "say hello"}"#),
        ("POST", "/api/gc", "{}"),
        ("DELETE", "/api/sessions/0123abcd", ""),
        ("POST", "/sign-out", ""),
    ] {
        let answer = caller.call(method, path, &thief, body);
        assert_eq!(
            (answer.status, answer.problem()),
            (403, "page_secret"),
            "{method} {path}"
        );
    }
    let made = browser.call(&daemon, "POST", "/api/tokens", body);
    assert_eq!(made.status, 201, "the page itself may: {}", made.body);
}

#[test]
fn a_browser_changes_tokens_only_soon_after_a_link() {
    let body = r#"{"name": "ci", "role": "viewer"}"#;
    for (minutes, expected) in [("10", [201, 201, 204]), ("0", [403; 3])] {
        let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__ACCESS__FRESH_SIGN_IN_MINUTES", minutes)]);
        let browser = Browser::sign_in(&daemon);
        let calls = [
            ("POST", "/api/tokens", body),
            ("POST", "/api/sign-in-links", "{}"),
            ("DELETE", "/api/tokens/ci", ""),
        ];
        for ((method, path, body), expected) in calls.into_iter().zip(expected) {
            let answer = browser.call(&daemon, method, path, body);
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
            if expected == 403 {
                assert_eq!(answer.problem(), "stale_sign_in");
                assert!(answer.body["detail"].as_str().unwrap().contains("`cc-executor open`"));
            }
        }
        let (status, made) = daemon.post("/api/tokens", &json!({"name": "wall", "role": "viewer"}));
        assert_eq!(status, 201, "a script with the token always may: {made}");
    }
}

#[test]
fn one_token_signs_nobody_out_who_has_another() {
    let daemon = TestDaemon::start();
    let owner = Browser::sign_in(&daemon);
    let viewer = crate::access_roles::token(&daemon, "wall", "viewer");
    let viewer = viewer.strip_prefix("Authorization: Bearer ").unwrap();
    let form = [&*owner.host, "Content-Type: application/x-www-form-urlencoded"];
    for _ in 0..110 {
        let signed_in = Caller::of(&daemon).call("POST", "/sign-in", &form, &format!("token={viewer}"));
        assert_eq!(signed_in.status, 303);
    }
    assert_eq!(owner.call(&daemon, "GET", "/api/sessions", "").status, 200);
    let kept = sign_ins(&daemon).len();
    assert!(kept < 50, "{kept}");
}

/// All that is kept about browsers that are signed in.
pub(crate) fn sign_ins(daemon: &TestDaemon) -> Vec<String> {
    let database = rusqlite::Connection::open(daemon.state().join("clients.sqlite3")).expect("a database");
    let sql = "SELECT value FROM kept WHERE list = 'sign_ins'";
    let mut statement = database.prepare(sql).expect("it has the table");
    let values = statement.query_map([], |row| row.get(0)).expect("it can be read");
    values.collect::<Result<_, _>>().expect("each is a text")
}
