//! What is redacted reaches neither lane nor staging nor segment (R34): canaries are looked for in
//! every file that a logger makes, by whatever way a value may take.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use ttlog::view::{Item, Query, Record, Source, Value};
use ttlog::{Builder, Compression, Handle, Redacted, info};

const LONG: Duration = Duration::from_secs(60);
const CANARIES: u64 = 10_000;

/// Long enough to be found again, in no other text.
fn canary(n: u64) -> String {
    format!("canary-{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else if entry.file_type().unwrap().is_file() {
            found.push(entry.path());
        }
    }
}

/// How many files hold the bytes, and how many there are.
fn hits(dirs: &[&Path], needle: &[u8]) -> (Vec<PathBuf>, usize) {
    let mut all = Vec::new();
    dirs.iter().for_each(|dir| files(dir, &mut all));
    let n = all.len();
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    all.retain(holds);
    (all, n)
}

fn records(dir: &Path) -> Vec<Record> {
    let items = Source::open(dir).unwrap().query(&Query::new());
    items
        .filter_map(|item| match item.unwrap() {
            Item::Record(record) => Some(record),
            _ => None,
        })
        .collect()
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug alone")]
struct Login {
    user: &'static str,
    token: Redacted<String>,
}

#[derive(Debug)]
struct Refused(Redacted<String>);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Logs one canary by every way, a different one each call.
fn log(logger: Option<&Handle>, n: u64) {
    let password = canary(n);
    let access_token = canary(n).into_bytes();
    let hidden = Redacted(canary(n));
    let number = 0x7761_7463_6800_0000 + n;
    let error = Refused(Redacted(canary(n)));
    let error: &(dyn std::error::Error + 'static) = &error;
    macro_rules! log {
        ($($t:tt)+) => {
            match logger {
                Some(logger) => info!(logger: logger, $($t)+),
                None => info!($($t)+),
            }
        };
    }
    log!(n, password, "a field");
    log!(n, user.password = password, "behind a dot");
    log!(n, PassWord = %password, "in any case, as Display makes it");
    log!(n, password = ?Some(&password), "as Debug makes it");
    log!(n, password = Some(&*password), absent_password = None::<&str>, "optional");
    log!(n, access_token = &access_token[..], "bytes");
    log!(n, password = number, x = 1.5, "a number");
    log!(n, "password" = password, "a key that is text");
    log!({ n = n }, "an argument {password}", password = password);
    log!({ n = n }, "a captured variable {password}");
    log!({ n = n }, "one that cannot be put off {password:>w$}", w = 60);
    log!({ n = n }, "made here {password} {:?}", Some(1), password = password.as_str());
    log!(n, hidden, "by type");
    log!(n, open = %hidden, also = ?hidden, "by type, formatted {hidden} {}", hidden);
    log!(n, login = ?Login { user: "ada", token: Redacted(canary(n)) }, "inside of a Debug");
    log!(n, error, "inside of an error");
    log!(a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8, i = 9, password, n, "many");
}
/// Statements of `log`.
const WAYS: u64 = 17;

fn builder(dir: &Path, lanes: &Path) -> Builder {
    Builder::new(dir).filter("info").lanes_in(lanes).redact(["password", "*token*", "*_password"])
}

/// The global logger and two that are named; one test, since patterns hold for the process.
#[test]
fn r34_canaries_are_in_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let dir = temp.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    };
    let (log_dir, lanes) = (dir("log"), dir("lanes"));

    // A statement that is known before anybody asks for redaction: its canaries are found, so the
    // search works.
    let open = Builder::new(dir("open")).filter("info").lanes_in(&lanes).build().unwrap();
    for n in 0..3 {
        log(Some(&open), n);
    }
    open.flush(LONG).unwrap();
    let (found, _) = hits(&[&dir("open"), &lanes], canary(1).as_bytes());
    assert!(found.len() >= 2, "in the segment and in its lane: {found:?}");
    open.shutdown(LONG).unwrap();

    let logger = builder(&log_dir, &lanes).compress(Compression::None).init().unwrap();
    // Another that asks for nothing, and lives beside it.
    let beside = Builder::new(dir("beside")).filter("info").lanes_in(&lanes).build().unwrap();
    for n in 0..CANARIES / WAYS {
        log(None, n);
        if n % 10 == 0 {
            log(Some(&beside), n);
        }
    }
    // Looked for while lanes and staging are there, and again behind the end.
    let look = |step: &str| {
        for needle in [&b"canary-"[..], &0x7761_7463_6800_u64.to_le_bytes()[1..6]] {
            let (found, n) = hits(&[&log_dir, &dir("beside"), &lanes], needle);
            assert!(found.is_empty(), "{step}: {found:?}");
            assert!(n >= 2, "{n} files were looked at");
        }
    };
    logger.flush(LONG).unwrap();
    beside.flush(LONG).unwrap();
    look("while it lives");
    logger.shutdown(LONG).unwrap();
    beside.shutdown(LONG).unwrap();
    look("behind its end");
    shown(&records(&log_dir));

    // Without a logger that asks for it the same statements are whole again.
    let after = Builder::new(dir("after")).filter("info").lanes_in(&lanes).build().unwrap();
    log(Some(&after), 5);
    after.shutdown(LONG).unwrap();
    let records = records(&dir("after"));
    assert_eq!(records[0].field("password"), Some(canary(5).into()));
}

/// What stands where the values were, and that all else is there.
fn shown(records: &[Record]) {
    assert_eq!(records.len() as u64, CANARIES / WAYS * WAYS);
    let redacted = Some(Value::from("[redacted]"));
    for (way, record) in records.iter().enumerate() {
        let (n, way) = (way as u64 / WAYS, way as u64 % WAYS);
        assert_eq!(record.field("n"), Some(n.into()), "{record:?}");
        let message = record.message();
        match way {
            0 => assert_eq!((record.field("password"), &*message), (redacted.clone(), "a field")),
            1 => assert_eq!(record.field("user.password"), redacted),
            4 => {
                assert_eq!(record.field("password"), redacted);
                assert_eq!(record.field("absent_password"), None, "absence is no secret");
            }
            6 => assert_eq!(
                (record.field("password"), record.field("x")),
                (redacted.clone(), Some(1.5.into()))
            ),
            8 => assert_eq!(message, "an argument [redacted]"),
            9..=11 => assert_eq!(message, "[redacted]"),
            13 => assert_eq!(message, "by type, formatted [redacted] [redacted]"),
            14 => assert!(record.field("login").unwrap().to_string().contains("ada"), "{record:?}"),
            15 => assert_eq!(record.field("error").unwrap().to_string(), "refused [redacted]"),
            16 => assert_eq!(
                (record.field("i"), record.field("password")),
                (Some(9.into()), redacted.clone())
            ),
            _ => {}
        }
    }
}
