//! What an agent asks for, at random and by hand.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::session::grant::Rule;
use crate::session::id::SessionId;
use crate::session::message::Message;
use crate::session::samples::{created, said};
use jiff::Timestamp;

const RULES: [&str; 4] = ["Edit", "Bash(ls:*)", "Bash(ls:*),Write", "Write"];
const FILE: &str = "servers.json";
const DIRECTORIES: [&str; 5] = ["/w", "/w/in", "/w-not", "/", "/other"];

fn rights(mode: PermissionMode) -> Rights {
    Rights {
        session: SessionId::new(),
        mode,
        allowed_tools: vec!["Edit".into()],
        disallowed_tools: vec!["WebFetch".into()],
        directories: vec!["/w".into()],
        on_question: OnQuestion::Wait,
        depth: 0,
        left_usd: None,
    }
}

fn request() -> Request {
    Request {
        task: "t".into(),
        cwd: "/w".into(),
        ..Request::default()
    }
}

fn refused(rights: &Rights, change: impl FnOnce(&mut Request)) -> Excess {
    let mut request = request();
    change(&mut request);
    rights.admit(request, None).unwrap_err()
}

fn modes() -> impl Strategy<Value = PermissionMode> {
    proptest::sample::select(PermissionMode::ALL.to_vec())
}

fn some_of(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(proptest::sample::select(texts), 0..3)
        .prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

prop_compose! {
    fn some_rights()(
        mode in modes(), allowed_tools in some_of(&RULES), disallowed_tools in some_of(&RULES),
        directories in some_of(&DIRECTORIES), depth in 0_u32..3, left_usd in proptest::option::of(0.0_f64..2.0),
        allows in any::<bool>(),
    ) -> Rights {
        Rights {
            session: SessionId::new(),
            mode, allowed_tools, disallowed_tools, depth, left_usd,
            directories: directories.into_iter().map(PathBuf::from).collect(),
            on_question: if allows { OnQuestion::Allow } else { OnQuestion::Wait },
        }
    }
}

prop_compose! {
    fn some_request()(
        permission_mode in proptest::option::of(modes()), allowed_tools in some_of(&RULES),
        disallowed_tools in some_of(&RULES), cwd in proptest::sample::select(&DIRECTORIES[..]),
        add_dirs in some_of(&DIRECTORIES), max_budget_usd in proptest::option::of(0.01_f64..3.0),
        mcp_config in some_of(&["{}", FILE]), allows in any::<bool>(), depth in 0_u32..5, trust_project in any::<bool>(),
    ) -> Request {
        Request {
            permission_mode, allowed_tools, disallowed_tools, max_budget_usd, depth, mcp_config, trust_project,
            cwd: cwd.into(),
            add_dirs: add_dirs.into_iter().map(PathBuf::from).collect(),
            on_question: if allows { OnQuestion::Allow } else { OnQuestion::Wait },
            ..request()
        }
    }
}

proptest! {
    #[test]
    fn what_is_admitted_is_never_more_than_the_rights(
        rights in some_rights(), asked in some_request(),
        default_budget_usd in proptest::option::of(0.01_f64..3.0),
    ) {
        let Ok(got) = rights.admit(asked.clone(), default_budget_usd) else { return Ok(()) };
        prop_assert!(got.asked_mode().is_within(rights.mode));
        prop_assert!(got.asked_mode().is_within(asked.asked_mode()), "nothing is widened either");
        prop_assert!(rights.disallowed_tools.iter().all(|rule| got.disallowed_tools.contains(rule)));
        prop_assert!(asked.disallowed_tools.iter().all(|rule| got.disallowed_tools.contains(rule)));
        prop_assert!(got.depth > rights.depth && got.depth >= asked.depth);
        prop_assert_eq!(got.parent, Some(rights.session));
        if let Some(left) = rights.left_usd {
            prop_assert!(got.max_budget_usd.is_some_and(|budget| budget > 0.0 && budget <= left));
        }
        if rights.mode != PermissionMode::BypassPermissions {
            prop_assert!(got.allowed_tools.iter().all(|rule| rights.allowed_tools.contains(rule)));
            let within = |path: &PathBuf| rights.directories.iter().any(|own| path.starts_with(own));
            prop_assert!(within(&got.cwd) && got.add_dirs.iter().all(within));
            prop_assert!(got.mcp_config.iter().all(|config| config != FILE) && !got.trust_project);
            prop_assert!(!rights.has_what_it_brings(), "a person is asked about the others");
            prop_assert!(got.on_question != OnQuestion::Allow || rights.on_question == OnQuestion::Allow);
        }
        // One below it gets no more than it has.
        let below = Rights {
            mode: got.asked_mode(), allowed_tools: got.allowed_tools.clone(), disallowed_tools: got.disallowed_tools.clone(),
            ..rights.clone()
        };
        if let Ok(next) = below.admit(asked, default_budget_usd) {
            prop_assert!(next.asked_mode().is_within(rights.mode));
            prop_assert!(rights.disallowed_tools.iter().all(|rule| next.disallowed_tools.contains(rule)));
        }
    }

    #[test]
    fn what_names_nothing_more_is_admitted(rights in some_rights()) {
        let with_room = Rights { directories: vec!["/w".into()], left_usd: rights.left_usd.map(|left| left + 0.1), ..rights };
        let plain = with_room.admit(request(), None);
        prop_assert!(plain.is_ok(), "{:?}", plain);
    }

    #[test]
    fn live_sessions_together_never_have_more_than_is_left(
        budget in 0.1_f64..5.0, spent in 0.0_f64..2.0, asked in proptest::collection::vec(proptest::option::of(0.01_f64..2.0), 1..6),
    ) {
        let mut promised = 0.0;
        for asked in asked {
            let rights = Rights { left_usd: Some(left(budget, spent, promised)), ..rights(PermissionMode::Default) };
            let asked = Request { max_budget_usd: asked, ..request() };
            if let Ok(got) = rights.admit(asked, None) {
                promised += committed(got.max_budget_usd, 0.0, true);
            }
        }
        prop_assert!(promised <= (budget - spent).max(0.0) + 1e-6);
    }
}

#[test]
fn each_excess_is_told_with_what_to_do() {
    let own = rights(PermissionMode::Default);
    for (excess, told) in [
        (
            refused(&own, |r| r.permission_mode = Some(PermissionMode::AcceptEdits)),
            "acceptEdits is wider than default",
        ),
        (
            refused(&own, |r| r.allowed_tools = vec!["Edit(*)".into()]),
            "leave it out",
        ),
        (refused(&own, |r| r.cwd = "/w/../etc".into()), "work in one of /w"),
        (
            refused(&own, |r| r.add_dirs = vec!["/w-not".into()]),
            "/w-not is outside",
        ),
        (refused(&own, |r| r.on_question = OnQuestion::Allow), "on_question"),
        (
            refused(&own, |r| r.mcp_config = vec!["{}".into(), FILE.into()]),
            "\"servers.json\": give the JSON itself",
        ),
    ] {
        assert!(excess.to_string().contains(told), "{excess}");
    }
    let poor = |left| Rights {
        left_usd: Some(left),
        ..own.clone()
    };
    let told = refused(&poor(0.5), |r| r.max_budget_usd = Some(0.75)).to_string();
    assert!(told.contains("$0.7500") && told.contains("$0.5000"), "{told}");
    assert_eq!(refused(&poor(0.0), |_| {}), Excess::Broke);
}

#[test]
fn what_a_person_is_asked_about_is_not_refused() {
    for mode in PermissionMode::ALL {
        let rights = rights(mode);
        let mut asked = request();
        asked.mcp_config = vec![r#"{"mcpServers": {"s": {"command": "x"}}}"#.into()];
        assert_eq!(rights.admit(asked.clone(), None).unwrap().mcp_config, asked.mcp_config);
        assert_eq!(rights.has_what_it_brings(), mode == PermissionMode::BypassPermissions);
        assert_eq!(rights.has_what_it_brings(), rights.check_trust().is_ok(), "{mode:?}");
    }
}

#[test]
fn without_a_mode_it_is_no_wider_than_that_of_the_asker() {
    for own in PermissionMode::ALL {
        let got = rights(own).admit(request(), None).unwrap();
        assert_eq!(got.asked_mode(), own.narrower(PermissionMode::Default), "{own:?}");
    }
}

#[test]
fn the_rights_are_those_in_force_and_not_those_that_were_asked_for() {
    let mut begun = created("t");
    begun.request.permission_mode = Some(PermissionMode::AcceptEdits);
    begun.request.max_budget_usd = Some(2.0);
    begun.request.allowed_tools = vec!["Bash".into()];
    let mut summary = Summary::new(SessionId::new(), &begun, Timestamp::UNIX_EPOCH);
    let of = |summary: &Summary, committed| Rights::of(&begun.request, summary, &summary.effective, vec![], committed);
    assert_eq!(of(&summary, 0.5).mode, PermissionMode::AcceptEdits);
    let changed = Message::ModeChanged {
        permission_mode: "plan".into(),
    };
    summary.apply(&said(changed), Timestamp::UNIX_EPOCH);
    summary.usage.cost_usd = 0.25;
    let rights = of(&summary, 0.5);
    assert_eq!((rights.mode, rights.left_usd), (PermissionMode::Plan, Some(1.25)));
    assert_eq!(rights.allowed_tools, ["Bash"]);
    summary.lifecycle.clarify = Clarify::Analysing;
    summary.effective = Effective::asked_for(&begun.request);
    let analysing = of(&summary, 0.0);
    assert_eq!(analysing.mode, PermissionMode::Plan, "an analysis only plans");
    assert!(analysing.allowed_tools.is_empty(), "and has no rules");
    summary.usage.cost_usd = 9.0;
    assert_eq!(of(&summary, 0.0).left_usd, Some(0.0), "never less than nothing");
}

#[test]
fn a_session_goes_on_with_what_is_left() {
    let poor = Rights {
        left_usd: Some(0.5),
        ..rights(PermissionMode::Default)
    };
    assert_eq!(poor.renewed(None, 1.0), Ok(Some(1.5)));
    assert_eq!(poor.renewed(Some(1.25), 1.0), Ok(Some(1.25)));
    assert!(matches!(poor.renewed(Some(1.75), 1.0), Err(Excess::Budget { .. })));
    assert_eq!(rights(PermissionMode::Default).renewed(None, 1.0), Ok(None));
}

#[test]
fn a_session_that_was_given_more_does_not_go_on_at_an_agents_word() {
    type Change = fn(&mut Rights);
    let changes: [(Change, bool); 6] = [
        (|_| {}, true),
        (|its| its.mode = PermissionMode::Plan, true),
        (|its| its.allowed_tools.clear(), true),
        (|its| its.mode = PermissionMode::AcceptEdits, false),
        (|its| its.allowed_tools.push("Bash(git push *)".into()), false),
        (|its| its.directories.push("/etc".into()), false),
    ];
    for (place, (change, goes_on)) in changes.into_iter().enumerate() {
        let mut its = rights(PermissionMode::Default);
        change(&mut its);
        let own = rights(PermissionMode::Default);
        assert_eq!(own.check_going_on(&its).is_ok(), goes_on, "{place}");
        assert_eq!(rights(PermissionMode::BypassPermissions).check_going_on(&its), Ok(()));
    }
}

#[test]
fn an_answer_gives_no_more_than_the_answering_session_has() {
    let permission = QuestionKind::Permission {
        tool: "Bash".into(),
        input: json!({}),
        reason: None,
        suggestions: vec![],
    };
    let plan = QuestionKind::Plan {
        plan: None,
        input: json!({}),
    };
    let allow = Answer::allow();
    let deny = Answer::Deny {
        reason: None,
        interrupt: false,
    };
    for mode in [PermissionMode::Plan, PermissionMode::DontAsk] {
        for kind in [&permission, &plan] {
            assert!(rights(mode).check_answer(kind, &allow, &[]).is_err(), "{mode:?}");
            assert_eq!(rights(mode).check_answer(kind, &deny, &[]), Ok(()));
        }
    }
    let mut own = rights(PermissionMode::Default);
    for (allowed, disallowed, is_own) in [
        (&["Edit"][..], &[][..], false),
        (&["Bash(ls:*)"], &[], false),
        (&["Bash"], &["Write,Bash(rm:*)"], false),
        (&["Bash"], &["*"], false),
        (&["Bash"], &["BashOutput"], true),
    ] {
        let owned = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
        (own.allowed_tools, own.disallowed_tools) = (owned(allowed), owned(disallowed));
        let checked = own.check_answer(&permission, &allow, &[]);
        assert_eq!(checked.is_ok(), is_own, "{allowed:?} {disallowed:?}");
    }
    assert_eq!(rights(PermissionMode::Default).check_answer(&plan, &allow, &[]), Ok(()));
    own.allowed_tools = vec!["Bash".into(), "Edit".into()];
    let rule = |tool: &str| Grant::Rules {
        rules: vec![Rule {
            tool: tool.into(),
            content: None,
        }],
    };
    let directory = |path: &str| Grant::Directories {
        directories: vec![path.into()],
    };
    let mode = |mode| Grant::Mode { mode };
    for (grant, is_own) in [
        (rule("Edit"), true),
        (rule("Write"), false),
        (directory("/w/in"), true),
        (directory("/etc"), false),
        (mode(PermissionMode::Plan), true),
        (mode(PermissionMode::AcceptEdits), false),
    ] {
        let checked = own.check_answer(&permission, &allow, std::slice::from_ref(&grant));
        assert_eq!(checked.is_ok(), is_own, "{grant:?}");
        let all = rights(PermissionMode::BypassPermissions);
        assert_eq!(all.check_answer(&permission, &allow, &[grant]), Ok(()));
    }
}

#[test]
fn only_an_agent_that_is_asked_nothing_trusts_a_project() {
    for mode in PermissionMode::ALL {
        let is_unbounded = mode == PermissionMode::BypassPermissions;
        let rights = rights(mode);
        assert_eq!(rights.check_trust().is_ok(), is_unbounded, "{mode:?}");
        if !is_unbounded {
            let told = refused(&rights, |request| request.trust_project = true).to_string();
            assert!(told.contains("--trust-project"), "{told}");
        }
    }
}
