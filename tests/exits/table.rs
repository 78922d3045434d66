//! Table: docs/EXITS.md, made from a run of the matrix, and checked against it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Done, ENDS, End, GUARDS, MODES, POLICIES, Policy, Seen, Sums};

const BEGIN: &str = "<!-- made by tests/rig_exit.rs: begin -->";
const FINISH: &str = "<!-- made by tests/rig_exit.rs: end -->";

/// One row: all runs of an end under a policy, with every guard and every way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    runs: u64,
    sums: Sums,
}

fn row(done: &[Done], end: &End, policy: Policy) -> Row {
    let of_it = done.iter().filter(|it| it.plan.end == end && it.plan.policy == policy);
    let mut row = Row { runs: 0, sums: Sums::default() };
    for done in of_it.filter(|it| it.not_run.is_none()) {
        row.runs += 1;
        row.sums += done.sums;
    }
    row
}

fn line(end: &End, policy: Policy, Row { runs, sums }: Row) -> String {
    let seen = match end.seen {
        Seen::Code(code) => format!("code {code}"),
        Seen::Signal(signal) => format!("signal {signal}"),
    };
    let Sums { returned, under_way, shown, lost } = sums;
    format!(
        "| {} | {seen} | {} | {runs} | {returned} | {under_way} | {shown} | {lost} | {} | {} |",
        end.name,
        policy.name,
        sums.neither(),
        sums.both()
    )
}

/// The table of a run.
pub(crate) fn rows(done: &[Done]) -> String {
    let mut text = String::from(
        "| the process ends by | seen as | policy | runs | calls returned | under way | shown | \
         told as lost | neither | both |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for end in &ENDS {
        for policy in POLICIES {
            writeln!(text, "{}", line(end, policy, row(done, end, policy))).expect("a string");
        }
    }
    let mut reasons: Vec<_> =
        done.iter().filter_map(|it| Some((it.plan.end.name, it.not_run?))).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for (end, why) in reasons {
        writeln!(text, "\nNot run in part, {end}: {why}.").expect("a string");
    }
    text
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/EXITS.md")
}

fn split(text: &str) -> (&str, &str, &str) {
    let (before, rest) = text.split_once(BEGIN).expect("docs/EXITS.md has a begin mark");
    let (table, after) = rest.split_once(FINISH).expect("docs/EXITS.md has an end mark");
    (before, table.trim(), after)
}

/// Puts the table of this run between the marks.
pub(crate) fn write(done: &[Done]) {
    let text = std::fs::read_to_string(path()).expect("docs/EXITS.md");
    let (before, _, after) = split(&text);
    let text = format!("{before}{BEGIN}\n\n{}\n{FINISH}{after}", rows(done));
    std::fs::write(path(), text).expect("docs/EXITS.md");
}

/// The rows in the documentation are those of this matrix, whole and without a fault.
pub(crate) fn check_committed() {
    let text = std::fs::read_to_string(path()).expect("docs/EXITS.md");
    let (_, table, _) = split(&text);
    let mut lines = table.lines().skip(2);
    let cells = (GUARDS.len() * MODES.len()) as u64;
    for end in &ENDS {
        for policy in POLICIES {
            let line = lines.next().unwrap_or_else(|| panic!("no row: {}", end.name));
            let numbers: Vec<u64> =
                line.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
            let [runs, returned, under_way, shown, lost, ..] = numbers[..] else {
                panic!("{line}: not a row of numbers");
            };
            let sums = Sums { returned, under_way, shown, lost };
            assert_eq!(line, self::line(end, policy, Row { runs, sums }), "the row as it is made");
            assert_eq!((sums.neither(), sums.both()), (0, 0), "{line}");
            assert!(runs >= cells && runs.is_multiple_of(cells), "{line}: not all cells were run");
            assert!(returned >= runs * super::EVENTS, "{line}");
            // Each of the few threads may be inside of one call.
            assert!(under_way <= runs * super::THREADS, "{line}");
        }
    }
    assert_eq!(lines.next(), None, "a row too many");
}
