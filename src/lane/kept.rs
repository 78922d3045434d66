//! Kept: what a thread holds of each logger that it logs to, and gives back when it ends.
//!
//! # Invariants
//!
//! - **T1** A producer is attached to a lane only while this thread's `Kept` holds the lane's `Arc`;
//!   it is detached, and has left the lane's seat, before the `Arc` is dropped. One that is busy is
//!   a frame below this one: its attachment stays, whatever became of its logger.
//! - **T3** Who uses a producer that a thread has made for a logger holds its `Rc`, made while what is
//!   kept was borrowed: nobody frees it below the user.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::hand_out::Lane;
use super::hot;
use super::lanes::Lanes;
use super::living::{self, Living};
use super::ring::Producer;

/// What a thread keeps for one logger and one way to it.
#[derive(Debug)]
struct Attachment {
    lanes: Arc<Lanes>,
    /// `None`: there was no room, this thread uses the common lane.
    lane: Option<Arc<Lane>>,
    way: Way,
}

/// The producer that an attachment is for.
#[derive(Debug)]
enum Way {
    /// One of those for loggers that are not named, the one whose owner the logger is.
    Unnamed,
    Named(Named),
}

/// A producer for calls that name their logger.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// The thread's hot one.
    Hot,
    /// One of its own, where another logger has the hot one.
    Own(Rc<Producer>),
}

/// Everything of a thread that has to be given back when it ends.
#[derive(Debug)]
pub(super) struct Kept(RefCell<Vec<Attachment>>);

thread_local! {
    pub(super) static KEPT: Kept = const { Kept(RefCell::new(Vec::new())) };
}

impl Deref for Named {
    type Target = Producer;

    #[inline]
    fn deref(&self) -> &Producer {
        match self {
            Self::Hot => hot::named(),
            Self::Own(producer) => producer,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for attachment in self.0.get_mut().drain(..) {
            attachment.end();
        }
    }
}

impl Attachment {
    /// True for the attachment of this logger's calls: those that name it, or others. A thread that
    /// does both has a lane for each.
    fn is_for(&self, serial: u32, named: bool) -> bool {
        self.lanes.serial == serial && matches!(self.way, Way::Named(_)) == named
    }

    /// Lets go of the lane, for which the producer is detached first.
    fn end(self) {
        let serial = self.lanes.serial;
        match &self.way {
            Way::Named(producer) => producer.detach(),
            Way::Unnamed => hot::for_unnamed(|producer| {
                if producer.owner() == serial {
                    producer.detach();
                }
            }),
        }
        if let Some(lane) = self.lane {
            lane.end();
        }
    }

    /// True while a frame of this thread writes into this lane.
    fn is_busy(&self) -> bool {
        match &self.way {
            Way::Named(producer) => producer.is_busy(),
            Way::Unnamed => {
                let mut is_busy = false;
                hot::for_unnamed(|hot| {
                    is_busy |= hot.owner() == self.lanes.serial && hot.is_busy();
                });
                is_busy
            }
        }
    }
}

/// The lanes of a logger, or of a recorder.
pub(super) fn lanes_of(serial: u32) -> Living {
    match KEPT.try_with(|kept| kept.lanes(serial)) {
        Ok(Some(lanes)) => Living::Found(lanes),
        _ => living::find(serial),
    }
}

/// Makes sure that this thread has an attachment to these lanes, and lets go of those that ended.
pub(super) fn register(lanes: &Arc<Lanes>) {
    let _ = KEPT.try_with(|kept| kept.register(lanes, false));
}

/// The producer of this thread for calls that name these lanes, made if need be.
pub(super) fn named_producer(lanes: &Arc<Lanes>) -> Option<Named> {
    let known = KEPT.try_with(|kept| {
        kept.register(lanes, true);
        kept.named(lanes.serial)
    });
    known.ok().flatten()
}

/// True when a frame of this thread that a signal handler interrupted looks at what is kept.
pub(super) fn is_in_use() -> bool {
    KEPT.try_with(|kept| kept.0.try_borrow_mut().is_err()).unwrap_or(false)
}

impl Kept {
    fn lanes(&self, serial: u32) -> Option<Arc<Lanes>> {
        let kept = self.0.try_borrow().ok()?;
        kept.iter().find(|a| a.lanes.serial == serial).map(|a| a.lanes.clone())
    }

    /// The producer for calls that name this logger (T3).
    #[inline]
    pub(super) fn named(&self, serial: u32) -> Option<Named> {
        let kept = self.0.try_borrow().ok()?;
        kept.iter().find_map(|a| match &a.way {
            Way::Named(producer) if a.lanes.serial == serial => Some(producer.clone()),
            _ => None,
        })
    }

    /// Makes sure that this thread has an attachment to the logger.
    pub(super) fn register(&self, lanes: &Arc<Lanes>, named: bool) {
        let Ok(mut kept) = self.0.try_borrow_mut() else { return };
        if kept.iter().any(|a| a.is_for(lanes.serial, named)) {
            return;
        }
        // Those of loggers that have ended go, but for one that a frame below writes to (T1).
        let is_over = |a: &mut Attachment| a.lanes.is_scribe_gone() && !a.is_busy();
        kept.extract_if(.., is_over).for_each(Attachment::end);
        // As a rule there is no other.
        kept.reserve_exact(1);
        let is_hot_free = !kept.iter().any(|a| matches!(a.way, Way::Named(Named::Hot)));
        let way = match named {
            false => Way::Unnamed,
            true if is_hot_free => Way::Named(Named::Hot),
            true => Way::Named(Named::Own(Rc::new(Producer::new()))),
        };
        // A producer that had no lane ever is attached by `write_slowly`.
        kept.push(Attachment { lanes: lanes.clone(), lane: None, way });
    }

    /// The thread's lane, unless its file is gone.
    pub(super) fn lane(&self, serial: u32, named: bool) -> Option<Arc<Lane>> {
        let kept = self.0.try_borrow().ok()?;
        let lane = kept.iter().find(|a| a.is_for(serial, named))?.lane.clone();
        lane.filter(|lane| !lane.is_stopped())
    }

    /// The thread's lane whose file is gone, which comes before the next.
    pub(super) fn stopped(&self, serial: u32, named: bool) -> Option<Arc<Lane>> {
        let kept = self.0.try_borrow().ok()?;
        kept.iter().find(|a| a.is_for(serial, named))?.lane.clone()
    }

    /// Puts the lane into the attachment (T1: before the producer is attached), and returns the one
    /// that was there.
    pub(super) fn set_lane(&self, serial: u32, named: bool, lane: Arc<Lane>) -> Option<Arc<Lane>> {
        let mut kept = self.0.borrow_mut();
        let mine = kept.iter_mut().find(|a| a.is_for(serial, named))?;
        mine.lane.replace(lane)
    }
}
