//! Who gets to see the page, and how he leaves it.

use std::io::{BufRead, BufReader, Write};

use serde_json::json;

use crate::browser::Script;
use crate::support::daemon::TestDaemon;

#[test]
fn a_link_signs_in_once_and_who_signs_out_is_out() {
    let daemon = TestDaemon::start();
    let id = daemon.create("silence");
    daemon.wait_for(&id, "running");
    Script::run(&daemon, "sign-in", &json!({"token": daemon.token(), "session": id}));
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

/// Another server of this machine that the browser visits, and who has all that comes there.
fn other_server() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// The cookies that the browser sends to the other server, under each name that it has.
fn cookies(script: &mut Script, listener: &std::net::TcpListener, names: &[&str]) -> Vec<String> {
    let mut cookies = Vec::new();
    for name in names {
        script.reaches(&format!("visiting {name}"));
        script.go(&json!({}));
        cookies.push(visited(listener));
    }
    cookies
}

/// Answers one visit, and what cookies it brings. Other requests, as for an icon, may come before it.
fn visited(listener: &std::net::TcpListener) -> String {
    loop {
        let (mut connection, _) = listener.accept().expect("a visitor");
        let mut head = String::new();
        let mut reader = BufReader::new(connection.try_clone().expect("a connection"));
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("a line") > 0 {}
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        let _ = connection.write_all(answer.as_bytes());
        if head.starts_with("GET /visited ") {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let cookie = lines.find(|(name, _)| name.eq_ignore_ascii_case("cookie"));
            return cookie.map(|(_, value)| value.to_owned()).unwrap_or_default();
        }
    }
}

#[test]
fn no_other_server_of_this_machine_gets_the_pages_cookie() {
    let daemon = TestDaemon::start();
    let (listener, port) = other_server();
    let mut script = Script::start(&daemon, "neighbour", &json!({"port": port}));
    let got = cookies(&mut script, &listener, &["127.0.0.1", "localhost"]);
    assert_eq!(got, ["", ""]);
    script.finish();
}

#[test]
fn where_the_name_is_shared_the_page_changes_things_and_who_has_its_cookie_does_not() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SERVER__PAGE_HOST", "localhost")]);
    let (listener, port) = other_server();
    let given = json!({"port": port, "shared": true, "token": daemon.token(), "cwd": daemon.work()});
    let mut script = Script::start(&daemon, "neighbour", &given);
    let got = cookies(&mut script, &listener, &["127.0.0.1", "localhost"]);
    assert!(got[0].is_empty() && got[1].starts_with("cc_executor_"), "{got:?}");
    let base = daemon.base_url().expect("an address");
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let thief: ureq::Agent = config.build().into();
    let host = format!("localhost:{}", base.rsplit(':').next().expect("a port"));
    let page = thief
        .get(format!("{base}/"))
        .header("Host", &host)
        .header("Cookie", &got[1]);
    let page = page.call().expect("a page").body_mut().read_to_string().expect("text");
    let csrf = page.split_once("name=\"csrf-token\" content=\"").expect("a token").1;
    let csrf = csrf.split('"').next().expect("its text");
    let stealing = thief
        .post(format!("{base}/api/tokens"))
        .header("Host", &host)
        .header("Cookie", &got[1]);
    let stealing = stealing
        .header("X-CSRF-Token", csrf)
        .header("Content-Type", "application/json");
    let answer = stealing
        .send(r#"{"name": "stolen", "role": "admin"}"#)
        .expect("an answer");
    assert_eq!(answer.status(), 403);
    assert_eq!(daemon.get("/api/tokens").1["tokens"], json!([]));
    script.finish();
    let (_, listed) = daemon.get("/api/sessions");
    let id = listed["sessions"][0]["session_id"]
        .as_str()
        .expect("what the page has started");
    daemon.wait_for(id, "completed");
}

#[test]
fn script_and_html_of_an_agent_are_inert() {
    let daemon = TestDaemon::start();
    let attack = "<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)></svg>\
        <a href=javascript:alert(4)>click</a> [click](javascript:alert(5)) **bold**";
    let name = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    let ended = daemon.create_with(json!({
        "name": name,
        "task": format!(
            "say {attack}\nthink {attack}\ntool Read {} => {attack}\ntool {} {{}} => x\nstderr {attack}\nmax-turns",
            json!({"file_path": attack}),
            "<b>Tool</b>",
        ),
    }));
    daemon.wait_for(&ended, "failed");
    let asking = daemon.create_with(json!({
        "name": name,
        "task": format!("question {attack} | {attack} | no"),
    }));
    let allowing = daemon.create_with(json!({"task": format!("ask-permission true '{attack}'")}));
    daemon.question(&asking);
    daemon.question(&allowing);
    Script::run(
        &daemon,
        "inert",
        &json!({"ended": ended, "asking": asking, "allowing": allowing, "attack": attack, "name": name}),
    );
    for id in [asking, allowing] {
        daemon.cancel(&id);
        daemon.wait_for(&id, "cancelled");
    }
}
