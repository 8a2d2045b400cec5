//! What a fuzzer and the property tests feed this module with: texts that nobody vouches for, and what must hold of any.

use super::clean::{clean, name, one_line};
use crate::session::visible::{self, is_hidden};

/// Text that is shown in a terminal: nothing in it acts on the terminal, and what is approved can be read back.
pub fn terminal(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let is_safe = |shown: &str| !shown.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    assert!(is_safe(&clean(&text)), "prose holds no controls");
    assert!(
        is_safe(&visible::output(&text)),
        "what a program printed holds no controls"
    );
    assert!(!name(&text).contains(is_hidden), "a name holds nothing hidden");
    assert!(one_line(&text, 80).lines().count() <= 1, "a line is one line");
    assert_eq!(visible::read(&visible::text(&text)), text, "a text can be read back");
    assert_eq!(visible::read(&visible::line(&text)), text, "a line can be read back");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::{agent, web};
    use proptest::prelude::*;

    /// The name of a fuzzer's file, and what it feeds.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 7] = [
        ("body", web::fuzz::body),
        ("cursor", web::fuzz::cursor),
        ("headers", web::fuzz::headers),
        ("link", agent::fuzz::link),
        ("markdown", web::fuzz::markdown),
        ("terminal", terminal),
        ("wire", agent::fuzz::wire),
    ];

    /// Fuzzers begin with these files. An input in which a fuzzer has found a fault is put beside them.
    #[test]
    fn each_fuzzer_has_inputs_to_begin_with_and_takes_them_all() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soak/fuzz");
        let files = |folder: &str| {
            let found = fs::read_dir(fuzz.join(folder)).expect("a folder");
            let mut files: Vec<_> = found.map(|entry| entry.expect("an entry").path()).collect();
            files.sort();
            files
        };
        let names: Vec<_> = files("targets")
            .iter()
            .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
            .collect();
        assert_eq!(names, TARGETS.map(|(name, _)| name));
        for (name, take) in TARGETS {
            let seeds = files(&format!("seeds/{name}"));
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                eprintln!("{}", seed.display());
                take(&fs::read(&seed).expect("a file"));
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_acts_on_a_terminal(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in "(\u{1b}|\\[|\\]|[a-m0-9;]|\u{7}|\n|\r|\\\\|\u{e9}|\u{27e8}|\u{27e9}|U\\+1B|\u{202e}|\u{200b}|\u{ad}){0,60}",
        ) {
            terminal(&bytes);
            terminal(text.as_bytes());
        }
    }
}
