//! Read: what a log directory holds, lanes and staging of dead processes included.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ttlog::lane::outside;
use ttlog::record::compact::Decoder;
use ttlog::record::{Definitions, HEAD_BYTES, Head, Losses, RawRun, Role, Value, Values};
use ttlog::store::block;
use ttlog::store::segment::{Entry, SegmentReader};

use super::mix;

/// An event of the rigs, checked against its sum and its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) run: u64,
    pub(crate) t: u64,
    pub(crate) n: u64,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct ReadBack {
    /// The rigs' events, in the order in which they were logged.
    pub(crate) events: Vec<Event>,
    /// Messages of other events.
    pub(crate) others: Vec<String>,
    /// Losses told, by cause.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Anything that should not be: damage, an event whose sum is wrong.
    pub(crate) wrong: Vec<String>,
}

impl ReadBack {
    pub(crate) fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// Reads a log directory.
pub(crate) fn read_back(dir: &Path) -> ReadBack {
    in_process(dir)
}

/// (logger, lane, generation) of a run.
type Key = (u64, u32, u32);

#[derive(Default)]
struct Gather {
    runs: Vec<(Key, RawRun, usize)>,
    definitions: Vec<Definitions>,
    out: ReadBack,
}

fn in_process(dir: &Path) -> ReadBack {
    let mut gather = Gather::default();
    let (found, notes) = outside::owners(dir).expect("the directory");
    gather.out.wrong.extend(notes);
    for found in found {
        match outside::snapshot(&found.owner) {
            Ok(snapshot) => {
                gather.out.wrong.extend(snapshot.notes);
                gather.definitions.push(snapshot.definitions);
                let at = gather.definitions.len() - 1;
                for run in snapshot.runs {
                    let key = (found.owner.logger, run.head.lane, run.head.generation);
                    gather.runs.push((key, run, at));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => gather.out.wrong.push(format!("{}: {error}", found.path.display())),
        }
    }
    for entry in std::fs::read_dir(dir).expect("the directory").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "ttlog") {
            gather.segment(&entry.path());
        }
    }
    gather.finish()
}

impl Gather {
    fn segment(&mut self, path: &Path) {
        let mut reader = match SegmentReader::open(path) {
            Ok(reader) => reader,
            // A segment whose header is not written yet holds nothing.
            Err(_) if std::fs::metadata(path).is_ok_and(|meta| meta.len() == 0) => return,
            Err(error) => return self.out.wrong.push(format!("{}: {error}", path.display())),
        };
        let logger = reader.header().logger;
        while let Some(entry) = reader.next_entry().expect("the disk answers") {
            let at = match entry {
                Entry::Block(at) => at,
                Entry::Damage(damage) => {
                    self.out.wrong.push(format!("{}: {damage:?}", path.display()));
                    continue;
                }
                _ => continue,
            };
            let mut payload = Vec::new();
            if at.header.kind != block::KIND_EVENTS {
                continue;
            }
            reader.read_block(&at, &mut payload).expect("a whole block");
            let sections = block::sections(&payload, &at.header).expect("a whole payload");
            let mut definitions = Definitions::default();
            definitions.decode_all(sections.definitions);
            self.definitions.push(definitions);
            let nth = self.definitions.len() - 1;
            for run in Decoder::new(sections.runs, &self.definitions[nth]) {
                let run = run.expect("a whole run");
                self.runs.push(((logger, run.head.lane, run.head.generation), run, nth));
            }
        }
    }

    fn finish(mut self) -> ReadBack {
        let mut losses: HashMap<Key, Losses> = HashMap::new();
        self.runs.sort_by_key(|(key, run, _)| (*key, run.head.position, run.head.end));
        let mut seen: HashMap<Key, u64> = HashMap::new();
        let mut events: Vec<(u64, u32, u64, Event)> = Vec::new();
        for (key, run, definitions) in &self.runs {
            let told = losses.entry(*key).or_default();
            if run.head.losses.total() > told.total() {
                *told = run.head.losses;
            }
            let until = seen.entry(*key).or_default();
            let (mut position, mut rest) = (run.head.position, &run.bytes[..]);
            while let Some(head) = Head::read(rest) {
                if position >= *until {
                    let payload = &rest[HEAD_BYTES..head.len()];
                    match event(&head, payload, &self.definitions[*definitions]) {
                        Ok(event) => events.push((head.ticks, key.2, position, event)),
                        Err(Other::Message(message)) => self.out.others.push(message),
                        Err(Other::Wrong(why)) => self.out.wrong.push(why),
                    }
                }
                position += head.len() as u64;
                rest = &rest[head.len()..];
            }
            *until = (*until).max(position).max(run.head.end);
        }
        // A thread's ticks never go back; lanes of one thread follow by generation.
        events.sort_by_key(|(ticks, generation, position, _)| (*ticks, *generation, *position));
        self.out.events = events.into_iter().map(|(.., event)| event).collect();
        for (cause, _, count) in losses.values().flat_map(Losses::iter) {
            *self.out.lost.entry(cause.as_str().to_owned()).or_default() += count;
        }
        self.out
    }
}

enum Other {
    Message(String),
    Wrong(String),
}

fn event(head: &Head, payload: &[u8], definitions: &Definitions) -> Result<Event, Other> {
    let wrong = |why: String| Err(Other::Wrong(why));
    let Some(definition) = definitions.get(head.callsite) else {
        return wrong(format!("an event of the unknown callsite {}", head.callsite));
    };
    let mut numbers = HashMap::new();
    let (mut text, mut message) = (None, String::new());
    let mut values = Values::new(definition, head, payload);
    for (field, value) in values.by_ref() {
        match value {
            Value::U64(number) => drop(numbers.insert(field.name.as_str(), number)),
            Value::Text(value) if field.role == Role::Field => text = Some(value.to_owned()),
            Value::Text(value) => message = value.to_owned(),
            _ => {}
        }
    }
    if values.is_damaged() {
        return wrong(format!("a damaged event of {}:{}", definition.file, definition.line));
    }
    let get = |name| numbers.get(name).copied();
    let (Some(run), Some(t), Some(n), Some(sum)) = (get("run"), get("t"), get("n"), get("sum"))
    else {
        return Err(Other::Message(definition.template.clone().unwrap_or(message)));
    };
    if sum != mix::sum(run, t, n) || text.is_some_and(|text| text != mix::text(n)) {
        return wrong(format!("an invented event: run {run} t {t} n {n} sum {sum}"));
    }
    Ok(Event { run, t, n })
}
