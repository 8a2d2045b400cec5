//! The README's table of promises: made of the names of the tests that hold them, `event__promise`.

const BEGIN: &str = "<!-- promises: begin, made from the names in tests/daemon/promises.rs -->";
const END: &str = "<!-- promises: end -->";

/// The table for the tests in this source.
pub(crate) fn table(source: &str) -> String {
    let names = source
        .lines()
        .filter_map(|line| line.strip_prefix("fn ")?.split_once('('))
        .map(|(name, _)| name);
    let mut events: Vec<(&str, Vec<String>)> = Vec::new();
    for (event, promise) in names.filter_map(|name| name.split_once("__")) {
        let promise = promise.replace('_', " ");
        match events.iter_mut().find(|(known, _)| *known == event) {
            Some((_, promises)) => promises.push(promise),
            None => events.push((event, vec![promise])),
        }
    }
    let mut table = "| when | then |\n|---|---|\n".to_owned();
    for (event, promises) in events {
        table += &format!("| {} | {} |\n", event.replace('_', " "), promises.join("; "));
    }
    table
}

/// What the README has to say differently.
pub(crate) fn complaint(readme: &str, source: &str) -> Option<String> {
    let expected = format!("{BEGIN}\n{}{END}", table(source));
    (!readme.contains(&expected))
        .then(|| format!("the README's promises are not those of the tests; they are:\n{expected}"))
}

#[test]
fn a_promise_without_its_test_is_complained_about() {
    let source = "fn helper() {\nfn it_dies__it_comes_back() {\nfn it_dies__nothing_is_lost() {\n";
    assert_eq!(
        table(source),
        "| when | then |\n|---|---|\n| it dies | it comes back; nothing is lost |\n"
    );
    let readme = format!("# x\n{BEGIN}\n{}{END}\n", table(source));
    assert_eq!(complaint(&readme, source), None);
    assert!(complaint(&readme, "fn it_dies__it_comes_back() {\n").is_some());
}
