//! `ttlog recover FILE -O NEW`: what is whole in a damaged file, as a new one.

use std::io::Write as _;
use std::path::Path;

use ttlog::store::salvage::salvage;
use ttlog::store::segment::SegmentReader;

use crate::output::{self, Output};
use crate::ps::shown;
use crate::{EXIT_ERROR, Failure};

/// Writes the new file; tells damage, a line each as `ttlog verify` does, and the sum on standard
/// error.
pub(crate) fn run(from: &Path, to: &Path) -> Result<u8, Failure> {
    if from.is_dir() {
        let from = shown(from);
        return Err(Failure::Usage(format!(
            "{from} is a directory, and -O takes what is whole in one file; name a segment in it, or \
             leave -O out to take up what killed processes left"
        )));
    }
    let mut reader = SegmentReader::open(from)
        .map_err(|error| Failure::Other(format!("{}: {error}", shown(from))))?;
    let mut out = Output::new();
    let (mut n_damages, mut cost, mut told) = (0u64, Some(0u64), Ok(()));
    let salvaged = salvage(&mut reader, to, &mut |damage| {
        n_damages += 1;
        cost = cost.zip(damage.records).map(|(sum, records)| sum + records);
        // A reader that went away does not stop the work.
        if told.is_ok() {
            told = writeln!(out.buffer, "{}: {damage}", shown(from)).and_then(|()| out.pass());
        }
    });
    told.and_then(|()| out.flush())?;
    let salvaged = salvaged.map_err(|error| {
        Failure::Other(format!(
            "{} was not written: {error}; {} is as it was",
            shown(to),
            shown(from)
        ))
    })?;
    let cost = match (n_damages, cost) {
        (0, _) => "no damage".to_owned(),
        (n, Some(records)) => format!("{n} damaged places, which cost {records} events"),
        (n, None) => format!("{n} damaged places; how many events they cost is not known"),
    };
    output::note(&format!(
        "{}: {} events in {} whole blocks; {cost}",
        shown(to),
        salvaged.records,
        salvaged.blocks
    ));
    Ok(if n_damages > 0 { EXIT_ERROR } else { 0 })
}
