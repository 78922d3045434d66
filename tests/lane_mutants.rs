//! Breaks lanes, staging and registry on purpose, one step at a time, and expects a loom model to
//! notice (R01).
//!
//! ```text
//! cargo test --release --test lane_mutants -- --ignored --nocapture
//! ```

#[path = "mutants/chosen.rs"]
mod chosen;
mod mutants;

/// Each model of `src/lane/models*.rs`, and the mutants that it must kill.
const MODELS: &[(&str, &[&str])] = &[
    ("r2_a_record_is_whole_when_the_tail_is_behind_it", &["tail_store", "tail_load"]),
    ("r2_bytes_are_written_again_only_when_the_head_has_passed_them", &["head_store", "head_load"]),
    ("r3_a_pad_is_there_before_the_tail_passes_it", &["pad_late"]),
    ("r3_a_pad_is_written_only_where_the_head_has_passed", &["pad_unfree"]),
    ("s4_the_slot_of_the_head_counts_the_records_before_it", &["slot_store", "slot_late"]),
    ("r4_a_write_within_a_write_finds_no_room", &["gate_open"]),
    ("r4_the_cold_way_shuts_the_gate", &["refill_open"]),
    ("r5_a_new_lane_begins_behind_every_gate_of_the_old_one", &["start_low"]),
    (
        "r7_nothing_is_committed_behind_a_stop",
        &["gate_store", "gate_load", "stop_blind", "stop_fence"],
    ),
    ("r8_a_mark_does_not_undo_a_stop", &["mark_blind"]),
    ("w1_no_wake_up_is_lost", &["wake_fence", "sleep_fence", "sleep_blind", "summary_first"]),
    ("w1_who_is_told_sees_what_it_was_told_of", &["bit_store", "bit_load"]),
    ("w2_one_producer_wakes_a_sleeping_scribe", &["wake_all"]),
    ("b2_a_record_is_in_its_lane_or_in_staging", &["commit_late"]),
    ("b2_the_bytes_of_a_run_are_there_before_it_is_committed", &["commit_store"]),
    (
        "b3_a_reader_never_takes_two_blocks_for_one",
        &["reset_order", "reset_fence", "epoch_kept", "epoch_store"],
    ),
    ("p1_a_producer_that_waits_is_woken", &["park_fence", "heads_fence", "park_blind"]),
    ("p2_the_tail_behind_the_end_is_the_last", &["end_store", "end_load"]),
    ("c1_the_latch_lets_one_in_at_a_time", &["latch_store", "latch_load"]),
    ("o1_a_record_is_taken_or_evicted_once", &["head_before_lock"]),
    ("o1_scribe_and_spiller_take_each_record_once", &["head_before_lock"]),
    ("o2_head_and_what_was_evicted_move_together", &["evicted_late"]),
    ("o4_nobody_evicts_from_another_hand_out", &["close_open", "close_untold"]),
    ("o4_a_spiller_takes_nothing_from_another_hand_out", &["close_open"]),
    (
        "o4_a_lane_is_exchanged_beside_scribe_and_spiller",
        &["close_open", "close_full", "head_before_lock"],
    ),
    ("g1_joins_at_once_lose_nobody", &["join_store", "walk_load"]),
    ("g2_a_join_beside_a_leave_is_not_lost", &["unlink_blind"]),
    ("g2_a_walk_beside_joins_and_leaves_sees_who_stays", &["next_cut"]),
];

#[test]
#[ignore = "builds the crate under loom; see the file's docs"]
fn each_mutant_is_killed_by_the_model_that_names_it() {
    chosen::kill_all(MODELS);
}

#[test]
fn each_mutant_in_the_source_is_on_the_list() {
    chosen::check(&["src/lane"], MODELS);
}
