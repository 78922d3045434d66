//! Workload: the records that benchmarks and tests encode, as they would lie in a lane.

use ttlog::record::compact::{Schema, Schemas};
use ttlog::record::{Head, Kind, Level};

/// Which records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One u64 that counts.
    Counter,
    /// One u64, random below 65,536.
    Random,
    /// A u64, an f64 and one string of eleven bytes.
    Mixed,
    /// A user id, one of fifty paths (Zipf), an f64 and a bool.
    Structured,
    /// The same, each value behind its kind, as where kinds are not known beforehand.
    Told,
    /// Thirty callsites (Zipf), a third each of the random, mixed and structured.
    Service,
}

impl Workload {
    /// All of them with their names.
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("one_u64 counter", Self::Counter),
        ("one_u64 random", Self::Random),
        ("mixed", Self::Mixed),
        ("structured", Self::Structured),
        ("structured, told", Self::Told),
        ("service", Self::Service),
    ];

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Counter | Self::Random => &[Kind::U64],
            Self::Mixed => &[Kind::U64, Kind::F64, Kind::Str],
            Self::Structured | Self::Told | Self::Service => {
                &[Kind::U64, Kind::Str, Kind::F64, Kind::Bool]
            }
        }
    }

    /// The records of one callsite.
    fn of(self, id: u32) -> Self {
        match (self, id % 3) {
            (Self::Service, 0) => Self::Random,
            (Self::Service, 1) => Self::Mixed,
            (Self::Service, _) => Self::Structured,
            (one, _) => one,
        }
    }

    /// So many records as they lie in a lane.
    pub(crate) fn records(self, count: usize) -> Vec<u8> {
        let mut random = Random(0x5eed);
        let paths = paths();
        let mut out = Vec::new();
        let mut ticks = 1_000_000_000_000;
        for n in 0..count as u64 {
            ticks += 26 + random.below(8);
            let mut payload = Vec::new();
            let id = if self == Self::Service { 1 + random.zipf(30) as u32 } else { 1 };
            match self.of(id) {
                Self::Counter => payload.extend_from_slice(&n.to_le_bytes()),
                Self::Random => payload.extend_from_slice(&random.below(65_536).to_le_bytes()),
                Self::Mixed => {
                    payload.extend_from_slice(&n.to_le_bytes());
                    payload.extend_from_slice(&random.unit().to_le_bytes());
                    text("hello world", &mut payload);
                }
                Self::Structured | Self::Told | Self::Service => {
                    let told = self == Self::Told;
                    let tell = |kind: Kind, out: &mut Vec<u8>| {
                        out.extend(told.then_some(kind as u8));
                    };
                    tell(Kind::U64, &mut payload);
                    payload.extend_from_slice(&random.below(100_000).to_le_bytes());
                    tell(Kind::Str, &mut payload);
                    text(&paths[random.zipf(paths.len())], &mut payload);
                    tell(Kind::F64, &mut payload);
                    payload.extend_from_slice(&(random.unit() * 100.0).to_le_bytes());
                    tell(Kind::Bool, &mut payload);
                    payload.push((random.below(100) < 97) as u8);
                }
            }
            push(&mut out, id, 0, ticks, &payload);
        }
        out
    }
}

impl Schemas for Workload {
    fn definition_len(&self, _: u32) -> usize {
        0
    }

    fn schema(&self, id: u32) -> Option<Schema> {
        let kinds: Vec<u8> = self.of(id).kinds().iter().map(|&kind| kind as u8).collect();
        let known = Schema::new(&kinds, Level::Info);
        Some(if *self == Self::Told { Schema::dynamic(Level::Info) } else { known })
    }
}

/// Appends a record whose payload is padded with zeros.
pub(crate) fn push(out: &mut Vec<u8>, callsite: u32, flags: u8, ticks: u64, payload: &[u8]) {
    let words = payload.len().div_ceil(8);
    out.extend_from_slice(&Head::word(callsite, words as u16, 0, flags).to_le_bytes());
    out.extend_from_slice(&ticks.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len() + words * 8 - payload.len(), 0);
}

/// Appends a string as it lies in a payload.
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn paths() -> Vec<String> {
    let nouns = ["orders", "users", "carts", "items", "login"];
    (0..50).map(|n| format!("/api/v{}/{}", 1 + n / 5, nouns[n % 5])).collect()
}

/// A small generator of random numbers.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.any() % bound
    }

    /// A number in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An index below `count`, each half as likely as one of half its rank.
    pub(crate) fn zipf(&mut self, count: usize) -> usize {
        let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
        let mut left = self.unit() * total;
        for rank in 1..=count {
            left -= 1.0 / rank as f64;
            if left <= 0.0 {
                return rank - 1;
            }
        }
        count - 1
    }
}
