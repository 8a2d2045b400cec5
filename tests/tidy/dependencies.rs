//! What a dependency must be: under a free licence, of a version that is asked for, and in one
//! version unless others leave no choice.

use std::collections::BTreeMap;
use std::path::Path;

use cargo_metadata::semver::VersionReq;
use cargo_metadata::{Metadata, MetadataCommand, Package};
use spdx::{Expression, LicenseReq, ParseMode};

/// Licences that let the program be used, changed and passed on without opening the user's own code.
const FREE: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that are built in two versions, since the packages that need them do not agree.
const DOUBLE: [&str; 8] = [
    "base64",
    "fancy-regex",
    "getrandom",
    "http",
    "rand",
    "rand_core",
    "similar",
    "syn",
];

/// Complaints about the packages that are built for the platform that runs the daemon.
pub(super) fn complaints(manifest: &Path) -> Vec<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from))
        .exec()
        .expect("cargo tells the dependencies");
    assert!(metadata.packages.len() > 1, "the program has dependencies");
    let each = metadata.packages.iter().flat_map(|package| {
        let why = [
            why_not_free(package.license.as_deref()),
            why_not_pinned(package, &metadata),
        ];
        let complaint = |why| format!("{} {}: {why}", package.name, package.version);
        why.into_iter().flatten().map(complaint)
    });
    let names = metadata.packages.iter().map(|package| package.name.as_str());
    each.chain(not_as_listed(names, &DOUBLE)).collect()
}

/// Where this repository's own package would take any version, or a folder that nobody else has.
fn why_not_pinned(package: &Package, metadata: &Metadata) -> Option<String> {
    if !metadata.workspace_members.contains(&package.id) {
        return package.source.is_none().then(|| "comes from a folder".to_owned());
    }
    let any = package
        .dependencies
        .iter()
        .find(|wanted| wanted.req == VersionReq::STAR);
    any.map(|wanted| format!("asks for any version of {}", wanted.name))
}

/// The packages that come more than once though the list does not name them, and those on the list that do not.
fn not_as_listed<'a>(names: impl Iterator<Item = &'a str>, listed: &[&str]) -> Vec<String> {
    let mut counts: BTreeMap<&str, u32> = listed.iter().map(|name| (*name, 0)).collect();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let complaint = |(name, count): (&str, u32)| match (count, listed.contains(&name)) {
        (2.., false) => Some(format!("{name}: comes in {count} versions")),
        (0 | 1, true) => Some(format!("{name}: comes in one version by now, or not at all")),
        _ => None,
    };
    counts.into_iter().filter_map(complaint).collect()
}

fn why_not_free(licence: Option<&str>) -> Option<String> {
    let Some(licence) = licence else {
        return Some("names no licence".to_owned());
    };
    // Older packages write `MIT/Apache-2.0`, which the lax mode reads.
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) if expression.evaluate(is_free) => None,
        Ok(_) => Some(format!("`{licence}` is not free enough")),
        Err(error) => Some(format!("`{licence}` cannot be read: {error}")),
    }
}

fn is_free(licence: &LicenseReq) -> bool {
    licence.license.id().is_some_and(|id| FREE.contains(&id.name))
}

#[cfg(test)]
mod tests {
    use super::{not_as_listed, why_not_free};

    #[test]
    fn a_missing_an_unreadable_and_an_unfree_licence_are_found() {
        let unfree = [
            None,
            Some("Do As I Say"),
            Some("GPL-3.0-only"),
            Some("MIT AND AGPL-3.0-or-later"),
        ];
        assert!(unfree.iter().all(|licence| why_not_free(*licence).is_some()));
    }

    #[test]
    fn a_free_choice_is_enough() {
        let free = [
            "MIT/Apache-2.0",
            "GPL-2.0-only OR MIT",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT OR ISC) AND Zlib",
        ];
        assert!(free.iter().all(|licence| why_not_free(Some(licence)).is_none()));
    }

    #[test]
    fn a_second_version_is_found_and_so_is_a_list_that_is_out_of_date() {
        let found = not_as_listed(["a", "b", "b", "c", "c"].into_iter(), &["a", "b"]);
        assert_eq!(
            found,
            [
                "a: comes in one version by now, or not at all",
                "c: comes in 2 versions"
            ]
        );
    }
}
