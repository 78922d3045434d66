//! Scope: the filters in use that grant what is inside of spans, by logger.
//!
//! Spans of every front end ask here when they are opened, given values or entered. Without such a
//! filter that is one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use super::filter::Filter;

type Filters = Vec<(u32, Arc<Filter>)>;

static FILTERS: ArcSwapOption<Filters> = ArcSwapOption::const_empty();
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// True while a filter in use grants anything.
#[inline]
pub(crate) fn is_any() -> bool {
    // ord: Relaxed, a hint: what it is about is loaded behind it.
    COUNT.load(Ordering::Relaxed) != 0
}

/// The filter of a logger, if it grants anything.
#[inline]
pub(crate) fn of(serial: u32) -> Option<Arc<Filter>> {
    if is_any() { find(serial) } else { None }
}

#[cold]
fn find(serial: u32) -> Option<Arc<Filter>> {
    let filters = FILTERS.load();
    let (_, filter) = filters.as_ref()?.iter().find(|(other, _)| *other == serial)?;
    Some(filter.clone())
}

/// From now on a logger has this filter, or is over. Calls for one logger take turns.
pub(crate) fn set(serial: u32, filter: Option<&Arc<Filter>>) {
    let filter = filter.filter(|filter| filter.scope() != 0);
    let had = find(serial).is_some();
    if filter.is_none() && !had {
        return;
    }
    FILTERS.rcu(|filters| {
        let others = filters.iter().flat_map(|filters| filters.iter());
        let others = others.filter(|(other, _)| *other != serial).cloned();
        let new = filter.map(|filter| (serial, filter.clone()));
        let all: Filters = others.chain(new).collect();
        (!all.is_empty()).then(|| Arc::new(all))
    });
    match (had, filter) {
        // ord: counter; Relaxed as in `is_any`.
        (false, Some(_)) => COUNT.fetch_add(1, Ordering::Relaxed),
        // ord: counter, as above.
        (true, None) => COUNT.fetch_sub(1, Ordering::Relaxed),
        _ => 0,
    };
}
