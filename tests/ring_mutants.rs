//! Breaks the ring on purpose, one ordering at a time, and expects a loom model to notice (R01).
//!
//! ```text
//! cargo test --release --test ring_mutants -- --ignored --nocapture
//! ```

mod mutants;

use std::path::PathBuf;
use std::process::Command;

/// Each mutant, and a model of `src/ring/models.rs` that must fail with it.
const MUTANTS: &[(&str, &str)] = &[
    ("stamp_store", "what_two_producers_push_comes_out_once_and_whole"),
    ("stamp_load", "what_two_producers_push_comes_out_once_and_whole"),
    ("head_store", "a_slot_is_filled_again_only_after_it_was_emptied"),
    ("head_load", "a_slot_is_filled_again_only_after_it_was_emptied"),
    ("copy_store", "the_copy_of_the_head_hands_on_what_the_consumer_read"),
    ("copy_load", "the_copy_of_the_head_hands_on_what_the_consumer_read"),
    ("copy_shared", "the_copy_that_an_evictor_shares_hands_on_what_was_read"),
    ("tail_store", "no_push_meets_a_full_ring_that_never_was"),
    ("tail_load", "no_push_meets_a_full_ring_that_never_was"),
    ("busy_lock", "eviction_and_take_share_the_head"),
    ("busy_unlock", "eviction_and_take_share_the_head"),
    ("partner_fence", "a_parked_producer_is_woken_by_a_take"),
    ("sleeper_fence", "a_parked_producer_is_woken_by_a_take"),
    ("partner_fence", "a_pending_take_is_woken_by_a_push"),
    ("sleeper_fence", "a_pending_take_is_woken_by_a_push"),
    ("close_silent", "a_close_wakes_those_who_wait"),
    ("grant_kept", "a_push_that_is_cancelled_leaves_its_place_to_the_next"),
    ("turn_unseen", "a_taker_that_found_the_head_locked_is_woken_when_it_is_free"),
];

/// The same for steps that are left out when a model runs, so that one build serves them all.
const AT_RUN: &[(&str, &str)] = &[
    ("run_late", "runs::a_run_is_seen_whole_and_taken_in_parts"),
    ("known_lost", "runs::a_run_is_seen_whole_and_taken_in_parts"),
    ("rejoin_early", "what_is_spilled_comes_back_in_order_and_once"),
    ("refill_once", "a_taker_sleeps_over_nothing_that_is_in_files"),
    ("spill_unfenced", "a_taker_sleeps_over_nothing_that_is_in_files"),
];

/// Builds the crate's own tests with one mutant; the crates it uses stay as they are.
fn build(mutant: &str) -> PathBuf {
    let cfg = format!("ring_mutant=\"{mutant}\"");
    let args = ["rustc", "--lib", "--profile", "test", "--", "--cfg", &cfg];
    mutants::build_with(&args, "target/mutants", &[("CARGO_PROFILE_TEST_OPT_LEVEL", "3")])
}

#[test]
#[ignore = "builds the crate once a mutant, three minutes in all; see the file's docs"]
fn each_mutant_is_killed_by_the_model_that_names_it() {
    let whole = build("none");
    let control = Command::new(&whole).arg("ring::models").status().unwrap();
    assert!(control.success(), "the models pass as long as nothing is broken");
    let mut survivors = Vec::new();
    for (mutant, model) in MUTANTS.iter().chain(AT_RUN) {
        let model = format!("ring::models::{model}");
        let is_at_run = AT_RUN.iter().any(|(name, _)| name == mutant);
        let broken = if is_at_run { whole.clone() } else { build(mutant) };
        let mut run = Command::new(broken);
        let output = run.args([&model, "--exact"]).env("LANE_MUTANT", mutant).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("running 1 test"), "{model}: {output:?}");
        // A deadlock found in a destructor aborts, so a line that says FAILED may be missing.
        let killed = !output.status.success();
        eprintln!("{mutant}: {}", if killed { "killed" } else { "SURVIVED" });
        if !killed {
            survivors.push((mutant, model));
        }
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}

#[test]
fn each_mutant_in_the_source_is_on_the_list() {
    let is_listed = |name: &str| MUTANTS.iter().chain(AT_RUN).any(|(mutant, _)| *mutant == name);
    mutants::check_listed(&["src/ring"], &["weaken!(\"", "ring_mutant = \""], is_listed);
}
