//! What the audit log keeps, however often somebody knocks, and that nobody changes it unseen.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::access::Caller;
use crate::access_roles::{link, token};
use crate::support::daemon::TestDaemon;

fn log(daemon: &TestDaemon) -> PathBuf {
    daemon.state().join("access/audit.jsonl")
}

/// What the doctor says of the log, and whether all is well with it.
fn examined(daemon: &TestDaemon) -> (bool, String) {
    let output = daemon.command(&["doctor", "--json"]).output().expect("it runs");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("findings");
    let found = findings.iter().find(|finding| finding["check"] == "audit log");
    let found = found.expect("it looks at the log");
    (found["ok"] == true, found["detail"].as_str().expect("words").to_owned())
}

fn entries(daemon: &TestDaemon) -> Vec<Value> {
    let (_, page) = daemon.get("/api/audit?limit=500");
    page["entries"].as_array().expect("entries").clone()
}

#[test]
fn whoever_knocks_a_thousand_times_is_a_few_lines() {
    let mut daemon = TestDaemon::start();
    let viewer = token(&daemon, "eyes", "viewer");
    let host = link(&daemon, &Value::Null).0;
    let before = entries(&daemon).len();
    let caller = Caller::of(&daemon);
    for n in 0..100 {
        caller.call("GET", &format!("/nowhere/{n}"), &["Authorization: Bearer wrong"], "");
        caller.call(&format!("MADE-UP-{n}"), "/api/sessions", &[], "");
        caller.call("POST", "/api/sessions/0123abcd/cancel", &[&viewer], "");
        caller.call("DELETE", &format!("/api/sessions/{n}"), &[&viewer], "");
        caller.call("GET", "/sign-in?code=wrong", &[&host], "");
        caller.call("GET", "/", &["Host: evil.example"], "");
    }
    assert_eq!(entries(&daemon).len() - before, 5, "the first of each kind");
    assert_eq!(daemon.terminate(), Some(0));
    daemon.launch();
    let found = entries(&daemon);
    let counted: Vec<_> = found.iter().filter(|entry| entry["count"].is_u64()).collect();
    let mut told: Vec<String> = counted
        .iter()
        .map(|entry| {
            let name = entry["name"].as_str().unwrap();
            format!("{name} {} {}", entry["reason"].as_str().unwrap(), entry["count"])
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "(nobody) foreign_host 99",
            "(nobody) unauthorized 99",
            "(nobody) wrong_link 99",
            "(nobody) wrong_token 99",
            "eyes forbidden_role 199"
        ]
    );
    assert!(!fs::read_to_string(log(&daemon)).unwrap().contains("MADE-UP"));
    assert!(examined(&daemon).0);
}

#[test]
fn the_log_holds_together_over_kills_and_a_change_of_it_is_found() {
    let mut daemon = TestDaemon::start_with(&[("CC_EXECUTOR__ACCESS__AUDIT_BYTES_MAX", "4000")]);
    for round in 0..3 {
        for n in 0..10 {
            let name = format!("t{round}-{n}");
            daemon.post("/api/tokens", &json!({"name": name, "role": "viewer"}));
        }
        let (is_well, told) = examined(&daemon);
        assert!(is_well && told.contains("sealed lines"), "{told}");
        daemon.kill();
        daemon.launch();
    }
    let (_, page) = daemon.get("/api/doctor");
    let mut findings = page["findings"].as_array().unwrap().iter();
    let found = findings.find(|finding| finding["check"] == "audit log").unwrap();
    assert_eq!(found["ok"], true, "{page}");

    assert_eq!(daemon.terminate(), Some(0));
    let whole = fs::read_to_string(log(&daemon)).unwrap();
    let last = whole.trim_end().rfind('\n').map_or(0, |at| at + 1);
    let shorter = whole[..last].to_owned();
    for changed in [whole.replacen("\"owner\"", "\"other\"", 1), shorter, String::new()] {
        fs::write(log(&daemon), changed).unwrap();
        let (is_well, told) = examined(&daemon);
        assert!(!is_well && told.contains("audit"), "{told}");
    }
    daemon.launch();
    daemon.post("/api/tokens", &json!({"name": "later", "role": "viewer"}));
    assert!(!examined(&daemon).0, "a daemon that goes on does not heal it");
}

#[test]
fn the_access_files_of_before_go_on_and_its_browsers_do_not() {
    let mut daemon = TestDaemon::start();
    let ci = token(&daemon, "ci", "operator");
    assert_eq!(daemon.terminate(), Some(0));
    // What the version before had, as it wrote it.
    let access = daemon.state().join("access");
    for new in ["key", "audit.head", "page_name", "audit.jsonl"] {
        fs::remove_file(access.join(new)).unwrap();
    }
    let line = |n: u32| {
        json!({"n": n, "at": "2026-01-01T00:00:00.000Z", "name": "owner", "role": "admin", "face": "api", "method": "POST",
            "route": "/api/tokens", "session_id": null, "outcome": "done", "status": 201})
    };
    fs::write(access.join("audit.jsonl"), format!("{}\n{}\n", line(1), line(2))).unwrap();
    let cookie = "0".repeat(64);
    let print = |secret: &str| -> String {
        let digest = Sha256::digest(secret);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let sign_in = json!([{"cookie_sha256": print(&cookie), "token_sha256": print(&daemon.token()),
        "expires_at": "2999-01-01T00:00:00Z"}]);
    fs::write(access.join("sign_ins.json"), sign_in.to_string()).unwrap();
    fs::set_permissions(access.join("sign_ins.json"), fs::Permissions::from_mode(0o600)).unwrap();
    daemon.launch();

    let caller = Caller::of(&daemon);
    assert_eq!(
        caller.call("GET", "/api/sessions", &[&ci], "").status,
        200,
        "tokens go on"
    );
    let port = caller.address.rsplit(':').next().unwrap();
    let cookie = format!("Cookie: cc_executor_{port}={cookie}");
    let host = link(&daemon, &Value::Null).0;
    assert_eq!(caller.call("GET", "/api/sessions", &[&cookie, &host], "").status, 401);
    let old = caller.call("GET", "/", &[&cookie], "");
    assert_eq!((old.status, old.header("location")), (401, None));
    assert!(old.body.as_str().unwrap().contains("cc-executor open"));
    let numbers: Vec<_> = entries(&daemon).iter().map(|entry| entry["n"].clone()).collect();
    assert_eq!(numbers[numbers.len() - 2..], [json!(2), json!(1)]);
    assert_eq!(
        numbers.len() as u64,
        numbers[0].as_u64().unwrap(),
        "its lines are gone on from"
    );
    let (is_well, told) = examined(&daemon);
    assert!(is_well && told.contains("after 2 of an older version"), "{told}");
}
