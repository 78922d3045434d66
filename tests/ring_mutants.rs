//! Breaks the ring on purpose, one step at a time, and expects a loom model to notice (R01).
//!
//! ```text
//! cargo test --release --test ring_mutants -- --ignored --nocapture
//! ```

#[path = "mutants/chosen.rs"]
mod chosen;
mod mutants;

/// Each model of `src/ring/models*.rs`, and the mutants that it must kill.
const MODELS: &[(&str, &[&str])] = &[
    ("what_two_producers_push_comes_out_once_and_whole", &["stamp_store", "stamp_load"]),
    ("a_slot_is_filled_again_only_after_it_was_emptied", &["head_store", "head_load"]),
    ("the_copy_of_the_head_hands_on_what_the_consumer_read", &["copy_store", "copy_load"]),
    ("the_copy_that_an_evictor_shares_hands_on_what_was_read", &["copy_shared"]),
    ("no_push_meets_a_full_ring_that_never_was", &["tail_store", "tail_load"]),
    ("eviction_and_take_share_the_head", &["busy_lock", "busy_unlock"]),
    ("a_parked_producer_is_woken_by_a_take", &["partner_fence", "sleeper_fence"]),
    ("a_pending_take_is_woken_by_a_push", &["partner_fence", "sleeper_fence"]),
    ("a_close_wakes_those_who_wait", &["close_silent"]),
    ("a_push_that_is_cancelled_leaves_its_place_to_the_next", &["grant_kept"]),
    ("a_taker_that_found_the_head_locked_is_woken_when_it_is_free", &["turn_unseen"]),
    ("a_run_is_seen_whole_and_taken_in_parts", &["run_late", "known_lost"]),
    ("what_is_spilled_comes_back_in_order_and_once", &["rejoin_early"]),
    ("a_taker_sleeps_over_nothing_that_is_in_files", &["refill_once", "spill_unfenced"]),
];

/// Those that the histories of `verify/ring-shuttle` find.
const OF_HISTORIES: &[&str] =
    &["head_before_tail", "claim_by_store", "close_by_store", "head_unlocked", "freed_silent"];

#[test]
#[ignore = "builds the crate under loom once, and runs each model to its end; see the file's docs"]
fn each_mutant_is_killed_by_the_model_that_names_it() {
    chosen::kill_all(MODELS);
}

#[test]
fn each_mutant_in_the_source_is_on_the_list() {
    let found_by_histories: &[(&str, &[&str])] = &[("verify/ring-shuttle", OF_HISTORIES)];
    chosen::check(&["src/ring"], &[MODELS, found_by_histories].concat());
}
