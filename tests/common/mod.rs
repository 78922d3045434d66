//! Makes logs without a logger: lanes, runs and segments byte by byte.

use std::path::{Path, PathBuf};

use ttlog::record::{
    Anchor, CODEC_COMPACT, Definition, Field, Head, Kind, Level, Losses, RECORD_EVENT, RawRun,
    Role, RunHead,
};
use ttlog::store::segment::SegmentHeader;
use ttlog::store::{Builder, name};

/// 2026-11-21T10:00:00Z, where the ticks of every sample begin.
pub(crate) const START_NS: i64 = 1_795_255_200_000_000_000;
/// Callsite of `n={}` at INFO from `app::db`.
pub(crate) const NUMBER: u32 = 1;
/// Callsite of a message with the field `user.id` at WARN from `app::http`.
pub(crate) const REQUEST: u32 = 2;

/// The static halves of all samples.
pub(crate) fn definitions() -> Vec<Definition> {
    let field = |name: &str, kind: Kind, role| Field { name: name.into(), kind: kind as u8, role };
    let number = Definition {
        id: NUMBER,
        level: Level::Info,
        dynamic: false,
        target: "app::db".into(),
        name: "event src/db.rs:17".into(),
        file: "src/db.rs".into(),
        line: 17,
        module: "app::db".into(),
        template: Some("n={}".into()),
        fields: vec![field("", Kind::U64, Role::Argument)],
    };
    let request = Definition {
        id: REQUEST,
        level: Level::Warn,
        target: "app::http".into(),
        module: "app::http".into(),
        template: None,
        fields: vec![field("", Kind::Str, Role::Message), field("user.id", Kind::U64, Role::Field)],
        ..number.clone()
    };
    vec![number, request]
}

/// One record as it lies in a lane.
pub(crate) fn record(callsite: u32, ticks: u64, payload: &[u8]) -> Vec<u8> {
    let words = payload.len().div_ceil(8);
    let word = Head::word(callsite, words as u16, RECORD_EVENT, 0);
    let mut bytes = word.to_le_bytes().to_vec();
    bytes.extend_from_slice(&ticks.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(16 + words * 8, 0);
    bytes
}

/// All that a thread has logged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lane {
    pub(crate) head: RunHead,
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Lane {
    pub(crate) fn new(lane: u32, thread: &str) -> Self {
        let head = RunHead { lane, tid: 100 + lane, thread: thread.into(), ..RunHead::default() };
        Self { head, ..Self::default() }
    }

    pub(crate) fn number(&mut self, ticks: u64, n: u64) {
        self.push(&record(NUMBER, ticks, &n.to_le_bytes()));
    }

    pub(crate) fn request(&mut self, ticks: u64, message: &str, user: u64) {
        let mut payload = (message.len() as u32).to_le_bytes().to_vec();
        payload.extend_from_slice(message.as_bytes());
        payload.extend_from_slice(&user.to_le_bytes());
        self.push(&record(REQUEST, ticks, &payload));
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(record);
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The run of records `from..to`.
    pub(crate) fn run(&self, from: usize, to: usize) -> RawRun {
        let at = |n: usize| self.starts.get(n).copied().unwrap_or(self.bytes.len());
        let head = RunHead {
            position: at(from) as u64,
            end: at(to) as u64,
            first_record: from as u64,
            count: (to - from) as u32,
            ..self.head.clone()
        };
        RawRun { head, bytes: self.bytes[at(from)..at(to)].to_vec() }
    }

    pub(crate) fn all(&self) -> RawRun {
        self.run(0, self.len())
    }

    pub(crate) fn losing(mut self, losses: Losses) -> Self {
        self.head.losses = losses;
        self
    }
}

/// One logger that writes segments.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) header: SegmentHeader,
    pub(crate) codec: u8,
    pub(crate) runs_bytes: usize,
    pub(crate) anchors: Vec<Anchor>,
}

impl Writer {
    pub(crate) fn new(logger: u64) -> Self {
        let header = SegmentHeader {
            logger,
            boot: [7; 16],
            clock: 2,
            app: "sample".into(),
            version: "1".into(),
            host: "here".into(),
            pid: 4242,
            created_ns: START_NS,
            ..SegmentHeader::default()
        };
        let anchor =
            |ticks: u64| Anchor { ticks, mono_ns: ticks, wall_ns: START_NS + ticks.cast_signed() };
        let anchors = vec![anchor(0), anchor(1 << 40)];
        Self { header, codec: CODEC_COMPACT, runs_bytes: 64 << 10, anchors }
    }

    /// The bytes of the next segment; each inner list becomes at least one block.
    pub(crate) fn bytes(&mut self, blocks: &[Vec<RawRun>], sealed: bool) -> Vec<u8> {
        self.header.number += 1;
        let mut builder =
            Builder::new(self.header.clone()).codec(self.codec).runs_bytes(self.runs_bytes);
        definitions().into_iter().for_each(|definition| builder.add_definition(definition));
        self.anchors.iter().for_each(|anchor| builder.add_anchor(*anchor));
        for block in blocks {
            for run in block {
                builder.push_run(run).expect("a sample can be made");
            }
            builder.seal_block().expect("a sample can be made");
        }
        if sealed {
            builder.finish().expect("a sample can be made")
        } else {
            builder.finish_unsealed().expect("a sample can be made")
        }
    }

    /// Writes the next segment into a directory.
    pub(crate) fn write(&mut self, dir: &Path, blocks: &[Vec<RawRun>]) -> PathBuf {
        let bytes = self.bytes(blocks, true);
        let header = &self.header;
        let name = name::segment(&header.app, header.created_ns, header.logger, header.number);
        let path = dir.join(name);
        std::fs::write(&path, bytes).expect("a sample can be made");
        path
    }
}
