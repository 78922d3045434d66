//! Sample: a small segment with a bit of everything, the same every time.

use ttlog::record::{
    Anchor, Cause, Definition, FLAG_DYNAMIC, FLAG_THREAD, Field, Kind, Level, Losses, RawRun, Role,
    RunHead,
};
use ttlog::store::Builder;
use ttlog::store::segment::{CLOCK_TSC, SegmentHeader};

use crate::workload::{Random, push, text};

/// Who wrote the sample; `number` tells samples apart.
pub(crate) fn header(number: u64) -> SegmentHeader {
    SegmentHeader {
        logger: 0x0123_4567_89ab_cdef,
        number,
        boot: *b"0123456789abcdef",
        clock: CLOCK_TSC,
        app: "orders".into(),
        version: "1.4.2".into(),
        host: "büro-7".into(),
        pid: 4242,
        uid: 1000,
        created_ns: 1_795_255_200_000_000_000,
        ..SegmentHeader::default()
    }
}

/// Definitions of all kinds that a record can hold.
pub(crate) fn definitions() -> Vec<Definition> {
    let optional = |kind: Kind| kind as u8 | Kind::OPTIONAL;
    let definition = |id: u32, level, kinds: &[u8]| Definition {
        id,
        level,
        dynamic: false,
        target: "app::db".into(),
        name: format!("event src/db.rs:{id}"),
        file: "src/db.rs".into(),
        line: id,
        module: "app::db".into(),
        template: (id == 1).then(|| "took {} ms".into()),
        fields: kinds
            .iter()
            .enumerate()
            .map(|(n, &kind)| Field { name: format!("f{n}"), kind, role: Role::Field })
            .collect(),
    };
    let plain = |kinds: &[Kind]| kinds.iter().map(|&kind| kind as u8).collect::<Vec<_>>();
    vec![
        definition(1, Level::Info, &plain(&[Kind::U64])),
        definition(2, Level::Warn, &plain(&[Kind::U64, Kind::Str, Kind::F64, Kind::Bool])),
        definition(
            3,
            Level::Debug,
            &plain(&[
                Kind::U8,
                Kind::I16,
                Kind::U32,
                Kind::Char,
                Kind::F32,
                Kind::U128,
                Kind::Duration,
                Kind::Empty,
                Kind::Bytes,
            ]),
        ),
        definition(4, Level::Error, &[optional(Kind::U64), optional(Kind::Error)]),
        Definition { dynamic: true, ..definition(5, Level::Trace, &plain(&[Kind::Str])) },
        definition(6, Level::Info, &[]),
    ]
}

/// The payload of a record of one of [`definitions`].
pub(crate) fn payload(id: u32, random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let words = ["/api/v1/orders", "/login", "", "a longer text that is more than 32 bytes long"];
    let word = words[random.below(4) as usize];
    match id {
        1 => out.extend_from_slice(&random.below(1000).to_le_bytes()),
        2 => {
            out.extend_from_slice(&random.any().to_le_bytes());
            text(word, &mut out);
            out.extend_from_slice(&random.unit().to_le_bytes());
            out.push((random.below(2)) as u8);
        }
        3 => {
            out.extend_from_slice(&random.any().to_le_bytes()[..7]);
            out.extend_from_slice(&u32::from('ü').to_le_bytes());
            out.extend_from_slice(&(random.unit() as f32).to_le_bytes());
            out.extend_from_slice(&random.any().to_le_bytes());
            out.extend_from_slice(&random.any().to_le_bytes());
            out.extend_from_slice(&random.below(100).to_le_bytes());
            out.extend_from_slice(&(random.below(1_000_000_000) as u32).to_le_bytes());
            text(word, &mut out);
        }
        4 => match random.below(3) {
            0 => out.extend_from_slice(&[0, 0]),
            1 => {
                out.push(1);
                out.extend_from_slice(&random.any().to_le_bytes());
                out.push(0);
            }
            _ => {
                out.extend_from_slice(&[0, 1, 8, 0, 0, 0]);
                text("root", &mut out);
            }
        },
        5 => {
            out.push(Kind::Str as u8);
            text(word, &mut out);
        }
        _ => {}
    }
    out
}

/// Runs of a few lanes, in the order in which they were taken.
pub(crate) fn runs(count: usize, seed: u64) -> Vec<RawRun> {
    let mut random = Random(seed);
    let mut ticks = 5_000_000_000;
    let mut positions = [0u64, 4096, 1 << 40];
    let mut firsts = [0u64; 3];
    let mut runs = Vec::new();
    for n in 0..count {
        let lane = n % 3;
        let mut bytes = Vec::new();
        let n_records = if n % 7 == 6 { 0 } else { 1 + random.below(24) };
        for _ in 0..n_records {
            ticks += random.below(4000);
            let id = 1 + random.below(6) as u32;
            let (flags, mut body) = match random.below(20) {
                0 => (FLAG_THREAD, 77u64.to_le_bytes().to_vec()),
                1 if id != 5 => (FLAG_DYNAMIC, vec![Kind::U8 as u8]),
                _ => (0, Vec::new()),
            };
            body.extend(payload(id, &mut random));
            push(&mut bytes, id, flags, ticks, &body);
        }
        let mut losses = Losses::NONE;
        if n % 5 == 4 {
            losses.add(Cause::Full, Level::Info, n as u64);
            losses.add(Cause::Evicted, Level::Error, 1);
        }
        // Behind some runs lay a pad.
        let end = positions[lane] + bytes.len() as u64 + if n % 4 == 3 { 40 } else { 0 };
        let head = RunHead {
            lane: lane as u32,
            generation: 3,
            position: positions[lane],
            end,
            first_record: firsts[lane],
            count: n_records as u32,
            tid: 100 + lane as u32,
            thread: if lane == 0 { String::new() } else { format!("worker-{lane}") },
            losses,
        };
        positions[lane] = end;
        firsts[lane] += n_records;
        runs.push(RawRun { head, bytes });
    }
    runs
}

/// A segment that holds these runs in small blocks.
pub(crate) fn builder(number: u64, codec: u8, runs: &[RawRun]) -> Builder {
    let mut builder = Builder::new(header(number)).codec(codec).runs_bytes(1400);
    for definition in definitions() {
        builder.add_definition(definition);
    }
    for n in 0..4 {
        let (mono_ns, wall_ns) = (1_000_000 * n, 1_795_255_200_000_000_000 + 1_000_000 * n as i64);
        builder.add_anchor(Anchor { ticks: 5_000_000_000 + 2_600_000 * n, mono_ns, wall_ns });
    }
    for run in runs {
        builder.push_run(run).unwrap();
    }
    builder
}
