//! What shells and manuals are told of the command line: all of it.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Verbs whose names have to stand in every script and in the manual.
const VERBS: [&str; 8] =
    ["archive", "completions", "doctor", "man", "prune", "record", "spill", "verify"];

fn ttlog(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_shell_is_told_of_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = ttlog(&["completions", shell]);
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        for word in VERBS.into_iter().chain(["follow", "exit-status"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let wrong = ttlog(&["completions", "tcsh"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("possible values: bash"));
}

#[test]
fn bash_completes_verbs_and_options() {
    let script = ttlog(&["completions", "bash"]).stdout;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut bash = bash.spawn().unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(&script).unwrap();
    // What readline does when the tabulator is pressed behind the last word.
    for words in ["ttlog ver", "ttlog spill repl", "ttlog gaps --si"] {
        let last = words.rsplit(' ').next().unwrap();
        let place = words.split(' ').count() - 1;
        writeln!(
            stdin,
            "COMP_WORDS=({words}); COMP_CWORD={place}; COMPREPLY=(); \
             _ttlog ttlog {last} ''; echo \"${{COMPREPLY[@]}}\""
        )
        .unwrap();
    }
    drop(stdin);
    let output = bash.wait_with_output().unwrap();
    let replies = String::from_utf8(output.stdout).unwrap();
    assert_eq!(replies.lines().collect::<Vec<_>>(), ["verify", "replay", "--since"]);
}

#[test]
fn the_manual_has_a_page_for_each_verb() {
    let page = String::from_utf8(ttlog(&["man"]).stdout).unwrap();
    assert!(page.contains(".TH ttlog 1") && page.contains("a process that was killed"), "{page}");
    for verb in VERBS {
        assert!(page.contains(&format!("ttlog\\-{verb}(1)")), "{verb} is not in the page");
    }

    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let output = ttlog(&["man", pages.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    for verb in VERBS {
        let page = std::fs::read_to_string(pages.join(format!("ttlog-{verb}.1"))).unwrap();
        assert!(page.contains(&format!("ttlog\\-{verb}")), "{page}");
    }

    let file = dir.path().join("a file");
    std::fs::write(&file, "kept").unwrap();
    let output = ttlog(&["man", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("a file") && told.contains("name a directory"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

/// Every verb, and every verb of a verb.
const PAGES: [&str; 29] = [
    "",
    "archive",
    "cat",
    "completions",
    "ctl",
    "ctl dump",
    "ctl flush",
    "ctl level",
    "ctl rotate",
    "ctl stats",
    "doctor",
    "du",
    "dump",
    "filter",
    "filter explain",
    "gaps",
    "info",
    "man",
    "prune",
    "ps",
    "record",
    "recover",
    "spans",
    "spill",
    "spill cat",
    "spill ls",
    "spill replay",
    "spill verify",
    "verify",
];

/// The help of a verb on a terminal of so many columns.
fn help(page: &str, columns: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog"));
    command.args(page.split_whitespace()).arg("--help").env("COLUMNS", columns);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{page}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_help_has_examples_that_a_terminal_of_80_columns_does_not_break() {
    for page in PAGES {
        let [wide, narrow] = ["200", "80"].map(|columns| {
            let help = help(page, columns);
            let (before, examples) =
                help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{page}: no examples"));
            let examples = examples.split("\n\n").next().unwrap().to_owned();
            (before.to_owned(), examples)
        });
        assert_eq!(wide.1, narrow.1, "{page}");
        assert!(wide.1.lines().all(|line| line.starts_with("  ")), "{page}");
        let too_wide = narrow.0.lines().find(|line| line.chars().count() > 80);
        assert_eq!(too_wide, None, "{page}");
    }
}

#[test]
fn a_paragraph_of_a_help_is_broken_by_the_terminal_alone() {
    // Wide enough for any paragraph: one that is broken there was broken by hand.
    for page in ["archive", "dump", "prune", "record", "recover"] {
        let help = help(page, "2000");
        let prose = help.split_once("Print help\n\n").unwrap().1;
        let prose = prose.split_once("Examples:\n").unwrap().0.trim_end();
        for paragraph in prose.split("\n\n") {
            assert_eq!(paragraph.lines().count(), 1, "{page}: {paragraph}");
        }
    }
}

#[test]
fn every_verb_that_wants_a_log_directory_says_what_to_give_where_there_is_none() {
    let verbs = "cat info verify gaps spans du ps dump recover spill:ls prune:--max-size:1G \
                 ctl:stats:--dir";
    for verb in verbs.split_whitespace() {
        let args: Vec<_> = verb.split(':').chain(["/no/such/log"]).collect();
        let output = ttlog(&args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty() && output.status.code() == Some(1), "{verb}: {said}");
        for part in ["/no/such/log: No such file", "; give the directory"] {
            assert!(said.contains(part), "{verb}: {said}");
        }
    }
}
