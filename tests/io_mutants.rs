//! Breaks what is lock-free in `io`, one step at a time, and expects a loom model to notice.
//!
//! ```text
//! cargo test --release --test io_mutants -- --ignored --nocapture
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

/// Each mutant, and the model that it must fail.
const MUTANTS: &[(&str, &str)] = &[
    ("generation_release", "model_a_mark_hands_over"),
    ("free_list_release", "model_a_value_has_one_holder"),
    ("free_list_tag", "model_a_stale_pop_fails"),
    ("oneshot_blind", "model_who_is_gone_is_noticed"),
];

/// Builds the crate's own tests under loom.
fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO"))
        .args(["test", "--release", "--lib", "--no-run", "--message-format", "json"])
        .arg("--target-dir")
        .arg(root.join("target/loom"))
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg loom")
        .output()
        .expect("cargo runs this test, so it can run another");
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text.split("\"executable\":\"").nth(1).and_then(|rest| rest.split('"').next());
    PathBuf::from(executable.unwrap_or_else(|| panic!("{output:?}")))
}

#[test]
#[ignore = "builds the crate under loom; see the file's docs"]
fn each_mutant_is_killed_by_the_model_that_names_it() {
    let executable = build();
    for (mutant, model) in MUTANTS {
        let run = |mutant: &str| {
            let output = Command::new(&executable)
                .arg(model)
                .env("LANE_MUTANT", mutant)
                .env("RUST_BACKTRACE", "0")
                .output()
                .unwrap();
            assert!(String::from_utf8_lossy(&output.stdout).contains("running 1 test"), "{model}");
            output.status.success()
        };
        assert!(run(""), "{model} fails unbroken");
        assert!(!run(mutant), "{mutant} survived {model}");
        println!("{mutant}: killed by {model}");
    }
}

#[test]
fn each_mutant_in_the_source_is_on_the_list() {
    let io = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/io");
    for dir in [io.clone(), io.join("buffer")] {
        for entry in dir.read_dir().unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            for marker in ["weaken!(\"", "mutant(\""] {
                for found in text.split(marker).skip(1) {
                    let name = found.split('"').next().unwrap();
                    assert!(MUTANTS.iter().any(|(mutant, _)| *mutant == name), "{name}");
                }
            }
        }
    }
}
