//! Records that repeat, as those of most programs do, come back byte for byte too, also where they
//! cease to repeat: the encoder has a way of its own for them.

use crate::compact::{joined, round_trip};
use crate::workload::{Random, push, text};
use proptest::prelude::*;
use ttlog::record::compact::{Schema, Schemas};
use ttlog::record::{
    CODEC_COMPACT, CODEC_RAW, FLAG_DYNAMIC, FLAG_SPAN, FLAG_THREAD, Kind, Level, RunHead,
};

/// Callsites from 1 on, by the kinds of their values; the last one tells kinds itself.
const CALLSITES: [&[u8]; 10] = [
    &[Kind::U64 as u8, Kind::F64 as u8, Kind::Str as u8],
    &[Kind::U64 as u8, Kind::Str as u8, Kind::F64 as u8, Kind::Bool as u8],
    &[Kind::Str as u8],
    &[Kind::Str as u8, Kind::Bytes as u8, Kind::Str as u8, Kind::Text as u8],
    &[Kind::U16 as u8, Kind::I32 as u8, Kind::Duration as u8, Kind::U128 as u8, Kind::F32 as u8],
    &[Kind::Str as u8 | Kind::OPTIONAL, Kind::U64 as u8 | Kind::OPTIONAL, Kind::Bool as u8],
    &[Kind::U8 as u8, Kind::I16 as u8, Kind::U8 as u8, Kind::F64 as u8, Kind::F64 as u8],
    &[Kind::Str as u8; 5],
    &[Kind::Empty as u8, Kind::Str as u8, Kind::Char as u8],
    &[],
];
const TOLD: u32 = CALLSITES.len() as u32;

struct Sites;

impl Schemas for Sites {
    fn definition_len(&self, _: u32) -> usize {
        0
    }

    fn schema(&self, id: u32) -> Option<Schema> {
        let kinds = CALLSITES.get(id.checked_sub(1)? as usize)?;
        let known = Schema::new(kinds, Level::Warn);
        Some(if id == TOLD { Schema::dynamic(Level::Info) } else { known })
    }
}

/// What a program logs: each callsite has its habits, which seldom change.
struct Program {
    random: Random,
    ticks: u64,
    /// One in so many texts is not the usual one.
    rarity: u64,
    /// Callsites that occur.
    sites: u64,
    /// Counts texts that never come again.
    n_unique: u64,
    habits: [u64; CALLSITES.len() + 1],
}

impl Program {
    fn value(&mut self, kind: u8, habit: u64, out: &mut Vec<u8>) {
        if kind & Kind::OPTIONAL != 0 {
            let is_odd = self.random.below(self.rarity) == 0;
            let present = (habit & 1 == 0) != is_odd;
            out.push(u8::from(present));
            if !present {
                return;
            }
        }
        let number = match self.random.below(8) {
            0 => self.random.any(),
            _ => self.random.below(1000),
        };
        match Kind::from_u8(kind & !Kind::OPTIONAL).unwrap() {
            Kind::Str | Kind::Text | Kind::Bytes => {
                let usual = "text that is usual".repeat(3);
                let usual = &usual[..(habit * 7 % 30) as usize];
                match self.random.below(self.rarity) {
                    0 => text(&format!("other {}", self.random.below(300)), out),
                    1 => {
                        self.n_unique += 1;
                        text(&format!("text of the one {}", self.n_unique), out);
                    }
                    2 => text(&usual.replace('t', "T"), out),
                    _ => text(usual, out),
                }
            }
            Kind::Empty => {}
            Kind::U8 | Kind::Bool => out.push(number as u8),
            Kind::U16 | Kind::I16 => out.extend_from_slice(&(number as u16).to_le_bytes()),
            Kind::I32 | Kind::F32 | Kind::Char => {
                out.extend_from_slice(&(number as u32).to_le_bytes());
            }
            Kind::U128 => out.extend_from_slice(&u128::from(number).to_le_bytes()),
            Kind::Duration => {
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&(number as u32).to_le_bytes());
            }
            _ => out.extend_from_slice(&number.to_le_bytes()),
        }
    }

    fn record(&mut self, out: &mut Vec<u8>) {
        let id = 1 + self.random.below(self.sites) as u32 * 7 % TOLD;
        if self.random.below(300) == 0 {
            self.habits[id as usize] = self.random.below(9);
        }
        let habit = self.habits[id as usize];
        let mut flags = if habit == 8 { FLAG_SPAN } else { 0 };
        let mut payload = Vec::new();
        if habit == 7 {
            flags |= FLAG_THREAD;
            payload.extend_from_slice(&77u64.to_le_bytes());
        }
        if flags & FLAG_SPAN != 0 {
            payload.extend_from_slice(&self.random.below(50).to_le_bytes());
        }
        let kinds = match id {
            TOLD => CALLSITES[(habit % 3 + 4) as usize],
            _ => CALLSITES[id as usize - 1],
        };
        let tells = id == TOLD || habit == 6;
        if tells && id != TOLD {
            flags |= FLAG_DYNAMIC;
        }
        for (i, &kind) in kinds.iter().enumerate() {
            if tells {
                payload.push(kind);
            }
            self.value(kind, habit + i as u64 % 2, &mut payload);
        }
        let start = out.len();
        self.ticks = match self.random.below(400) {
            0 => self.ticks.wrapping_sub(self.random.below(1000)),
            _ => self.ticks + self.random.below(100),
        };
        push(out, id, flags, self.ticks, &payload);
        let len = out.len() - start;
        if self.random.below(200) == 0 && len > 16 {
            // As no program would write it: padding, lengths, kinds.
            let at = start + 16 + self.random.below(len as u64 - 16) as usize;
            out[at] ^= 1 << self.random.below(8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn records_that_repeat_and_cease_to_come_back_equal(
        seed: u64,
        rarity in 3..200u64,
        sites in 1..=u64::from(TOLD),
        block_bytes in 4_000..120_000usize,
    ) {
        let (random, habits) = (Random(seed), [0; CALLSITES.len() + 1]);
        let mut program = Program { random, ticks: 1 << 40, rarity, sites, n_unique: 0, habits };
        let runs: Vec<_> = (0..12).map(|lane| {
            let mut bytes = Vec::new();
            for _ in 0..program.random.below(800) {
                program.record(&mut bytes);
            }
            let codec = if program.random.below(5) == 0 { CODEC_RAW } else { CODEC_COMPACT };
            (RunHead { lane, ..RunHead::default() }, bytes, codec)
        }).collect();
        let back = round_trip(&Sites, &runs, block_bytes);
        for (head, bytes, _) in &runs {
            let of_lane: Vec<_> =
                back.iter().filter(|run| run.head.lane == head.lane).cloned().collect();
            prop_assert!(joined(&of_lane) == *bytes, "lane {}", head.lane);
        }
    }
}

#[test]
fn a_slot_that_was_given_away_is_not_taken_for_what_it_held() {
    // More and more other texts between those that repeat, which take some slots of them, then all.
    let mut bytes = Vec::new();
    let mut ticks = 1000;
    for round in 0..60u64 {
        for n in 0..150u64 {
            let mut payload = Vec::new();
            for part in ["one", "two of them", "the third", "another"] {
                text(part, &mut payload);
            }
            ticks += n;
            push(&mut bytes, 4, 0, ticks, &payload);
        }
        for n in 0..round * 6 {
            let mut payload = Vec::new();
            text(&format!("{round} {n} of many"), &mut payload);
            push(&mut bytes, 3, 0, ticks, &payload);
        }
    }
    let runs = [(RunHead::default(), bytes.clone(), CODEC_COMPACT)];
    let back = round_trip(&Sites, &runs, 1 << 20);
    assert!(joined(&back) == bytes);
}
