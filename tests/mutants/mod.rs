//! Mutants: builds the crate's own tests under loom, and knows which mutants the source has.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lets cargo build under loom with these arguments; where the tests' executable lies.
pub(crate) fn build_with(args: &[&str], target: &str, set: &[(&str, &str)]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(args.iter().take_while(|arg| **arg != "--"));
    cargo.args(["--message-format", "json", "--target-dir"]).arg(root().join(target));
    cargo.args(args.iter().skip_while(|arg| **arg != "--"));
    cargo.current_dir(root()).env("RUSTFLAGS", "--cfg loom").envs(set.iter().copied());
    let output = cargo.output().expect("cargo runs this test, so it can run another");
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text.split("\"executable\":\"").nth(1).and_then(|rest| rest.split('"').next());
    PathBuf::from(executable.unwrap_or_else(|| panic!("{args:?}: {output:?}")))
}

/// Expects every mutant in the source files of these directories to be on the list.
pub(crate) fn check_listed(dirs: &[&str], markers: &[&str], is_listed: impl Fn(&str) -> bool) {
    for dir in dirs {
        for entry in root().join(dir).read_dir().unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            for found in markers.iter().flat_map(|marker| text.split(marker).skip(1)) {
                let name = found.split('"').next().unwrap();
                assert!(is_listed(name), "{dir}: {name}");
            }
        }
    }
}
