//! What goes over the link: spool bytes in a window, whole lines, signals, leftovers.

use std::fs;

use awc::ws::Message;
use cc_executor::agent_host::protocol::{AgentExit, FromHost, LINE_BYTES_MAX, ToHost, WINDOW_BYTES, files};

use crate::client::Heard;
use crate::place::{Place, runs, wait_for};
use crate::start::ECHO;

fn written(frame: FromHost) -> Option<u64> {
    if let FromHost::Written { id } = frame {
        Some(id)
    } else {
        None
    }
}

fn refused(frame: FromHost) -> Option<(u64, String)> {
    if let FromHost::Refused { id, error } = frame {
        Some((id, error))
    } else {
        None
    }
}

fn trouble(frame: FromHost) -> Option<String> {
    if let FromHost::Trouble { error } = frame {
        Some(error)
    } else {
        None
    }
}

fn not_understood(frame: FromHost) -> Option<(String, Option<u64>)> {
    if let FromHost::NotUnderstood { op, id, .. } = frame {
        Some((op, id))
    } else {
        None
    }
}

fn leftovers(frame: FromHost) -> Option<Vec<String>> {
    if let FromHost::LeftoversEnded { processes } = frame {
        Some(processes)
    } else {
        None
    }
}

pub(crate) fn exited(frame: FromHost) -> Option<(AgentExit, u64, String)> {
    if let FromHost::Exited {
        exit,
        spool_bytes,
        stderr_tail,
    } = frame
    {
        Some((exit, spool_bytes, stderr_tail))
    } else {
        None
    }
}

#[actix_web::test]
async fn a_line_reaches_the_agent_and_its_answer_is_read() {
    let mut place = Place::with_script(ECHO);
    let (mut client, _) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    client.write(7, "hello").await;
    assert_eq!(client.until(written).await, 7);
    client.take_until("got hello\n").await;
    assert_eq!(client.text(), "ready\ngot hello\n");
}

#[actix_web::test]
async fn nothing_is_sent_beyond_the_window_and_a_control_message_is_not_stuck_behind_output() {
    let mut place = Place::with_script("head -c 300000 /dev/zero; read -r line; echo $line");
    let (mut client, _) = place.host().await;
    wait_for("the spool", || place.spool().len() == 300_000);
    for through in [1_000, 70_000, 299_999] {
        if through == 1_000 {
            client.read(0, through).await;
        } else {
            client.widen(through).await;
        }
        while client.at() < through {
            assert_eq!(client.next().await, Heard::Bytes);
        }
        client.say(&ToHost::Nudge).await;
        assert_eq!(
            client.settle().await,
            [],
            "there is more in the spool, and none of it is sent"
        );
    }
    client.write(1, "end").await;
    assert_eq!(client.until(written).await, 1);
    client.widen(400_000).await;
    client.take_until("\0end\n").await;
    assert_eq!(client.taken, place.spool());
}

#[actix_web::test]
async fn a_window_larger_than_what_is_sent_at_once_is_served_to_its_end() {
    let mut place = Place::with_script("head -c 5000000 /dev/zero; echo end");
    let (mut client, _) = place.host().await;
    client.read(0, u64::MAX).await;
    while client.at() < 5_000_004 {
        client.next().await;
    }
    assert_eq!(client.taken, place.spool());
}

#[actix_web::test]
async fn a_read_begins_at_any_offset_and_one_beyond_the_end_is_told() {
    let mut place = Place::with_script(ECHO);
    let (mut client, _) = place.host().await;
    wait_for("the first line", || place.spool() == b"ready\n");
    client.read(3, WINDOW_BYTES).await;
    client.take_until("dy\n").await;
    assert_eq!(client.text(), "dy\n");
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    client.read(1_000, 2_000).await;
    assert!(client.until(trouble).await.contains("ends at 6"));
}

#[actix_web::test]
async fn a_spool_that_was_cut_is_told_of() {
    let mut place = Place::with_script(ECHO);
    let (mut client, _) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    fs::write(place.path(files::SPOOL), "").unwrap();
    let cut = |frame| match frame {
        FromHost::SpoolCut { spool_bytes } => Some(spool_bytes),
        _ => None,
    };
    assert_eq!(client.until(cut).await, 0);
}

#[actix_web::test]
async fn the_longest_line_arrives_whole_and_a_longer_one_not_at_all() {
    let mut place = Place::with_script("head -n 1 | wc -c; head -n 1");
    let (mut client, _) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.write(1, &"\"".repeat(LINE_BYTES_MAX - 1)).await;
    assert_eq!(client.until(written).await, 1);
    client.take_until(&format!("{LINE_BYTES_MAX}\n")).await;
    client.write(2, &"x".repeat(LINE_BYTES_MAX)).await;
    let (id, error) = client.until(refused).await;
    assert!(id == 2 && error.contains("put the text in a file"), "{error}");
    client.write(3, "short").await;
    client.take_until("\nshort\n").await;
}

#[actix_web::test]
async fn lines_that_an_agent_does_not_read_wait_in_order_and_are_refused_at_its_end() {
    let mut place = Place::with_agent(&["/bin/sleep", "1000"]);
    let (mut client, _) = place.host().await;
    for id in 0..300 {
        client.write(id, "unread").await;
    }
    assert_eq!(client.until(written).await, 0);
    assert_eq!(
        client.until(refused).await.0,
        257,
        "one stands in the pipe and 256 wait"
    );
    client.say(&ToHost::Signal { signal: 15 }).await;
    let mut next = 1;
    let exit = client
        .until(|frame| match frame {
            FromHost::Refused { id: 258.., .. } => None,
            FromHost::Refused { id, .. } => {
                assert_eq!(id, next);
                next += 1;
                None
            }
            other => exited(other),
        })
        .await;
    assert_eq!((next, exit.0), (257, AgentExit::Signal { signal: 15 }));
    client.write(999, "too late").await;
    assert_eq!(client.until(refused).await.0, 999);
    client.say(&ToHost::Signal { signal: 15 }).await;
    assert!(client.until(trouble).await.contains("has ended"));
}

#[actix_web::test]
async fn a_signal_that_nobody_knows_and_a_release_too_early_are_told() {
    let mut place = Place::with_script(ECHO);
    let (mut client, hello) = place.host().await;
    client.say(&ToHost::Signal { signal: 99 }).await;
    assert!(client.until(trouble).await.contains("99"));
    client.say(&ToHost::Release).await;
    assert!(client.until(trouble).await.contains("its agent lives"));
    client.send(Message::Text("dance".into())).await;
    assert!(client.until(trouble).await.contains("does not understand"));
    assert!(runs(hello.agent.unwrap().pid));
}

#[actix_web::test]
async fn an_order_of_a_newer_daemon_is_refused_by_its_name_and_id() {
    let mut place = Place::with_script(ECHO);
    let (mut client, hello) = place.host().await;
    for (order, refused) in [
        (r#"{"op":"dance"}"#, ("dance", None)),
        (r#"{"op":"dance","id":7,"how":{"fast":true}}"#, ("dance", Some(7))),
        (r#"{"op":"write","id":8,"lines":["two","at once"]}"#, ("write", Some(8))),
    ] {
        client.send(Message::Text(order.into())).await;
        assert_eq!(client.until(not_understood).await, (refused.0.to_owned(), refused.1));
    }
    client.write(9, "hello").await;
    assert_eq!(client.until(written).await, 9, "the link goes on");
    assert!(runs(hello.agent.unwrap().pid));
}

#[actix_web::test]
async fn an_end_comes_with_the_whole_spool_and_the_end_of_stderr() {
    let mut place = Place::with_script("head -c 9000 /dev/zero | tr '\\0' e >&2; echo last >&2; echo out; exit 5");
    let (mut client, _) = place.host().await;
    let (exit, spool_bytes, stderr) = client.until(exited).await;
    assert_eq!((exit, spool_bytes), (AgentExit::Code { code: 5 }, 4));
    assert!(stderr.len() == 8 * 1024 && stderr.ends_with("elast\n"));
    client.read(0, WINDOW_BYTES).await;
    client.take_until("out\n").await;
}

#[actix_web::test]
async fn leftovers_are_found_in_sessions_of_their_own_and_ended_even_if_they_will_not() {
    let stubborn = "trap '' TERM; echo armed > armed; while :; do sleep 1000; done";
    let script = format!(
        "setsid sleep 1001 </dev/null >/dev/null 2>&1 & setsid sh -c \"{stubborn}\" </dev/null >/dev/null 2>&1 & \
         while [ ! -e armed ]; do sleep 0.01; done; exit 0"
    );
    let mut place = Place::with_script(&script);
    let (mut client, _) = place.host().await;
    client.until(exited).await;
    assert!(place.marked().len() >= 2);
    client.say(&ToHost::EndLeftovers).await;
    let ended = client.until(leftovers).await;
    assert!(ended.iter().any(|line| line.ends_with(" sleep 1001")), "{ended:?}");
    assert!(ended.iter().any(|line| line.contains("trap")), "{ended:?}");
    assert!(place.marked().is_empty());
    client.say(&ToHost::EndLeftovers).await;
    assert_eq!(client.until(leftovers).await, [""; 0], "each is told once");
}

#[actix_web::test]
async fn a_living_agent_is_no_leftover() {
    let script = "sleep 1002 </dev/null >/dev/null & echo ready; read -r line; echo $line";
    let mut place = Place::with_script(script);
    let (mut client, hello) = place.host().await;
    wait_for("its child", || place.marked().len() == 2);
    client.say(&ToHost::EndLeftovers).await;
    assert_eq!(client.until(leftovers).await.len(), 1);
    assert_eq!(place.marked(), [hello.agent.unwrap().pid]);
}

#[actix_web::test]
async fn a_newer_connection_takes_over_and_the_older_is_closed() {
    let mut place = Place::with_script(ECHO);
    let (mut older, _) = place.host().await;
    let (mut newer, _) = place.connect().await;
    while older.next().await != Heard::Closed {}
    newer.read(0, WINDOW_BYTES).await;
    newer.write(1, "newer").await;
    newer.take_until("got newer\n").await;
}

#[actix_web::test]
async fn a_socket_that_was_removed_is_bound_anew_once_nobody_is_connected() {
    let mut place = Place::with_script(ECHO);
    let (client, hello) = place.host().await;
    std::fs::remove_file(&place.plan.socket).unwrap();
    drop(client);
    let (mut client, after) = place.connect().await;
    assert_eq!((after.agent, after.adopted), (hello.agent, false), "the same host");
    client.settle().await;
}

#[actix_web::test]
async fn a_released_host_is_gone_with_its_socket_and_its_files_stay() {
    let mut place = Place::with_script("echo out");
    let (mut client, _) = place.host().await;
    client.until(exited).await;
    client.say(&ToHost::Release).await;
    assert_eq!(place.host_exit(), Some(0));
    assert!(!place.plan.socket.exists());
    assert_eq!(place.spool(), b"out\n");
    assert_eq!(place.stored::<AgentExit>(files::EXIT), AgentExit::Code { code: 0 });
}
