//! Tidy: the house rules that no lint can see.
//!
//! Each rule is a test that collects everything it finds wrong and shows it as `file:line: what to
//! do`. Rules work on the text of the files, so that a newcomer can read them as they stand.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::collections::BTreeSet;
use std::path::Path;

/// Longest file in `src`.
const LINES_MAX: usize = 500;
/// Longest ARCHITECTURE.md: what a newcomer reads first has to stay short.
const ARCHITECTURE_LINES_MAX: usize = 150;

/// Who may name whom with `crate::`. A module may always name itself. Nobody names the command, so
/// it stands on no right-hand side, and nobody but `test` names `view`.
const LAYERS: &[(&str, &[&str])] = &[
    // What everybody speaks of, and what knows nobody but the processor's lines.
    ("record", &["sync::lines"]),
    ("sync", &[]),
    ("error", &[]),
    ("notice", &[]),
    ("monitor", &[]),
    ("macros", &[]),
    ("crash", &[]),
    ("stats", &["record"]),
    // The way of an event: emit ─► lane ◄─ scribe ─► store ─► io.
    ("emit", &["lane", "monitor", "record", "sync"]),
    ("lane", &["error", "monitor", "notice", "record", "sync"]),
    // Its console renders.
    (
        "scribe",
        &[
            "config", "crash", "io", "lane", "monitor", "notice", "record", "render", "ring",
            "store",
        ],
    ),
    ("store", &["crash", "io", "record"]),
    // Operations from other threads come through the typed queue.
    ("io", &["ring", "sync"]),
    // The way back.
    ("view", &["lane::outside", "record", "render", "store"]),
    ("render", &["record"]),
    // The public queue stands alone.
    ("ring", &["error", "sync"]),
    // What puts the parts together.
    ("config", &["back_pressure", "emit", "error", "io", "lane", "record", "ring", "store"]),
    ("back_pressure", &["config", "error", "lane", "record", "ring"]),
    ("adopt", &["crash", "dump", "emit", "io", "lane", "notice", "record", "store"]),
    ("handle", &["dump", "emit", "error", "lane", "logger", "record", "scribe", "stats"]),
    ("control", &["error", "handle", "lane", "logger", "monitor", "store"]),
    // The one that hands out what `view` reads, for tests.
    ("test", &["emit", "lane", "record", "view"]),
    ("bridge", &["emit", "error", "lane", "logger", "record"]),
    (
        "layer",
        &[
            "back_pressure",
            "config",
            "emit",
            "error",
            "handle",
            "io",
            "lane",
            "logger",
            "record",
            "ring",
            "store",
        ],
    ),
    ("pipe", &["config", "emit", "error", "handle", "lane", "record", "ring"]),
    (
        "logger",
        &[
            "adopt", "config", "control", "dump", "emit", "error", "handle", "io", "lane",
            "monitor", "notice", "pipe", "record", "recorder", "scribe", "stats", "store",
            "upkeep",
        ],
    ),
    // A whole logger over a simulated disk.
    ("sim_tests", &["config", "handle", "info", "io", "logger", "ring", "store", "view"]),
    ("archive", &["crash", "io", "monitor", "store", "upkeep"]),
    // Reads as from outside, and writes a segment of its own.
    ("dump", &["crash", "emit", "error", "io", "lane", "record", "store"]),
    ("recorder", &["config", "dump", "error", "lane", "logger", "monitor", "notice", "record"]),
    ("upkeep", &["config", "crash", "emit", "io", "lane", "monitor", "notice", "scribe", "store"]),
];

/// Single files that may name one thing more than their module.
const LAYERS_BESIDE: &[(&str, &str)] = &[
    // File names are made and read in one place only.
    ("src/lane/outside.rs", "store::name"),
    ("src/lane/owner.rs", "store::name"),
    // What a typed ring spills lies in spill files.
    ("src/ring/spill.rs", "store::items"),
];

/// The files that may lift `deny(unsafe_code)`, and what for.
const MAY_BE_UNSAFE: &[(&str, &str)] = &[
    ("src/emit/clock.rs", "reads the processor's tick counter"),
    ("src/emit/raw.rs", "tells the compiler how long a slice can be"),
    ("src/emit/told/buffer.rs", "fills memory of the stack"),
    ("src/io/buffer/allocation.rs", "allocates memory and lends it out"),
    ("src/io/buffer/free_list.rs", "hands values on through shared cells"),
    ("src/io/buffer/models.rs", "looks into shared cells under the model checker"),
    ("src/io/buffer/numa.rs", "maps memory and asks the kernel where it lies"),
    ("src/io/buffer/pooled.rs", "takes the buffer's node out as it is dropped"),
    ("src/io/lent.rs", "says what lending memory to a kernel asks for"),
    ("src/io/portable/watch.rs", "registers descriptors with a poller that keeps their numbers"),
    ("src/io/uring/core.rs", "shares memory with the kernel"),
    ("src/io/uring/entry.rs", "tells the kernel where memory lies"),
    ("src/io/uring/probe.rs", "queues entries without memory"),
    ("src/io/uring/registry.rs", "registers memory with the kernel"),
    ("src/io/uring/settle.rs", "wraps descriptors that the kernel made"),
    ("src/io/uring/wake.rs", "borrows the descriptor of a ring"),
    ("src/lane/common.rs", "attaches the producer that threads share"),
    ("src/lane/handle.rs", "attaches producers to the lanes of their thread"),
    ("src/lane/hot.rs", "lends a thread's producers"),
    ("src/lane/lines.rs", "flushes cache lines"),
    ("src/lane/memory.rs", "maps files and lends the mapping out"),
    ("src/lane/memory_loom.rs", "the same for the model checker"),
    ("src/lane/models.rs", "calls under the model checker what the others may"),
    ("src/lane/models_shared.rs", "calls under the model checker what the others may"),
    ("tests/archive_alloc.rs", "counts what the allocator is asked for"),
    ("tests/capture_alloc.rs", "an allocator that logs"),
    ("tests/fork.rs", "forks, and waits for the child"),
    ("tests/fork_layer.rs", "forks, and waits for the child"),
    ("tests/fork_named.rs", "forks, and waits for the child"),
    ("tests/io_alloc.rs", "counts what the allocator is asked for"),
    ("tests/io_denied.rs", "refuses system calls to children"),
    ("tests/rig/mounts.rs", "mounts file systems of its own"),
    ("tests/signals.rs", "a signal handler that logs"),
    ("tests/signals_anywhere.rs", "installs a signal handler and sends signals to threads"),
    ("src/lane/outlet.rs", "lends a lane's bytes to its consumer"),
    ("src/lane/outside_tests.rs", "plays producer and consumer in step"),
    ("src/lane/process.rs", "hooks of libc for fork and exit"),
    ("src/lane/registry.rs", "links nodes that the epoch keeps alive"),
    ("src/lane/ring.rs", "writes and lends bytes of a mapping"),
    ("src/lane/seat.rs", "keeps the address of a thread's producer"),
    ("src/lane/staging.rs", "fills a mapping that one consumer owns"),
    ("src/logger/signals.rs", "installs signal handlers, and calls those before"),
    ("src/record/sum.rs", "calls code for processors that have the instruction"),
    ("src/render/zone.rs", "asks the C library for the local time"),
    ("src/ring/slot.rs", "hands values to shared cells"),
    ("src/ring/values.rs", "moves values through shared cells"),
    ("src/scribe/flight.rs", "lends staging memory to the kernel"),
    ("src/sync_lines.rs", "asks for cache lines"),
    ("src/sync_epoch_loom.rs", "reclamation by epochs for the model checker"),
    // Measuring has to read the same counter.
    ("benches/common/clock.rs", "reads the processor's tick counter"),
    ("benches/rivals-ring/src/apart.rs", "gives memory to an epoch"),
    ("benches/rivals-io/src/coded_flood.rs", "drives the raw crate, whose interface is unsafe"),
    ("benches/rivals-ring/src/floor.rs", "touches one line in each of many"),
    ("benches/rivals-io/src/raw.rs", "drives the raw crate, whose interface is unsafe"),
    ("benches/rivals-io/src/raw_owned.rs", "uses the raw crate, and keeps what the kernel has"),
    ("benches/rivals-io/src/scribe.rs", "drives the raw crate, whose interface is unsafe"),
    ("benches/rivals-ring/src/measure.rs", "reads the processor's tick counter"),
    ("benches/rivals-ring/src/queues.rs", "drives rings whose interface is unsafe"),
    ("tests/ring_alloc.rs", "counts what the allocator is asked for"),
    ("tests/ring_stopped.rs", "stops threads at pages that are closed"),
    // What has to crash for a test.
    ("examples/rig_child.rs", "dies on purpose, in ways that need libc"),
];

/// Parts of `examples/rig_child.rs`, whose head lifts the lint for them.
const UNSAFE_ON_PURPOSE: &str = "tests/rig/";

/// The files that may ask what time it is, and what for. Timeouts use `Instant`.
const READS_WALL_CLOCK: &[(&str, &str)] = &[
    ("src/emit/clock.rs", "dates events and files"),
    ("src/sim_tests.rs", "makes files old"),
    ("src/view/plan.rs", "tells a file that is being made from one that was left half-made"),
];

/// What the model checker looks at: atomics, cells, locks and threads come from `crate::sync`.
const MODELLED: &[&str] = &[
    "src/io/buffer/free_list.rs",
    "src/io/buffer/generation.rs",
    "src/io/oneshot.rs",
    "src/lane/latch.rs",
    "src/lane/outlet.rs",
    "src/lane/park.rs",
    "src/lane/ready.rs",
    "src/lane/ring.rs",
    "src/lane/staging.rs",
    "src/ring/",
];

/// Words that say something about where or how the text was written, or that work is left. They
/// are put together here so that this file does not hold them.
const FOREIGN_WORDS: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/tm", "p/wt"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("ses", "sion"), "the text is about the code, not about how it came to be"),
    (concat!("to", "do!("), "finish it, or leave it out"),
    (concat!("unimpl", "emented!("), "finish it, or leave it out"),
    (concat!("FIX", "ME"), "fix it, or open an issue and name it"),
    (concat!("TO", "DO"), "do it, or open an issue and name it"),
    (concat!("- [", " ]"), "a document says what is, not what is left"),
    (concat!("- [", "x]"), "a document says what is, not what is left"),
];

/// The command that README, and first of all `.ci/run`, run the tests with.
const TEST_COMMAND: &str = "cargo test --features cli";

#[derive(Debug)]
struct File {
    /// Path below the package, with slashes.
    name: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    /// True for unit tests and models that have a file of their own.
    fn is_tests(&self) -> bool {
        ["tests.rs", "/models.rs", "/models_shared.rs"].iter().any(|end| self.name.ends_with(end))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, line))
    }

    /// The lines without comments and, at the foot of the file, unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .take_while(|(_, line)| !is_test_gate(line))
            .map(|(n, line)| (n, line.split("//").next().unwrap_or("")))
    }
}

/// True for the attribute above the unit tests at the foot of a file.
fn is_test_gate(line: &str) -> bool {
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

/// Every text file of the project below one of `roots` (the whole package for an empty name).
fn files(roots: &[&str]) -> Vec<File> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for root in roots {
        walk(package, &package.join(root), &mut found);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn walk(package: &Path, dir: &Path, found: &mut Vec<File>) {
    let Ok(entries) = dir.read_dir() else { return };
    for entry in entries.map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = path.strip_prefix(package).unwrap().to_str().unwrap().to_owned();
        let leaf = entry.file_name();
        let is_made = leaf == "target" || leaf == "logs" || leaf == ".git";
        if kind.is_dir() && !is_made {
            walk(package, &path, found);
        } else if kind.is_file()
            && (name == ".ci/run" || [".rs", ".md", ".toml"].iter().any(|end| name.ends_with(end)))
        {
            found.push(File { name, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

fn rust_files(roots: &[&str]) -> Vec<File> {
    let files: Vec<_> = files(roots).into_iter().filter(File::is_rust).collect();
    assert!(!files.is_empty(), "nothing found in {roots:?}");
    files
}

/// One test shows everything that is wrong, not the first of it.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_file_says_what_it_owns() {
    let wrong: Vec<_> = rust_files(&["src", "tests", "benches", "examples", "fuzz"])
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}:1: begin with `//! ` and what the file owns", file.name))
        .collect();
    none(&wrong);
}

#[test]
fn no_source_file_is_long() {
    let wrong: Vec<_> = rust_files(&["src"])
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|&(_, lines)| lines > LINES_MAX)
        .map(|(file, lines)| {
            format!("{}:{lines}: more than {LINES_MAX} lines, split it", file.name)
        })
        .collect();
    none(&wrong);
}

#[test]
fn modules_name_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let Some(module) = module_of(&file.name) else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}:1: give `{module}` a line in LAYERS", file.name));
            continue;
        };
        for (n, path) in
            file.code().flat_map(|(n, line)| crate_paths(line).into_iter().map(move |p| (n, p)))
        {
            let beside =
                LAYERS_BESIDE.iter().filter(|(name, _)| *name == file.name).map(|(_, to)| to);
            let mut allowed = allowed.iter().chain(beside).chain([&module]);
            if !allowed.any(|allowed| is_within(path, allowed)) {
                wrong.push(format!("{}:{n}: `{module}` may not name `crate::{path}`", file.name));
            }
        }
    }
    none(&wrong);
}

/// The module below the crate's root to which a file belongs; `None` for the root itself and for
/// the command, which is a crate of its own.
fn module_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("src/")?;
    if rest == "lib.rs" || rest.starts_with("bin/") {
        return None;
    }
    let module = rest.split_once('/').map_or(rest, |(module, _)| module).trim_end_matches(".rs");
    // `sync_….rs` is a part of `sync` for the model checker.
    Some(if module.starts_with("sync_") { "sync" } else { module })
}

/// The paths that follow `crate::` in a line of code; those of `$crate::` are a user's.
fn crate_paths(line: &str) -> Vec<&str> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = Vec::new();
    for (at, word) in line.match_indices("crate::") {
        if line[..at].ends_with('$') {
            continue;
        }
        let rest = &line[at + word.len()..];
        match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((list, _)) => paths.extend(list.split(',').map(str::trim)),
            None => paths.extend(rest.split(|c| !is_path(c)).next()),
        }
    }
    paths.iter().map(|path| path.trim_end_matches(':')).collect()
}

fn is_within(path: &str, allowed: &str) -> bool {
    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn every_ordering_says_what_it_pairs_with() {
    const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
    let names_ordering = |line: &str| {
        line.match_indices("Ordering::").any(|(at, word)| {
            ORDERINGS.iter().any(|name| line[at + word.len()..].starts_with(name))
        })
    };
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]).iter().filter(|file| !file.is_tests()) {
        let lines: Vec<_> = file.text.lines().collect();
        for (n, _) in file.code().filter(|(_, code)| names_ordering(code)) {
            if !has_ord_comment(&lines, n - 1) {
                wrong.push(format!(
                    "{}:{n}: which access does it pair with? `// ord: …`",
                    file.name
                ));
            }
        }
    }
    none(&wrong);
}

/// True when a line, or the comment above the statement that it belongs to, has an `// ord:`.
fn has_ord_comment(lines: &[&str], at: usize) -> bool {
    let is_ord = |line: &str| line.contains("// ord: ");
    if is_ord(lines[at]) {
        return true;
    }
    let above = lines[..at].iter().rev().map(|line| line.trim());
    // The statement's own earlier lines end in none of these; a mutant may leave it out.
    let is_mutant = |line: &str| line.starts_with("if !cfg!(") || line.starts_with("if !mutant(");
    let is_end =
        |line: &str| line.is_empty() || line.ends_with([';', '{', '}']) && !is_mutant(line);
    let mut above = above.skip_while(|line| !line.starts_with("//") && !is_end(line));
    let mut comment = above.by_ref().take_while(|line| line.starts_with("//"));
    comment.any(is_ord)
}

#[test]
fn unsafe_code_lies_in_named_files() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "tests", "benches", "examples", "fuzz"]) {
        if file.name == "tests/tidy.rs" || file.name.starts_with(UNSAFE_ON_PURPOSE) {
            continue;
        }
        let head = file.text.split("\nuse ").next().unwrap_or("");
        let lifts = head.contains("#![expect(") && head.contains("unsafe_code");
        let is_named = MAY_BE_UNSAFE.iter().any(|(name, _)| *name == file.name);
        if is_named && !lifts {
            wrong.push(format!(
                "{}:2: say `#![expect(unsafe_code, reason = …)]` above the code",
                file.name
            ));
        }
        for (n, code) in file.lines().map(|(n, line)| (n, line.split("//").next().unwrap_or(""))) {
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let is_unsafe = words.into_iter().any(|word| word == "unsafe" || word == "unsafe_code");
            if is_unsafe && !is_named {
                wrong.push(format!("{}:{n}: unsafe outside the files of MAY_BE_UNSAFE", file.name));
            }
        }
    }
    none(&wrong);
}

#[test]
fn modelled_files_take_their_primitives_from_sync() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        if file.is_tests() || !MODELLED.iter().any(|name| file.name.starts_with(name)) {
            continue;
        }
        for (n, code) in file.code() {
            for past in ["std::sync", "core::sync", "std::thread", "std::cell::UnsafeCell"] {
                if code.contains(past) {
                    wrong.push(format!("{}:{n}: `{past}` passes the model by", file.name));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn wall_clock_is_read_in_named_files() {
    let is_named = |file: &File| READS_WALL_CLOCK.iter().any(|(name, _)| *name == file.name);
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        if is_named(&file) || module_of(&file.name).is_none() {
            continue;
        }
        for (n, code) in file.code() {
            if ["SystemTime", "clock_gettime"].iter().any(|word| code.contains(word)) {
                wrong.push(format!("{}:{n}: ask emit::clock for the time", file.name));
            }
        }
    }
    none(&wrong);
}

#[test]
fn names_of_tests_are_statements() {
    let prefix = concat!("fn te", "st_");
    let wrong: Vec<_> = rust_files(&["src", "tests", "benches", "examples", "fuzz"])
        .iter()
        .flat_map(|file| file.lines().map(move |(n, line)| (file, n, line)))
        .filter(|(_, _, line)| line.contains(prefix))
        .map(|(file, n, _)| format!("{}:{n}: say what holds, without `test_`", file.name))
        .collect();
    none(&wrong);
}

#[test]
fn text_is_about_the_code_alone() {
    let mut wrong = Vec::new();
    for file in files(&[""]) {
        for (n, line) in file.lines() {
            for (word, why) in FOREIGN_WORDS.iter().filter(|(word, _)| line.contains(word)) {
                wrong.push(format!("{}:{n}: `{word}`: {why}", file.name));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_readmes_test_command_is_what_ci_runs_first() {
    let readme = read("README.md");
    assert!(readme.lines().any(|line| line.trim() == TEST_COMMAND), "README.md: {TEST_COMMAND}");
    let script = read(".ci/run");
    let is_step = |line: &&str| line.starts_with("tests ") || line.starts_with("step ");
    let first = script.lines().filter(is_step).find(|line| line.contains("cargo "));
    assert!(first.is_some_and(|line| line.contains(TEST_COMMAND)), ".ci/run: {first:?}");
}

#[test]
fn architecture_stays_short() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md: {lines} lines");
}

/// GUARANTEES.md names the proof of a promise as `path.rs::name`.
#[test]
fn every_proof_that_is_named_exists() {
    let text = read("GUARANTEES.md");
    let proofs: BTreeSet<_> =
        text.split('`').filter(|code| code.contains(".rs::") && !code.contains(' ')).collect();
    assert!(!proofs.is_empty(), "GUARANTEES.md names no test");
    let mut wrong = Vec::new();
    for proof in proofs {
        let (path, name) = proof.split_once("::").unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let source = std::fs::read_to_string(path).unwrap_or_default();
        if !source.contains(&format!("fn {name}(")) {
            wrong.push(format!("GUARANTEES.md: `{proof}` is not there"));
        }
    }
    none(&wrong);
}

mod the_rules {
    //! The rules' own helpers, on text that breaks them.
    use super::*;

    #[test]
    fn an_ord_comment_covers_its_statement_and_no_more() {
        let text = "\
// ord: Release, pairs with the Acquire in `take`.
self.turn
    .store(1, Ordering::Release);
self.turn.load(Ordering::Relaxed);
self.turn.load(Ordering::Relaxed); // ord: a check
// a comment about something else
self.turn.load(Ordering::Relaxed);";
        let lines: Vec<_> = text.lines().collect();
        let covered = [2, 3, 4, 6].map(|at| has_ord_comment(&lines, at));
        assert_eq!(covered, [true, false, true, false]);
    }

    #[test]
    fn paths_are_found_in_uses_and_in_expressions() {
        assert_eq!(crate_paths("use crate::lane::{handle, living};"), ["lane"]);
        assert_eq!(crate_paths("use crate::{notice, pipe};"), ["notice", "pipe"]);
        assert_eq!(
            crate_paths("let a = crate::io::Disk::new(crate::record::X);"),
            ["io::Disk::new", "record::X"]
        );
        assert!(crate_paths("$crate::field::debug(x)").is_empty());
        assert!(is_within("lane::outside::Found", "lane::outside"));
        assert!(!is_within("lane::outsider", "lane::outside"));
    }
}
