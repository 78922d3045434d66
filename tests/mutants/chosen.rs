//! Chosen: mutants of which `LANE_MUTANT` chooses one when a model runs, so that one build serves all.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::mutants::{build_with, check_listed};

/// Builds all models once, with every mutant to be chosen, where `.ci/run` builds them too.
fn build() -> PathBuf {
    build_with(&["test", "--release", "--lib", "--no-run"], "target/loom", &[])
}

/// Runs the one model of this name with a mutant, or unbroken with `""`.
fn run(executable: &Path, model: &str, mutant: &str) -> Output {
    let mut command = Command::new(executable);
    command.args([model, "--nocapture"]).env("LANE_MUTANT", mutant).env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("running 1 test"), "{model}: {output:?}");
    output
}

/// Expects each model to hold unbroken, and to fail with each of its mutants.
pub(crate) fn kill_all(models: &[(&str, &[&str])]) {
    let executable = build();
    let mut survivors = Vec::new();
    for (model, mutants) in models {
        let unbroken = run(&executable, model, "");
        assert!(unbroken.status.success(), "{model} fails unbroken: {unbroken:?}");
        let text = String::from_utf8_lossy(&unbroken.stdout).into_owned();
        let count = text
            .split_once(&format!("{model}: "))
            .and_then(|(_, rest)| rest.split_once(" executions"));
        eprint!(
            "{model}: {}",
            count.map_or(String::new(), |(count, _)| format!("{count} executions,"))
        );
        for mutant in *mutants {
            // A deadlock found in a destructor aborts, so a line that says FAILED may be missing.
            let killed = !run(&executable, model, mutant).status.success();
            eprint!(" {mutant} {}", if killed { "killed" } else { "SURVIVED" });
            if !killed {
                survivors.push((*mutant, *model));
            }
        }
        eprintln!();
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}

/// Expects every mutant in the source files of these directories to be one of these models'.
pub(crate) fn check(dirs: &[&str], models: &[(&str, &[&str])]) {
    let is_listed = |name: &str| models.iter().any(|(_, mutants)| mutants.contains(&name));
    check_listed(dirs, &["weaken!(\"", "mutant(\""], is_listed);
}
