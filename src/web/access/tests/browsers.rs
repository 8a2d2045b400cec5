//! Where a cookie counts, and what a browser needs beside it to change something.

use sha2::{Digest, Sha256};

use super::*;
use crate::config::PageHost;

/// A site whose page has no name of its own.
fn at_localhost() -> Site {
    let localhost = |settings: &mut Settings| settings.server.page_host = PageHost::Localhost;
    Site::with(tempfile::tempdir().unwrap(), localhost)
}

/// Signs a browser in where the page has no name of its own; answers its cookie and its secret.
async fn browser_with_secret(site: &Site) -> (String, String) {
    let entered = site.call(&Method::GET, &site.link().await, &[]).await;
    assert_eq!(entered.status, 200, "a page that keeps the secret, not a redirect");
    assert!(entered.text.contains("/assets/entered.js") && !entered.text.contains("http-equiv"));
    let secret = entered.text.split_once("name=\"page-secret\" content=\"").unwrap().1;
    (entered.cookie(), secret.split('"').next().unwrap().to_owned())
}

/// Signs a browser in with a token that somebody types.
async fn typed(site: &Site, token: &str) -> String {
    let app = test::init_service(app(&site.faces, routes)).await;
    let request = TestRequest::post()
        .uri("/sign-in")
        .insert_header(("Host", site.host()))
        .set_form([("token", token)])
        .to_request();
    let answer = test::call_service(&app, request).await;
    let cookie = answer.headers().get(SET_COOKIE).expect("a cookie").to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

#[actix_web::test]
async fn a_cookie_counts_under_the_pages_own_name_alone() {
    let site = Site::new();
    let cookie = site.browser().await;
    let at = |host: String| {
        let (site, cookie) = (&site, cookie.clone());
        async move {
            let headers = [("Host", host.as_str()), ("Cookie", &cookie)];
            site.call(&Method::GET, "/api/sessions", &headers).await.status
        }
    };
    assert_eq!(at(site.host()).await, 200);
    for host in ["127.0.0.1:8005", "localhost:8005", "[::1]:8005"] {
        assert_eq!(at(host.to_owned()).await, 401, "{host}");
    }
    for host in [format!("x.{}", site.host()), site.host().replace("8005", "8006")] {
        assert_eq!(at(host.clone()).await, 403, "{host}");
    }
    let link = site.link().await;
    for path in ["/", "/sign-in", &link] {
        let shown = site.call(&Method::GET, path, &[("Host", "127.0.0.1:8005")]).await;
        assert_eq!(
            (shown.status, shown.header("location"), shown.header("set-cookie")),
            (401, "", ""),
            "{path}"
        );
        assert!(
            shown.text.contains("cc-executor open") && !shown.text.contains(".localhost"),
            "{}",
            shown.text
        );
    }
    let entered = site.call(&Method::GET, &link, &[]).await;
    assert_eq!(entered.status, 303, "the link was not used up elsewhere");
}

#[actix_web::test]
async fn who_knows_the_cookie_alone_cannot_make_up_the_csrf_token() {
    let site = Site::new();
    let cookie = site.browser().await;
    let value = cookie.split_once('=').unwrap().1;
    let digest = Sha256::digest(format!("csrf:{value}"));
    let guessed: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = [("Cookie", cookie.as_str()), ("X-CSRF-Token", &guessed)];
    let made = site.send(
        &Method::POST,
        "/api/tokens",
        &headers,
        Some(json!({"name": "x", "role": "admin"})),
    );
    assert_eq!(made.await.outcome(), (403, "csrf".into()));
    let before = site.csrf(&cookie);
    assert_eq!(site.restarted().csrf(&cookie), before, "a page goes on after a restart");
}

#[actix_web::test]
async fn tokens_change_only_after_a_fresh_link() {
    let site = Site::new();
    let (linked, typed) = (site.browser().await, typed(&site, TOKEN).await);
    let lasting = [
        (
            Method::POST,
            "/api/tokens",
            Some(json!({"name": "x", "role": "viewer"})),
            201,
        ),
        (Method::POST, "/api/sign-in-links", None, 201),
        (Method::DELETE, "/api/tokens/x", None, 204),
    ];
    for (method, path, body, done) in lasting {
        for (cookie, expected) in [(&typed, 403), (&linked, done)] {
            let csrf = site.csrf(cookie);
            let headers = [("Cookie", cookie.as_str()), ("X-CSRF-Token", &csrf)];
            let answer = site.send(&method, path, &headers, body.clone()).await;
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text);
            let is_told = answer.json()["code"] == "stale_sign_in" && answer.text.contains("cc-executor open");
            assert_eq!(is_told, expected == 403, "{}", answer.text);
        }
    }
    let csrf = site.csrf(&typed);
    let headers = [("Cookie", typed.as_str()), ("X-CSRF-Token", &csrf)];
    let other = site
        .call(&Method::POST, "/api/sessions/0123abcd/cancel", &headers)
        .await;
    assert_eq!(other.status, 404, "all else it may");
}

#[actix_web::test]
async fn a_link_is_fresh_for_minutes_only() {
    let stale = |settings: &mut Settings| settings.access.fresh_sign_in_minutes = 0;
    let site = Site::with(tempfile::tempdir().unwrap(), stale);
    let cookie = site.browser().await;
    let csrf = site.csrf(&cookie);
    let headers = [("Cookie", cookie.as_str()), ("X-CSRF-Token", &csrf)];
    let answer = site.call(&Method::POST, "/api/sign-in-links", &headers).await;
    assert_eq!(
        answer.outcome(),
        (403, "stale_sign_in".into()),
        "it makes itself no fresh link"
    );
}

#[actix_web::test]
async fn where_the_name_is_not_the_pages_own_each_change_needs_the_secret_of_its_storage() {
    let site = at_localhost();
    let (cookie, secret) = browser_with_secret(&site).await;
    let (_, others) = browser_with_secret(&site).await;
    let csrf = site.csrf(&cookie);
    let with = |secret: Option<String>, path: &'static str| {
        let (site, cookie, csrf) = (&site, &cookie, &csrf);
        async move {
            let mut headers = vec![("Cookie", cookie.as_str()), ("X-CSRF-Token", csrf)];
            headers.extend(secret.as_deref().map(|secret| ("X-Page-Secret", secret)));
            site.call(&Method::POST, path, &headers).await.outcome()
        }
    };
    for path in ["/api/sessions/0123abcd/cancel", "/api/sign-in-links", "/sign-out"] {
        for wrong in [None, Some(String::new()), Some(others.clone()), Some(csrf.clone())] {
            assert_eq!(with(wrong, path).await, (403, "page_secret".into()), "{path}");
        }
    }
    assert_eq!(with(Some(secret.clone()), "/api/sessions/0123abcd/cancel").await.0, 404);
    assert_eq!(with(Some(secret.clone()), "/api/sign-in-links").await.0, 201);
    assert_eq!(with(Some(secret), "/sign-out").await.0, 204);
}

#[actix_web::test]
async fn behind_a_proxy_the_page_is_at_its_public_address() {
    let public = |settings: &mut Settings| settings.server.public_url = "https://agents.example".into();
    let site = Site::with(tempfile::tempdir().unwrap(), public);
    assert_eq!(site.host(), "agents.example");
    let entered = site.call(&Method::GET, &site.link().await, &[]).await;
    assert!(
        entered.header("set-cookie").contains("; Secure"),
        "{}",
        entered.header("set-cookie")
    );
    let cookie = entered.cookie();
    let read = |host: &'static str, origin: &'static str| {
        let (site, cookie) = (&site, &cookie);
        async move {
            let headers = [("Host", host), ("Cookie", cookie), ("Origin", origin)];
            site.call(&Method::GET, "/api/sessions", &headers).await.status
        }
    };
    assert_eq!(read("agents.example", "https://agents.example").await, 200);
    assert_eq!(read("agents.example", "http://agents.example").await, 403);
    assert_eq!(read("127.0.0.1:8005", "http://127.0.0.1:8005").await, 401);
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Host", "agents.example"), ("Authorization", bearer.as_str())];
    assert_eq!(site.call(&Method::GET, "/api/sessions", &headers).await.status, 200);
}

#[actix_web::test]
async fn sign_ins_of_the_version_before_open_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("access")).unwrap();
    let hash = |text: &str| String::from(Fingerprint::of(text));
    let before =
        json!([{"cookie_sha256": hash("old"), "token_sha256": hash(TOKEN), "expires_at": "2999-01-01T00:00:00Z"}]);
    std::fs::write(dir.path().join("access/sign_ins.json"), before.to_string()).unwrap();
    let localhost = |settings: &mut Settings| settings.server.page_host = PageHost::Localhost;
    let site = Site::with(dir, localhost);
    let headers = [("Cookie", "cc_executor_8005=old")];
    assert_eq!(site.call(&Method::GET, "/api/sessions", &headers).await.status, 401);
    browser_with_secret(&site).await;
}

#[actix_web::test]
async fn failed_sign_ins_and_wrong_tokens_are_counted_with_why() {
    let site = Site::new();
    for _ in 0..20 {
        site.call(&Method::GET, "/sign-in?code=wrong", &[]).await;
        site.call(&Method::GET, "/api/sessions", &[("Authorization", "Bearer wrong")])
            .await;
        site.call(&Method::GET, "/api/sessions", &[]).await;
        site.call(&Method::GET, "/", &[("Host", "evil.example")]).await;
        site.call(&Method::POST, "/mcp", &[]).await;
    }
    let told = |entries: Vec<Value>| -> Vec<(String, u64)> {
        let strangers = entries.into_iter().filter(|entry| entry["name"] == "(nobody)");
        strangers
            .map(|entry| {
                assert!(entry["role"].is_null() && entry["outcome"] == "refused", "{entry}");
                (
                    entry["reason"].as_str().unwrap().to_owned(),
                    entry["count"].as_u64().unwrap_or(1),
                )
            })
            .collect()
    };
    let first = [
        "unauthorized",
        "foreign_host",
        "unauthorized",
        "wrong_token",
        "wrong_link",
    ];
    let first: Vec<_> = first.iter().map(|reason| ((*reason).to_owned(), 1)).collect();
    assert_eq!(
        told(site.audit().await),
        first,
        "the first of each kind at once, MCP apart"
    );
    site.faces.access.audit().close();
    let all = told(site.audit().await);
    assert_eq!(all.len(), 10);
    assert!(all[..5].iter().all(|(_, count)| *count == 19), "{all:?}");
}

#[actix_web::test]
async fn a_page_and_tokens_go_on_after_a_restart() {
    let site = Site::new();
    let (cookie, viewer, link) = (site.browser().await, site.token("v", "viewer").await, site.link().await);
    let site = site.restarted();
    assert_eq!(
        site.call(&Method::GET, "/api/tokens", &[("Cookie", &cookie)])
            .await
            .status,
        200
    );
    let as_viewer = site
        .call(&Method::GET, "/api/tokens", &[("Authorization", &viewer)])
        .await;
    assert_eq!(as_viewer.status, 403);
    assert_eq!(site.call(&Method::GET, &link, &[]).await.status, 401, "a link does not");
}

#[actix_web::test]
async fn a_cookie_of_the_same_name_from_elsewhere_does_not_sign_out() {
    let site = Site::new();
    let cookie = site.browser().await;
    let both = format!("cc_executor_8005=junk; {cookie}; cc_executor_8006=x");
    assert_eq!(
        site.call(&Method::GET, "/api/tokens", &[("Cookie", &both)])
            .await
            .status,
        200
    );
    let wrong_port = cookie.replace("8005", "8006");
    assert_eq!(
        site.call(&Method::GET, "/api/tokens", &[("Cookie", &wrong_port)])
            .await
            .status,
        401
    );
    let headers = [("Cookie", cookie.as_str()), ("Authorization", "Bearer wrong")];
    assert_eq!(
        site.call(&Method::GET, "/api/tokens", &headers).await.status,
        401,
        "a token decides"
    );
}
