//! Reading: order, once, losses, damage, filters and memory, over files made byte by byte.

mod common;

use common::{Lane, NUMBER, START_NS, Writer};
use proptest::prelude::*;
use ttlog::record::{Anchor, CODEC_RAW, Cause, Level, Losses, RawRun};
use ttlog::view::{Item, Query, Source, Value};

/// The numbers in the messages, losses as `-count`, damage as a panic.
fn numbers(source: &Source, query: &Query) -> Vec<i64> {
    let mut numbers = Vec::new();
    for item in source.query(query) {
        match item.expect("the sample can be read") {
            Item::Record(record) => {
                let message = record.message();
                numbers
                    .push(message.strip_prefix("n=").map_or(0, |n| n.parse().expect("a number")));
            }
            Item::Lost(lost) => numbers.push(-(lost.losses().total() as i64)),
            other => panic!("{other:?}"),
        }
    }
    numbers
}

fn counting(lane: u32, from: u64, to: u64, step: u64) -> Lane {
    let mut log = Lane::new(lane, &format!("t{lane}"));
    for n in (from..to).step_by(step as usize) {
        log.number(n * 1_000, n);
    }
    log
}

#[test]
fn lanes_loggers_and_files_are_merged_by_ticks() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = [0, 1, 2].map(|n| counting(n, n.into(), 3_000, 3));
    let mut first = Writer::new(1);
    first.runs_bytes = 2_000;
    first.write(dir.path(), &[vec![a.run(0, 400), b.run(0, 300)], vec![b.run(300, 700)]]);
    first.write(dir.path(), &[vec![a.run(400, 1_000)], vec![b.run(700, 1_000)]]);
    Writer::new(2).write(dir.path(), &[vec![c.all()]]);
    let source = Source::open(dir.path()).unwrap();
    let expected: Vec<i64> = (0..3_000).collect();
    assert_eq!(numbers(&source, &Query::new()), expected);
    let backwards: Vec<i64> = (0..3_000).rev().collect();
    assert_eq!(numbers(&source, &Query::new().reverse()), backwards);
}

/// Clocks of loggers that record lines may have no more than seconds.
#[test]
fn equal_times_of_several_loggers_and_boots_are_reversed_too() {
    let dir = tempfile::tempdir().unwrap();
    for logger in 1..5 {
        let mut lane = Lane::new(0, "t0");
        (0..20).for_each(|n| lane.number(n / 5 * 1_000, 100 * logger + n));
        let mut writer = Writer::new(logger);
        writer.header.boot = [logger as u8 / 3; 16];
        let from = logger as usize;
        writer.write(dir.path(), &[vec![lane.run(0, from)], vec![lane.run(from, 20)]]);
    }
    let source = Source::open(dir.path()).unwrap();
    let forward = numbers(&source, &Query::new());
    let mut backwards = numbers(&source, &Query::new().reverse());
    backwards.reverse();
    assert_eq!((forward.len(), forward), (80, backwards));
}

#[test]
fn boots_are_merged_by_utc() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (counting(0, 0, 100, 2), counting(0, 1, 100, 2));
    Writer::new(1).write(dir.path(), &[vec![a.all()]]);
    let mut other = Writer::new(2);
    other.header.boot = [8; 16];
    // Its ticks began a million later at the same time of day.
    for anchor in &mut other.anchors {
        anchor.wall_ns -= 1_000_000;
    }
    let mut shifted = Lane::new(0, "t");
    for n in 0..b.len() as u64 {
        let n = n * 2 + 1;
        shifted.number(n * 1_000 + 1_000_000, n);
    }
    other.write(dir.path(), &[vec![shifted.all()]]);
    let source = Source::open(dir.path()).unwrap();
    assert_eq!(numbers(&source, &Query::new()), (0..100).collect::<Vec<_>>());
}

#[test]
fn order_within_a_boot_stands_though_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let lane = counting(0, 0, 1_000, 1);
    let mut writer = Writer::new(1);
    writer.write(dir.path(), &[vec![lane.run(0, 500)]]);
    for anchor in &mut writer.anchors {
        anchor.wall_ns -= 3_600_000_000_000;
    }
    writer.write(dir.path(), &[vec![lane.run(500, 1_000)]]);
    let source = Source::open(dir.path()).unwrap();
    assert_eq!(numbers(&source, &Query::new()), (0..1_000).collect::<Vec<_>>());
    let backwards: Vec<i64> = (0..1_000).rev().collect();
    assert_eq!(numbers(&source, &Query::new().reverse()), backwards);
}

#[test]
fn events_are_found_by_their_time_where_the_clock_was_set_back_within_a_block() {
    const SECOND: i64 = 1_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "t0");
    (0..20).for_each(|n| lane.number(n * SECOND as u64, n));
    let mut writer = Writer::new(1);
    let set_back = 10 * SECOND as u64 + 1;
    writer.anchors.insert(1, Anchor { ticks: set_back - 1, ..writer.anchors[0] });
    writer.anchors.insert(2, Anchor { ticks: set_back, ..writer.anchors[0] });
    for anchor in &mut writer.anchors[1..] {
        let hour_ns = if anchor.ticks < set_back { 0 } else { 3600 * SECOND };
        (anchor.mono_ns, anchor.wall_ns) =
            (anchor.ticks, START_NS + anchor.ticks.cast_signed() - hour_ns);
    }
    writer.write(dir.path(), &[vec![lane.all()]]);
    let source = Source::open(dir.path()).unwrap();
    assert_eq!(numbers(&source, &Query::new()), (0..20).collect::<Vec<_>>());
    let since = Query::new().since_ns(START_NS + 5 * SECOND);
    assert_eq!(numbers(&source, &since), (5..=10).collect::<Vec<_>>());
    let until = Query::new().until_ns(START_NS - 1800 * SECOND);
    assert_eq!(numbers(&source, &until), (11..20).collect::<Vec<_>>());
}

/// What a thread spilled is read by its own time, which may be behind that of the block that tells
/// a loss.
#[test]
fn losses_wait_for_earlier_records_that_lie_in_another_file() {
    let lane = counting(0, 0, 30, 1);
    let mut losses = Losses::NONE;
    losses.add(Cause::Full, Level::Info, 4);
    let losing = lane.clone().losing(losses);
    let mut alone = losing.run(20, 20);
    alone.bytes.clear();
    for goes_on in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(1);
        writer.write(dir.path(), &[vec![lane.run(0, 10), alone.clone()]]);
        let mut spilled = vec![vec![lane.run(10, 20)]];
        spilled.extend(goes_on.then(|| vec![losing.run(20, 30)]));
        writer.write(dir.path(), &spilled);
        let mut expected: Vec<i64> = (0..if goes_on { 30 } else { 20 }).collect();
        expected.insert(20, -4);
        let source = Source::open(dir.path()).unwrap();
        assert_eq!(numbers(&source, &Query::new()), expected);
        // Newest first it may be shown late, and is shown once.
        let (lost, shown): (Vec<i64>, Vec<i64>) =
            numbers(&source, &Query::new().reverse()).into_iter().partition(|n| *n < 0);
        expected.retain(|n| *n >= 0);
        expected.reverse();
        assert_eq!((lost, shown), (vec![-4], expected));
    }
}

/// A reading that begins at a time passes over what told earlier losses.
#[test]
fn losses_before_the_time_that_is_asked_for_are_not_told_as_news() {
    let dir = tempfile::tempdir().unwrap();
    let mut seconds = Lane::new(0, "t0");
    (0..30).for_each(|n| seconds.number(n * 1_000_000_000, n));
    let losing = |count| {
        let mut losses = Losses::NONE;
        losses.add(Cause::Full, Level::Info, count);
        seconds.clone().losing(losses)
    };
    let runs = [seconds.run(0, 10), losing(1_000).run(10, 20), losing(1_001).run(20, 30)];
    let blocks: Vec<_> = runs.into_iter().map(|run| vec![run]).collect();
    Writer::new(1).write(dir.path(), &blocks);
    let source = Source::open(dir.path()).unwrap();
    let since = Query::new().since_ns(START_NS + 20_000_000_000);
    let expected: Vec<i64> = [-1].into_iter().chain(20..30).collect();
    assert_eq!(numbers(&source, &since), expected);
}

/// `ttlog record` takes lines that tell any time: they stay in their order, each with its own.
#[test]
fn an_event_has_its_own_time_though_its_order_is_that_of_its_lane() {
    let dir = tempfile::tempdir().unwrap();
    let ticks = [5_000, 9_000_000_000, 1_000, 0, 7_000];
    let mut lane = Lane::new(0, "t0");
    ticks.iter().zip(0..).for_each(|(ticks, n)| lane.number(*ticks, n));
    Writer::new(1).write(dir.path(), &[vec![lane.run(0, 3)], vec![lane.run(3, 5)]]);
    let source = Source::open(dir.path()).unwrap();
    let times = |query: &Query| {
        let items = source.query(query).map(Result::unwrap);
        let time = |item| match item {
            Item::Record(record) => record.time_ns() - START_NS,
            other => panic!("{other:?}"),
        };
        items.map(time).collect::<Vec<_>>()
    };
    let mut expected = ticks.map(u64::cast_signed);
    assert_eq!(times(&Query::new()), expected);
    let (from, to) = (1_000, 9_000);
    let between = Query::new().since_ns(START_NS + from).until_ns(START_NS + to);
    assert_eq!(times(&between), [5_000, 1_000, 7_000]);
    expected.reverse();
    assert_eq!(times(&Query::new().reverse()), expected);
}

#[test]
fn losses_stand_where_the_events_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let lane = counting(0, 0, 30, 1);
    let lost = |count| {
        let mut losses = Losses::NONE;
        losses.add(Cause::Full, Level::Info, count);
        lane.clone().losing(losses)
    };
    let mut empty = lost(7).run(20, 20);
    empty.bytes.clear();
    let runs = vec![lane.run(0, 10), lost(4).run(10, 20), empty, lost(7).run(20, 30)];
    let blocks: Vec<Vec<RawRun>> = runs.into_iter().map(|run| vec![run]).collect();
    Writer::new(1).write(dir.path(), &blocks);
    let source = Source::open(dir.path()).unwrap();
    let mut expected: Vec<i64> = (0..30).collect();
    expected.insert(20, -3);
    expected.insert(10, -4);
    assert_eq!(numbers(&source, &Query::new()), expected);
    expected.reverse();
    assert_eq!(numbers(&source, &Query::new().reverse()), expected);
    let warn = Query::new().level(Level::Warn);
    assert_eq!(numbers(&source, &warn), [] as [i64; 0], "the lost ones were INFO");
}

#[test]
fn filters_keep_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = counting(0, 0, 10, 1);
    for n in 10..20 {
        lane.request(n * 1_000, "done", n);
    }
    Writer::new(1).write(dir.path(), &[vec![lane.run(0, 5)], vec![lane.run(5, 20)]]);
    let source = Source::open(dir.path()).unwrap();
    let count = |query: &Query| source.query(query).count();
    assert_eq!(count(&Query::new()), 20);
    assert_eq!(count(&Query::new().level(Level::Warn)), 10);
    assert_eq!(count(&Query::new().levels(Level::Trace, Level::Info)), 10);
    assert_eq!(count(&Query::new().target("app::ht*")), 10);
    assert_eq!(count(&Query::new().target("app")), 20);
    assert_eq!(count(&Query::new().target("db")), 0);
    assert_eq!(count(&Query::new().since_ns(START_NS + 5_000)), 15);
    assert_eq!(count(&Query::new().until_ns(START_NS + 5_000)), 5);
    let window = Query::new().since_ns(START_NS + 3_000).until_ns(START_NS + 12_000);
    assert_eq!(count(&window), 9);
    let Some(Ok(Item::Record(record))) = source.query(&Query::new().level(Level::Warn)).next()
    else {
        panic!("no record")
    };
    assert_eq!(record.field("user.id"), Some(10.into()));
    assert_eq!(record.fields().collect::<Vec<_>>(), [("user.id", Value::from(10u8))]);
    assert_eq!((record.message(), record.target()), ("done".into(), "app::http"));
    assert_eq!((record.thread(), record.pid()), ((100, "t0"), 4242));
    assert_eq!((record.file(), record.line()), (Some("src/db.rs"), Some(17)));
    assert_eq!(record.time_ns(), START_NS + 10_000);
}

#[test]
fn a_damaged_block_is_an_item_and_its_cost_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let lane = counting(0, 0, 300, 1);
    let mut writer = Writer::new(1);
    let blocks = [vec![lane.run(0, 100)], vec![lane.run(100, 200)], vec![lane.run(200, 300)]];
    let path = writer.write(dir.path(), &blocks);
    let bytes = std::fs::read(&path).unwrap();
    let block_len = (bytes.len() - 1024) / 4;
    // Of a payload the header still tells the cost, of a header only the numbers around it do.
    for at in [1024 + block_len + 200, 1024 + block_len] {
        let mut bad = bytes.clone();
        let second = (1024..bad.len()).step_by(64).filter(|at| bad[*at..].starts_with(b"TTLB"));
        let second = second.collect::<Vec<_>>()[1];
        let at = if at == 1024 + block_len { second } else { second + 100 };
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let mut lost = 0;
        let mut events = 0;
        for item in Source::open(dir.path()).unwrap().query(&Query::new()) {
            match item.unwrap() {
                Item::Damage(damage) => lost += damage.records.unwrap_or(0),
                Item::Record(_) => events += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((events, lost), (200, 100), "byte {at}");
        let damages = Source::open(dir.path()).unwrap().verify().count();
        assert!(damages >= 1);
    }
}

#[test]
fn many_overlapping_loggers_do_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let n_loggers = 60;
    for logger in 0..n_loggers {
        let lane = counting(0, logger, 20_000 * n_loggers, n_loggers);
        let mut writer = Writer::new(logger + 1);
        writer.runs_bytes = 256 << 10;
        writer.codec = CODEC_RAW;
        writer.write(dir.path(), &[vec![lane.all()]]);
    }
    let source = Source::open(dir.path()).unwrap();
    let mut expected = 0;
    for item in source.query(&Query::new()) {
        let Item::Record(record) = item.unwrap() else { panic!("no record") };
        assert_eq!(record.message(), format!("n={expected}"));
        expected += 1;
    }
    assert_eq!(expected, 20_000 * n_loggers);
}

#[test]
fn a_segment_that_goes_while_it_is_read_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let lane = counting(0, 0, 100_000, 1);
    let mut writer = Writer::new(1);
    let paths: Vec<_> = (0..50)
        .map(|n| writer.write(dir.path(), &[vec![lane.run(n * 2_000, (n + 1) * 2_000)]]))
        .collect();
    let mut items = Source::open(dir.path()).unwrap().query(&Query::new());
    assert!(matches!(items.next(), Some(Ok(Item::Record(_)))));
    // As retention removes, and packing replaces.
    std::fs::remove_file(&paths[40]).unwrap();
    std::fs::rename(&paths[45], dir.path().join("renamed.ttlog")).unwrap();
    let mut events = 1;
    for item in items {
        match item.unwrap() {
            Item::Record(_) => events += 1,
            Item::Damage(damage) => assert!(damage.is_gap, "{damage}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, 98_000);
}

/// A spill file becomes a segment, a segment is packed: what a follower passed over stays passed over.
#[test]
fn a_follower_does_not_show_what_it_passed_over_when_that_gets_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = Lane::new(0, "t0");
    (0..30).for_each(|n| lane.number(n * 1_000_000_000, n));
    let mut writer = Writer::new(1);
    let blocks = [vec![lane.run(0, 10)], vec![lane.run(10, 20)]];
    let segment = writer.write(dir.path(), &blocks);
    let spill = segment.with_extension("ttspill");
    std::fs::rename(&segment, &spill).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let mut items = source.follow(&Query::new(), START_NS + 18_000_000_000);
    let mut shown = || {
        items.refresh(i64::MAX);
        let number = |item: Result<Item, _>| match item.unwrap() {
            Item::Record(record) => record.message().into_owned(),
            other => panic!("{other:?}"),
        };
        items.by_ref().map(number).collect::<Vec<_>>()
    };
    assert_eq!(shown(), ["n=18", "n=19"]);
    std::fs::rename(&spill, &segment).unwrap();
    assert_eq!(shown(), [""; 0]);
    writer.write(dir.path(), &[vec![lane.run(20, 22)]]);
    assert_eq!(shown(), ["n=20", "n=21"]);
}

/// Somebody removes the segment that is written, and its logger makes it again.
#[test]
fn a_follower_goes_on_in_the_file_that_takes_the_name_of_a_removed_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sample-20261121T100000Z-0000000000000001-1.ttlog");
    let lane = counting(0, 0, 20, 1);
    std::fs::write(&path, Writer::new(1).bytes(&[vec![lane.run(0, 10)]], false)).unwrap();
    let mut items = Source::open(dir.path()).unwrap().follow(&Query::new(), i64::MIN);
    let mut shown = || {
        items.refresh(i64::MAX);
        items.by_ref().filter(|item| matches!(item, Ok(Item::Record(_)))).count()
    };
    assert_eq!(shown(), 10);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(shown(), 0);
    std::fs::write(&path, Writer::new(1).bytes(&[vec![lane.run(10, 20)]], false)).unwrap();
    assert_eq!(shown(), 10);
}

#[test]
fn records_of_an_unknown_callsite_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut lane = counting(0, 0, 3, 1);
    lane.push(&common::record(NUMBER + 77, 9_000, &[]));
    let mut writer = Writer::new(1);
    writer.codec = CODEC_RAW;
    writer.write(dir.path(), &[vec![lane.all()]]);
    let items: Vec<Item> =
        Source::open(dir.path()).unwrap().query(&Query::new()).map(Result::unwrap).collect();
    assert_eq!(items.len(), 4);
    assert!(matches!(&items[3], Item::Damage(damage) if damage.records == Some(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// S2: however the records of lanes are cut into runs that overlap, and spread over files of
    /// their logger, each is read once and in its order.
    #[test]
    fn any_overlapping_runs_read_back_once_in_order(
        cuts in proptest::collection::vec((0usize..2, 0usize..200, 1usize..60, 0usize..3), 0..30),
        spare in 0usize..3,
        reverse: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let lanes = [counting(0, 0, 400, 2), counting(1, 1, 400, 2)];
        let mut blocks = vec![Vec::new(); 3];
        for (lane, from, len, file) in cuts {
            blocks[file].push(vec![lanes[lane].run(from, (from + len).min(200))]);
        }
        // Whatever the cuts left out is in one of the files too.
        blocks[spare].push(vec![lanes[0].all(), lanes[1].all()]);
        let mut writer = Writer::new(1);
        for blocks in &blocks {
            writer.write(dir.path(), blocks);
        }
        let source = Source::open(dir.path()).unwrap();
        let query = if reverse { Query::new().reverse() } else { Query::new() };
        let mut found = numbers(&source, &query);
        if reverse {
            found.reverse();
        }
        prop_assert_eq!(found, (0..400).collect::<Vec<i64>>());
    }
}
