//! Tests of the door over the application as it ships: roles, cookies, links, and what is kept of it all.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderMap, SET_COOKIE};
use actix_web::test::{self, TestRequest};
use actix_web::web::{self, Data, ServiceConfig};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::runtime::Handle;
use crate::web::tests::{TOKEN, all_routes, clients, settings, token};
use crate::web::{Faces, Streams, app, mcp, routes};
use actix_web::http::Method;

mod browsers;
mod leases;

/// The application with files of its own.
struct Site {
    faces: Faces,
    dir: tempfile::TempDir,
}

/// The answer to a call.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    fn outcome(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        (self.status, code)
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The cookie that it sets, as a browser sends it back.
    fn cookie(&self) -> String {
        let set = self.headers.get(SET_COOKIE).expect("a cookie").to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }
}

impl Site {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(dir: tempfile::TempDir) -> Self {
        Self::with(dir, |_| {})
    }

    /// The same with other settings.
    fn with(dir: tempfile::TempDir, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(&dir, 8005);
        set(&mut settings);
        let address = ([127, 0, 0, 1], 8005).into();
        let access = Access::open(
            &token(&dir),
            address,
            &dir.path().join("access"),
            clients(&dir),
            &settings,
        )
        .unwrap();
        let stopping = watch::channel(false).1;
        let handle = Handle::stopped();
        let mcp = mcp::start(
            dir.path(),
            handle.clone(),
            access.audit().clone(),
            &settings,
            stopping.clone(),
        );
        let faces = Faces::new(
            &settings,
            handle,
            access,
            Arc::new(|| Ok(())),
            Streams::new(9, stopping),
            mcp.unwrap(),
        );
        Self { faces, dir }
    }

    /// The same files under another daemon.
    fn restarted(self) -> Self {
        let Self { faces, dir } = self;
        drop(faces);
        Self::of(dir)
    }

    async fn call(&self, method: &Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, path, headers, None).await
    }

    async fn send(&self, method: &Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let has = |name: &str| headers.iter().any(|(given, _)| *given == name);
        let host = match has("Cookie") || path.starts_with("/sign-in") {
            true => self.host(),
            false => "127.0.0.1:8005".to_owned(),
        };
        let request = TestRequest::with_uri(path).method(method.clone());
        let request = match has("Host") {
            true => request,
            false => request.insert_header(("Host", host)),
        };
        let request = headers
            .iter()
            .fold(request, |request, header| request.append_header(*header));
        let request = match body {
            Some(body) => request.set_json(body),
            None => request,
        };
        let app = test::init_service(app(&self.faces, routes)).await;
        let response: ServiceResponse<_> = test::call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
        Answer { status, headers, text }
    }

    async fn by_owner(&self, method: &Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        self.send(method, path, &[("Authorization", &bearer)], body).await
    }

    /// Makes a named token and answers its header.
    async fn token(&self, name: &str, role: &str) -> String {
        let body = json!({"name": name, "role": role});
        let made = self.by_owner(&Method::POST, "/api/tokens", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        format!("Bearer {}", made.json()["token"].as_str().unwrap())
    }

    /// Signs a browser in by a link of the owner's.
    async fn browser(&self) -> String {
        let path = self.link().await;
        let entered = self.call(&Method::GET, &path, &[]).await;
        assert_eq!((entered.status, entered.header("location")), (303, "/"));
        entered.cookie()
    }

    /// A fresh link, as a path.
    async fn link(&self) -> String {
        let made = self.by_owner(&Method::POST, "/api/sign-in-links", None).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let url = made.json()["url"].as_str().unwrap().to_owned();
        url.strip_prefix(&self.faces.access.0.site.url("")).unwrap().to_owned()
    }

    /// What a browser sends as `Host` to the page's own place.
    fn host(&self) -> String {
        let url = self.faces.access.0.site.url("");
        url.split_once("://").unwrap().1.to_owned()
    }

    /// What the page of a browser with this cookie has in its head.
    fn csrf(&self, cookie: &str) -> String {
        self.faces.access.csrf_token(cookie.split_once('=').unwrap().1)
    }

    async fn audit(&self) -> Vec<Value> {
        let page = self.by_owner(&Method::GET, "/api/audit?limit=500", None).await;
        page.json()["entries"].as_array().expect("entries").clone()
    }
}

fn filled(path: &str) -> String {
    path.replace("{id}", "0123abcd")
        .replace("{question}", "q1")
        .replace("{name}", "nobody")
}

/// Who may call a route, told once more beside the rule: readers everywhere but at these.
fn least(method: &Method, path: &str) -> Role {
    let is_about_all = [
        "/api/tokens",
        "/api/tokens/{name}",
        "/api/audit",
        "/api/gc",
        "/api/sign-in-links",
    ];
    match path {
        _ if is_about_all.contains(&path) => Role::Admin,
        "/mcp" => Role::Operator,
        "/sign-out" => Role::Viewer,
        _ if [Method::GET, Method::HEAD].contains(method) => Role::Viewer,
        _ => Role::Operator,
    }
}

#[actix_web::test]
async fn every_route_is_for_those_whose_role_it_needs() {
    let site = Site::new();
    let mut tokens = Vec::new();
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        tokens.push((role, site.token(role.name(), role.name()).await));
    }
    for (path, methods, _) in all_routes() {
        for method in methods.iter().filter(|_| !is_public(path)) {
            for (role, token) in &tokens {
                let answer = site.call(method, &filled(path), &[("Authorization", token)]).await;
                let is_refused = answer.outcome() == (403, "forbidden_role".into());
                assert_eq!(is_refused, *role < least(method, path), "{method} {path} {role:?}");
                assert!(
                    is_refused || ![401, 403].contains(&answer.status),
                    "{method} {path} {role:?}"
                );
            }
        }
    }
}

#[actix_web::test]
async fn another_spelling_of_a_path_needs_the_same_role() {
    let site = Site::new();
    let viewer = site.token("v", "viewer").await;
    for path in ["/api/%74okens", "/api/audi%74", "/%61pi/tokens", "/api/%61udit?limit=1"] {
        let answer = site.call(&Method::GET, path, &[("Authorization", &viewer)]).await;
        assert_eq!(answer.outcome(), (403, "forbidden_role".into()), "{path}");
    }
    for path in [
        "/assets/%2e%2e/api/tokens",
        "/assets/../api/tokens",
        "/sign-in/../api/tokens",
        "/sign%2din",
    ] {
        let answer = site.call(&Method::GET, path, &[]).await;
        assert_eq!(answer.outcome(), (401, "unauthorized".into()), "{path}");
    }
}

#[actix_web::test]
async fn a_browser_signs_in_by_a_link_once() {
    let site = Site::new();
    let link = site.link().await;
    let entered = site.call(&Method::GET, &link, &[]).await;
    let set = entered.header("set-cookie");
    for part in [
        "cc_executor_8005=",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        "Max-Age=2592000",
    ] {
        assert!(set.contains(part), "{part}: {set}");
    }
    let cookie = entered.cookie();
    let seen = site.call(&Method::GET, "/api/tokens", &[("Cookie", &cookie)]).await;
    assert_eq!(seen.status, 200, "it may do what the link's maker may");
    let again = site.call(&Method::GET, &link, &[]).await;
    assert_eq!(again.status, 401);
    assert!(again.text.contains("used already") && again.header("set-cookie").is_empty());
    let code = link.split_once('=').unwrap().1;
    for entry in site.audit().await {
        assert!(!entry.to_string().contains(code), "{entry}");
    }
}

#[actix_web::test]
async fn a_browser_that_another_page_led_here_is_led_on_by_ours() {
    let site = Site::new();
    let led = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    let entered = site.call(&Method::GET, &site.link().await, &led).await;
    assert_eq!(entered.status, 200);
    assert!(entered.text.contains("0;url=/") && !entered.cookie().is_empty());
    let made = json!({"session_id": "00000000-0000-7000-8000-000000000000"});
    let unknown = site.by_owner(&Method::POST, "/api/sign-in-links", Some(made)).await;
    assert!(unknown.status >= 400, "a link leads to a session that there is");
}

#[actix_web::test]
async fn a_browser_signs_in_with_a_token_and_ends_with_it() {
    let site = Site::new();
    let bearer = site.token("v", "viewer").await;
    let form = |token: &str| format!("token={token}");
    let signing_in = |body: String| {
        let request = TestRequest::post()
            .uri("/sign-in")
            .insert_header(("Host", site.host()))
            .insert_header(("Origin", format!("http://{}", site.host())))
            .insert_header(("Content-Type", "application/x-www-form-urlencoded"));
        request.set_payload(body).to_request()
    };
    let app = test::init_service(app(&site.faces, routes)).await;
    let wrong = test::call_service(&app, signing_in(form("<script>"))).await;
    assert_eq!(wrong.status(), 401);
    let told = String::from_utf8(test::read_body(wrong).await.to_vec()).unwrap();
    assert!(told.contains("no token of this daemon") && !told.contains("<script>"));
    let token = bearer.strip_prefix("Bearer ").unwrap();
    let entered = test::call_service(&app, signing_in(form(token))).await;
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers().get(SET_COOKIE).unwrap().to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let as_browser = [("Cookie", cookie)];
    assert_eq!(site.call(&Method::GET, "/api/sessions", &as_browser).await.status, 200);
    let admins = site.call(&Method::GET, "/api/audit", &as_browser).await;
    assert_eq!(admins.outcome(), (403, "forbidden_role".into()));
    site.by_owner(&Method::DELETE, "/api/tokens/v", None).await;
    assert_eq!(site.call(&Method::GET, "/api/sessions", &as_browser).await.status, 401);
}

#[actix_web::test]
async fn a_change_by_cookie_needs_what_only_the_page_knows() {
    let site = Site::new();
    let cookie = site.browser().await;
    let other = site.browser().await;
    let (own, others) = (site.csrf(&cookie), site.csrf(&other));
    let sign_out = |csrf: Option<String>| {
        let (site, cookie) = (&site, cookie.clone());
        async move {
            let mut headers = vec![("Cookie", cookie.as_str())];
            headers.extend(csrf.as_deref().map(|csrf| ("X-CSRF-Token", csrf)));
            site.call(&Method::POST, "/sign-out", &headers).await
        }
    };
    for wrong in [None, Some(String::new()), Some(others), Some(format!("{own}0"))] {
        assert_eq!(sign_out(wrong).await.outcome(), (403, "csrf".into()));
    }
    let read = site.call(&Method::GET, "/api/tokens", &[("Cookie", &cookie)]).await;
    assert_eq!(read.status, 200, "reading needs none");
    let gone = sign_out(Some(own.clone())).await;
    assert_eq!(gone.status, 204);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(sign_out(Some(own)).await.status, 401, "it is signed out");
    let stays = site.call(&Method::GET, "/api/tokens", &[("Cookie", &other)]).await;
    assert_eq!(stays.status, 200, "the other browser is not");
}

#[actix_web::test]
async fn who_is_not_signed_in_is_shown_how() {
    let site = Site::new();
    for path in ["/", "/history", "/new", "/execution/0123abcd"] {
        let shown = site.call(&Method::GET, path, &[]).await;
        assert_eq!(shown.status, 401, "{path}");
        assert!(shown.text.contains("cc-executor open"), "{path}: {}", shown.text);
        assert!(shown.header("location").is_empty() && !shown.text.contains(&site.host()));
        assert!(
            !shown.text.contains("<form"),
            "nobody is to type a token where it opens nothing"
        );
        let there = site.call(&Method::GET, path, &[("Host", &site.host())]).await;
        assert!(
            there.status == 401 && there.text.contains("sign in with a token"),
            "{path}"
        );
        assert!(shown.header("content-security-policy").contains("default-src 'none'"));
        assert!(!shown.text.contains("<script") && !shown.text.contains("style="));
    }
    for path in ["/execution/0123abcd/stream", "/api/sessions", "/nowhere"] {
        assert_eq!(
            site.call(&Method::GET, path, &[]).await.outcome().1,
            "unauthorized",
            "{path}"
        );
    }
    let browser = [("Accept", "text/html,*/*;q=0.8")];
    assert!(
        site.call(&Method::GET, "/nowhere", &browser)
            .await
            .text
            .starts_with("<!DOCTYPE html>")
    );
}

#[actix_web::test]
async fn what_changes_something_is_kept_with_who_did_it_and_nothing_secret() {
    let site = Site::new();
    let (viewer, operator) = (
        site.token("eyes", "viewer").await,
        site.token("hands", "operator").await,
    );
    let before = site.audit().await.len();
    let cancel = "/api/sessions/0123abcd/cancel?x=hush";
    let task = json!({"task": "hush", "cwd": "/"});
    site.call(&Method::GET, "/api/sessions", &[("Authorization", &operator)])
        .await;
    site.call(&Method::POST, cancel, &[]).await;
    site.call(&Method::POST, cancel, &[("Authorization", &viewer)]).await;
    site.send(
        &Method::POST,
        "/api/sessions",
        &[("Authorization", &operator)],
        Some(task),
    )
    .await;
    let cookie = site.browser().await;
    let headers = [("Cookie", cookie.as_str()), ("X-CSRF-Token", &site.csrf(&cookie))];
    site.call(&Method::POST, cancel, &headers).await;
    let kept = site.audit().await;
    let shown: Vec<String> = kept[..kept.len() - before]
        .iter()
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            let fields = ["name", "role", "face", "method", "route", "outcome"].map(text);
            format!("{} {}", fields.join(" "), entry["status"])
        })
        .collect();
    assert_eq!(
        shown,
        [
            "owner admin page POST /api/sessions/{id}/cancel refused 404",
            "owner admin page GET /sign-in done 303",
            "owner admin api POST /api/sign-in-links done 201",
            "hands operator api POST /api/sessions failed 503",
            "eyes viewer api POST /api/sessions/{id}/cancel refused 403",
            "(nobody) - api POST /api/sessions/{id}/cancel refused 401",
        ],
        "the newest first; nothing of reading"
    );
    let file = std::fs::read_to_string(site.dir.path().join("access/audit.jsonl")).unwrap();
    for secret in ["hush", TOKEN, cookie.split_once('=').unwrap().1] {
        assert!(!file.contains(secret), "{file}");
    }
}

#[actix_web::test]
async fn tokens_are_shown_once_listed_and_revoked() {
    let site = Site::new();
    let token = site.token("ci", "operator").await;
    let secret = token.strip_prefix("Bearer ").unwrap();
    let listed = site.by_owner(&Method::GET, "/api/tokens", None).await;
    assert!(!listed.text.contains(secret), "{}", listed.text);
    let first = &listed.json()["tokens"][0];
    assert_eq!((&first["name"], &first["role"]), (&json!("ci"), &json!("operator")));
    let refused = [
        (json!({"name": "ci", "role": "viewer"}), (409, "token_exists")),
        (json!({"name": "owner", "role": "viewer"}), (409, "token_exists")),
        (json!({"name": "a\r\nX: y", "role": "viewer"}), (400, "bad_body")),
        (json!({"name": "x", "role": "root"}), (400, "bad_body")),
        (json!({"name": "x", "role": "viewer", "expires": 1}), (400, "bad_body")),
        (
            json!({"name": "x", "role": "viewer", "expires_in_seconds": 0}),
            (400, "bad_body"),
        ),
        (
            json!({"name": "x", "role": "viewer", "expires_in_seconds": u64::MAX}),
            (400, "bad_body"),
        ),
    ];
    for (body, (status, code)) in refused {
        let answer = site.by_owner(&Method::POST, "/api/tokens", Some(body.clone())).await;
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{body}");
    }
    let revoking = || site.by_owner(&Method::DELETE, "/api/tokens/ci", None);
    assert_eq!(revoking().await.status, 204);
    assert_eq!(revoking().await.outcome(), (404, "no_such_token".into()));
    let with = site
        .call(&Method::GET, "/api/sessions", &[("Authorization", &token)])
        .await;
    assert_eq!(with.status, 401);
}
