//! Breaks what is lock-free in `io`, one step at a time, and expects a loom model to notice.
//!
//! ```text
//! cargo test --release --test io_mutants -- --ignored --nocapture
//! ```

#[path = "mutants/chosen.rs"]
mod chosen;
mod mutants;

/// Each model of `src/io`, and the mutants that it must kill.
const MODELS: &[(&str, &[&str])] = &[
    ("model_a_mark_hands_over", &["generation_release"]),
    ("model_a_value_has_one_holder", &["free_list_release"]),
    ("model_a_stale_pop_fails", &["free_list_tag"]),
    ("model_a_home_has_one_thread", &["home_blind"]),
    ("model_who_is_gone_is_noticed", &["oneshot_blind"]),
    ("model_a_completion_is_never_slept_through", &["bell_late"]),
    ("model_a_leaked_task_holds_nobody_up_for_good", &["bell_patient", "bell_fence"]),
];

#[test]
#[ignore = "builds the crate under loom; see the file's docs"]
fn each_mutant_is_killed_by_the_model_that_names_it() {
    chosen::kill_all(MODELS);
}

#[test]
fn each_mutant_in_the_source_is_on_the_list() {
    chosen::check(&["src/io", "src/io/buffer", "src/io/uring"], MODELS);
}
