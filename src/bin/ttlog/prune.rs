//! `ttlog prune`: removes old segments; without `--apply` it only says which.

use std::io::Write as _;

use indicatif::BinaryBytes;
use ttlog::Keep;
use ttlog::render::escape::printable;
use ttlog::store::retention::{Doomed, Why};
use ttlog::upkeep::prune;
use ttlog::view;

use crate::args::PruneArgs;
use crate::output::Output;
use crate::{EXIT_ERROR, Failure, output, paths};

/// Tells what goes, a line each, and the sum on standard error.
pub(crate) fn run(args: &PruneArgs) -> Result<u8, Failure> {
    let keep = limits(args)?;
    let app = args.app.as_deref();
    let mut out = Output::new();
    let (mut failed, mut files, mut bytes) = (false, 0, 0);
    for dir in paths::given_or_default(&args.dirs.dirs)? {
        let (gone, refused) = match prune(&dir, app, &keep, args.apply) {
            Ok(pruned) => pruned,
            Err(error) => {
                failed = true;
                output::note(&view::Error::io(&dir, error).to_string());
                continue;
            }
        };
        for Doomed { stored, why } in gone {
            (files, bytes) = (files + 1, bytes + stored.bytes);
            let size = BinaryBytes(stored.bytes).to_string();
            let path = stored.path.to_string_lossy();
            writeln!(out.buffer, "{size:>12}  {:9}  {}", reason(why), printable(&path))?;
        }
        out.flush()?;
        for (path, error) in refused {
            failed = true;
            output::note(&format!("{}: {error}", printable(&path.to_string_lossy())));
        }
    }
    let size = BinaryBytes(bytes);
    output::note(&match (files, args.apply) {
        // What failed has been told, and may be all that there is.
        (0, _) if failed => return Ok(EXIT_ERROR),
        (0, _) => "everything is within these limits".into(),
        (n, true) => format!("removed {n} segments, {size}"),
        (n, false) => format!("would remove {n} segments, {size}; --apply does it"),
    });
    Ok(if failed { EXIT_ERROR } else { 0 })
}

fn limits(args: &PruneArgs) -> Result<Keep, Failure> {
    let mut keep = Keep::everything();
    if let Some(bytes) = args.max_size {
        keep = keep.total(bytes);
    }
    if let Some(age) = args.max_age {
        keep = keep.age(age);
    }
    if let Some(count) = args.max_files {
        keep = keep.count(count);
    }
    if let Some(bytes) = args.min_free {
        keep = keep.min_free(bytes);
    }
    if keep == Keep::everything() {
        return Err(Failure::Usage(
            "say what to keep, as in 'ttlog prune --max-size 2G --max-age 7d logs'".into(),
        ));
    }
    Ok(keep)
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Age => "max-age",
        Why::Count => "max-files",
        Why::Total => "max-size",
        Why::Free => "min-free",
    }
}
