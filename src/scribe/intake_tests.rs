//! What intake does about a lane that the program itself has written over.

use std::sync::Arc;

use super::batch::Batch;
use super::intake::{Intake, Taken};
use crate::lane::catalog::{Catalog, CatalogView};
use crate::lane::full::OnFull;
use crate::lane::lanes::{FIRST_BYTES, Lanes, LanesSetup};
use crate::lane::place::{LanesChoice, Place};
use crate::lane::ring::Room;
use crate::lane::staging::Staging;
use crate::record::compact::Encoder;
use crate::record::{CODEC_COMPACT, Cause, Definition, HEAD_BYTES, Head, Level, RECORD_EVENT};

const KNOWN: u32 = 1;

fn lanes() -> Lanes {
    let (place, _) = Place::create(&LanesChoice::Private, 5, 64 << 20, 0).unwrap();
    let on_full = OnFull::default();
    let setup = LanesSetup { serial: 1, logger: 5, place, lane_bytes: FIRST_BYTES, on_full };
    Lanes::new(setup).unwrap().0
}

fn write(lanes: &Lanes, callsite: u32, says_words: u16) {
    let wrote = lanes.common.with(|producer| {
        assert!(matches!(producer.refill(HEAD_BYTES), Room::Open { .. }));
        producer.write(lanes.serial, HEAD_BYTES, |out: &mut [u8]| {
            out.copy_from_slice(&Head::encode(callsite, says_words, RECORD_EVENT, 0, 7));
        })
    });
    assert_eq!(wrote, Some(true));
}

/// A catalog that knows one callsite.
fn catalog(lanes: &Lanes) -> Arc<Catalog> {
    let catalog = Arc::new(Catalog::default());
    let known = Definition {
        id: KNOWN,
        level: Level::Info,
        dynamic: false,
        target: String::new(),
        name: String::new(),
        file: String::new(),
        line: 0,
        module: String::new(),
        template: None,
        fields: Vec::new(),
    };
    assert!(catalog.define(&known, &lanes.place));
    catalog
}

#[test]
fn records_that_cannot_be_read_are_told_as_lost_and_the_others_are_kept() {
    let lanes = lanes();
    let catalog = catalog(&lanes);
    let mut intake = Intake::new(lanes.common.lane());
    let mut staging = Staging::new(&lanes, 3).unwrap();
    let (mut encoder, view) = (Encoder::new(), CatalogView::new(catalog));
    let mut batch = Batch::new(staging.take(&lanes).unwrap(), &mut encoder);
    let take = |intake: &mut Intake, batch: &mut Batch, encoder: &mut Encoder| {
        let until = intake.look();
        intake.take(until, batch, encoder, &view, CODEC_COMPACT)
    };
    let lost = || lanes.losses().0.get(Cause::Damaged, Level::Error);
    write(&lanes, KNOWN, 0);
    assert_eq!(take(&mut intake, &mut batch, &mut encoder), Taken::All);
    assert_eq!((lost(), intake.take_lost()), (0, 0));
    // A length that leads beyond what is there: where the next one begins is not known.
    write(&lanes, KNOWN, 5000);
    write(&lanes, KNOWN, 0);
    assert_eq!(take(&mut intake, &mut batch, &mut encoder), Taken::All);
    assert_eq!((lost(), intake.take_lost(), intake.is_empty()), (1, 1, true));
    write(&lanes, KNOWN, 0);
    assert_eq!(take(&mut intake, &mut batch, &mut encoder), Taken::All);
    assert_eq!((lost(), intake.is_empty()), (1, true));
}

#[test]
fn a_loss_that_is_told_behind_short_records_does_not_make_them_long() {
    let lanes = lanes();
    let mut intake = Intake::new(lanes.common.lane());
    let mut staging = Staging::new(&lanes, 3).unwrap();
    let (mut encoder, view) = (Encoder::new(), CatalogView::new(catalog(&lanes)));
    let mut batch = Batch::new(staging.take(&lanes).unwrap(), &mut encoder);
    for n in 1..4 {
        write(&lanes, KNOWN, 0);
        intake.lane.count_loss(Cause::Full, Level::Info, n);
        let until = intake.look();
        let taken = intake.take(until, &mut batch, &mut encoder, &view, CODEC_COMPACT);
        assert_eq!((taken, intake.take_lost(), intake.is_empty()), (Taken::All, n, true));
        assert!(!intake.is_long, "the next flood's lines are looked at");
    }
}
