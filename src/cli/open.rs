//! `open`: the page in a browser, signed in by a link that can be used once.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::args::OpenArgs;
use super::client::read;
use super::exit::{Exit, Failure};
use super::launch::find_or_start;
use super::screen::{eprint, print};
use super::sessions::print_object;
use crate::disk::write_private;

/// What stands for the address in `$BROWSER`.
const PLACE: &str = "%s";

/// A link of the daemon.
#[derive(Deserialize)]
struct SignInLink {
    url: String,
}

/// `open`
pub(crate) async fn open(state_dir: &Path, args: &OpenArgs) -> Result<Exit, Failure> {
    let client = find_or_start(state_dir).await?;
    let raw: Box<RawValue> = client
        .post("/api/sign-in-links", &json!({"session_id": args.id}))
        .await?;
    let SignInLink { url } = read(&raw)?;
    if args.json {
        print_object(&raw)?;
    } else {
        print(&format!("{url}\n"))?;
    }
    if !args.print {
        show(&state_dir.join("access").join("open.html"), &url);
    }
    Ok(Exit::Ok)
}

/// Everybody on this machine can see what a browser was started with, so it is given a file of ours that leads on.
fn show(file: &Path, url: &str) {
    let Some(argv) = browser(|name| std::env::var(name).ok().filter(|value| !value.is_empty()), file) else {
        eprint("there is no display here: open the link in a browser of this machine, once, within minutes");
        return;
    };
    let shown = write_private(file, leading_to(url).as_bytes()).and_then(|()| start(&argv));
    if let Err(error) = shown {
        eprint(&format!("cannot start a browser ({error}): open the link yourself"));
    }
}

/// What starts a browser: `$BROWSER`, or what the desktop has set for pages; none where nobody would see it.
fn browser(variable: impl Fn(&str) -> Option<String>, file: &Path) -> Option<Vec<String>> {
    let file = file.display().to_string();
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| variable(name).is_some());
    let wanted = variable("BROWSER");
    let line = wanted.as_deref().and_then(|list| list.split(':').next());
    let mut argv: Vec<String> = match line {
        Some(line) => line.split_whitespace().map(str::to_owned).collect(),
        None => has_display.then(|| vec!["xdg-open".to_owned()])?,
    };
    match argv.iter_mut().find(|word| word.contains(PLACE)) {
        Some(word) => *word = word.replace(PLACE, &file),
        None => argv.push(file),
    }
    Some(argv)
}

/// It goes on when we have ended, also by Ctrl-C.
fn start(argv: &[String]) -> io::Result<()> {
    let [program, arguments @ ..] = argv else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().map(drop)
}

fn leading_to(url: &str) -> String {
    let plain: String = url.chars().filter(|c| !"\"'<>&".contains(*c)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>cc-executor</title>\n\
         <meta http-equiv=\"refresh\" content=\"0;url={plain}\">\n<p><a href=\"{plain}\">Go on to cc-executor</a></p></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        browser(variable, Path::new("/f")).map(|argv| argv.join(" "))
    }

    #[test]
    fn the_browser_is_the_users_own() {
        assert_eq!(
            argv(&[("BROWSER", "firefox"), ("DISPLAY", ":0")]).unwrap(),
            "firefox /f"
        );
        assert_eq!(
            argv(&[("BROWSER", "chromium --app=%s:w3m")]).unwrap(),
            "chromium --app=/f"
        );
        assert_eq!(argv(&[("WAYLAND_DISPLAY", "wayland-0")]).unwrap(), "xdg-open /f");
        assert_eq!(argv(&[]), None);
    }

    #[test]
    fn the_file_leads_on() {
        let page = leading_to("http://127.0.0.1:8005/sign-in?code=ab\"><script>");
        assert!(
            page.contains("0;url=http://127.0.0.1:8005/sign-in?code=abscript\""),
            "{page}"
        );
    }
}
