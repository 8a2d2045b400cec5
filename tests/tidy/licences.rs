//! Under which licences a dependency may stand.

use std::path::Path;

use cargo_metadata::MetadataCommand;
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

/// Complaints about the packages that are built for the platform that runs the daemon.
pub(super) fn complaints(manifest: &Path) -> Vec<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from))
        .exec()
        .expect("cargo tells the dependencies");
    assert!(metadata.packages.len() > 1, "the program has dependencies");
    let complaint = |package: &cargo_metadata::Package| {
        let why = why_not_free(package.license.as_deref())?;
        Some(format!("{} {}: {why}", package.name, package.version))
    };
    metadata.packages.iter().filter_map(complaint).collect()
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
    use super::why_not_free;

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
}
