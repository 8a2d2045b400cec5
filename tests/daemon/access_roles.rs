//! What each role may do, how a browser signs in and goes on after a restart, and what is kept of it, over the real
//! listener.

use serde_json::{Value, json};

use crate::access::{Answer, Caller, is_public, routes};
use crate::support::daemon::TestDaemon;

/// The header of a new token.
pub(crate) fn token(daemon: &TestDaemon, name: &str, role: &str) -> String {
    let (status, made) = daemon.post("/api/tokens", &json!({"name": name, "role": role}));
    assert_eq!(status, 201, "{made}");
    format!("Authorization: Bearer {}", made["token"].as_str().expect("a token"))
}

/// A link that signs in: the header that names the page's place, and the path.
pub(crate) fn link(daemon: &TestDaemon, body: &Value) -> (String, String) {
    let (status, made) = daemon.post("/api/sign-in-links", body);
    assert_eq!(status, 201, "{made}");
    let url = made["url"].as_str().expect("a link");
    let (host, path) = url
        .split_once("://")
        .expect("a scheme")
        .1
        .split_once('/')
        .expect("a path");
    (format!("Host: {host}"), format!("/{path}"))
}

/// A browser that is signed in.
pub(crate) struct Browser {
    /// The header that names the page's place.
    pub(crate) host: String,
    /// The header with which the browser sends its cookie back.
    pub(crate) cookie: String,
    /// The header with which the page sends its CSRF token.
    pub(crate) csrf: String,
    /// The header with which the page sends the secret of its storage; empty where it has none.
    pub(crate) secret: String,
}

impl Browser {
    /// Signs a browser in by a link of the machine's own token.
    pub(crate) fn sign_in(daemon: &TestDaemon) -> Self {
        let (host, path) = link(daemon, &Value::Null);
        let entered = Caller::of(daemon).call("GET", &path, &[&host], "");
        assert!([200, 303].contains(&entered.status), "{}", entered.head);
        let set = entered.header("set-cookie").expect("a cookie");
        let cookie = format!("Cookie: {}", set.split(';').next().expect("its value"));
        let secret = between(&entered.body, "name=\"page-secret\" content=\"");
        let page = Caller::of(daemon).call("GET", "/", &[&host, &cookie], "");
        let csrf = between(&page.body, "name=\"csrf-token\" content=\"").expect("a token of the page");
        Self {
            host,
            cookie,
            csrf: format!("X-CSRF-Token: {csrf}"),
            secret: secret
                .map(|secret| format!("X-Page-Secret: {secret}"))
                .unwrap_or_default(),
        }
    }

    /// Calls as its page does.
    pub(crate) fn call(&self, daemon: &TestDaemon, method: &str, path: &str, body: &str) -> Answer {
        let all = [
            &*self.host,
            &self.cookie,
            &self.csrf,
            &self.secret,
            "Content-Type: application/json",
        ];
        let headers: Vec<&str> = all.into_iter().filter(|header| !header.is_empty()).collect();
        Caller::of(daemon).call(method, path, &headers, body)
    }
}

/// The text of a page from behind `begin` to the next quotation mark.
fn between<'a>(page: &'a Value, begin: &str) -> Option<&'a str> {
    page.as_str()?.split_once(begin)?.1.split('"').next()
}

#[test]
fn every_route_is_for_those_whose_role_it_needs() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let tokens = ["viewer", "operator", "admin"].map(|role| token(&daemon, role, role));
    for (path, methods) in routes() {
        for method in methods.into_iter().filter(|_| !is_public(&path)) {
            // The first of the roles that may, told here by what a route does and not by the rule.
            let first = match (method, path.as_str()) {
                (_, path)
                    if ["/api/tokens", "/api/audit", "/api/gc", "/api/sign-in-links"]
                        .iter()
                        .any(|p| path.starts_with(p)) =>
                {
                    2
                }
                (_, "/sign-out") => 0,
                (_, "/mcp") => 1,
                ("GET" | "HEAD", _) => 0,
                _ => 1,
            };
            for (rank, token) in tokens.iter().enumerate() {
                let answer = caller.head_of(method, &path, &[token]);
                let is_refused = answer.status == 403;
                assert_eq!(is_refused, rank < first, "{method} {path} {rank}: {}", answer.head);
                assert_ne!(answer.status, 401, "{method} {path}");
            }
        }
    }
}

#[test]
fn a_page_goes_on_after_the_daemon_was_killed() {
    let mut daemon = TestDaemon::start();
    let port = daemon
        .base_url()
        .and_then(|url| url.rsplit(':').next().map(str::to_owned));
    let browser = Browser::sign_in(&daemon);
    daemon.kill();
    // A page finds its daemon where it was.
    daemon.set("CC_EXECUTOR__SERVER__PORT", &port.expect("a port"));
    daemon.launch();
    let caller = Caller::of(&daemon);
    let (host, cookie) = (&*browser.host, &*browser.cookie);
    assert_eq!(caller.call("GET", "/api/sessions", &[host, cookie], "").status, 200);
    assert_eq!(caller.call("POST", "/sign-out", &[host, cookie], "").problem(), "csrf");
    let value = cookie.split_once('=').unwrap().1;
    let kept = crate::access_page::sign_ins(&daemon);
    assert!(
        kept.len() == 1 && !kept[0].contains(value),
        "a copy of the database signs nobody in"
    );
    assert_eq!(
        browser.call(&daemon, "POST", "/sign-out", "").status,
        204,
        "its page goes on"
    );
}

#[test]
fn a_link_leads_to_its_session_once() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    let short = &id[id.len() - 8..];
    let (host, path) = link(&daemon, &json!({"session_id": short}));
    let caller = Caller::of(&daemon);
    let entered = caller.call("GET", &path, &[&host], "");
    assert_eq!(entered.header("location"), Some(format!("/execution/{id}").as_str()));
    let again = caller.call("GET", &path, &[&host], "");
    assert_eq!((again.status, again.header("set-cookie")), (401, None));
    for wrong in ["/sign-in?code=", "/sign-in?code=x%0d%0aSet-Cookie:%20a=b", "/sign-in"] {
        let answer = caller.call("GET", wrong, &[&host], "");
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{wrong}");
    }
    let (status, _) = daemon.post("/api/sign-in-links", &json!({"session_id": "//evil.example"}));
    assert_eq!(status, 404, "a link leads nowhere else");
}

#[test]
fn a_token_that_is_revoked_or_has_expired_opens_nothing() {
    let mut daemon = TestDaemon::start();
    let ci = token(&daemon, "ci", "operator");
    let brief = json!({"name": "brief", "role": "viewer", "expires_in_seconds": 1});
    let (status, made) = daemon.post("/api/tokens", &brief);
    assert_eq!(status, 201);
    let brief = format!("Authorization: Bearer {}", made["token"].as_str().unwrap());
    let status =
        |daemon: &TestDaemon, token: &str| Caller::of(daemon).call("GET", "/api/sessions", &[token], "").status;
    crate::support::wait::until("the token to expire", || (status(&daemon, &brief) == 401).then_some(()));
    assert_eq!(status(&daemon, &ci), 200);
    daemon.kill();
    daemon.launch();
    assert_eq!(status(&daemon, &ci), 200, "it outlives the daemon");
    let owner = format!("Authorization: Bearer {}", daemon.token());
    assert_eq!(
        Caller::of(&daemon)
            .call("DELETE", "/api/tokens/ci", &[&owner], "")
            .status,
        204
    );
    assert_eq!(status(&daemon, &ci), 401);
    let (_, listed) = daemon.get("/api/tokens");
    assert_eq!(listed["tokens"][0]["name"], "brief");
    assert_eq!(listed["tokens"][0]["has_expired"], true);
}

#[test]
fn what_was_changed_by_a_name_is_kept_with_the_session_that_had_it() {
    let daemon = TestDaemon::start();
    let request = json!({"task": "ask-permission true", "name": "a/b 100%", "cwd": daemon.work()});
    let (_, created) = daemon.post("/api/sessions", &request);
    let id = created["session_id"].as_str().unwrap();
    daemon.wait_for(id, "awaiting_input");
    let answer = json!({"action": "allow"});
    let (status, _) = daemon.post("/api/sessions/a%2Fb%20100%25/questions/q1/answer", &answer);
    assert_eq!(status, 200);
    let (_, page) = daemon.get("/api/audit?limit=1");
    let entry = &page["entries"][0];
    assert_eq!((&entry["status"], &entry["session_id"]), (&json!(200), &json!(id)));
    daemon.wait_for(id, "completed");
}

#[test]
fn who_changed_what_is_kept_over_restarts_and_paged() {
    let mut daemon = TestDaemon::start();
    let ci = token(&daemon, "ci", "operator");
    let id = daemon.create("silence");
    daemon.wait_for(&id, "running");
    let short = &id[id.len() - 8..];
    let cancel = format!("/api/sessions/{short}/cancel");
    // 202 where the agent's end is still to come.
    let status = Caller::of(&daemon).call("POST", &cancel, &[&ci], "").status;
    assert!([200, 202].contains(&status), "{status}");
    daemon.wait_for(&id, "cancelled");
    daemon.kill();
    daemon.launch();
    daemon.post("/api/sessions", &json!({}));
    let (_, page) = daemon.get("/api/audit?limit=2");
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(
        (&entries[0]["name"], &entries[0]["status"]),
        (&json!("owner"), &json!(400))
    );
    let kept = json!({"n": 3, "at": entries[1]["at"], "name": "ci", "role": "operator", "face": "api", "method": "POST",
        "route": "/api/sessions/{id}/cancel", "session_id": id, "outcome": "done", "status": status});
    assert_eq!(entries[1], kept);
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = daemon.get(&format!("/api/audit?limit=500&cursor={cursor}"));
    let created = &rest["entries"][0];
    assert_eq!(
        (&created["route"], &created["session_id"]),
        (&json!("/api/sessions"), &json!(id))
    );
    assert_eq!(
        (rest["entries"].as_array().unwrap().len(), &rest["next_cursor"]),
        (2, &Value::Null)
    );
    let file = std::fs::read_to_string(daemon.state().join("access/audit.jsonl")).unwrap();
    assert!(!file.contains("silence") && !file.contains(&daemon.token()), "{file}");
}
