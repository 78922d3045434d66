//! Epoch under the model checker: the surface of crossbeam-epoch that the project uses.
//!
//! Links are loom's atomics; nothing is freed before the collector is dropped, so that a model
//! looks at the list alone. That nodes live long enough is crossbeam-epoch's own proof.
#![expect(unsafe_code, reason = "hands out nodes that live as long as their collector")]

use std::marker::PhantomData;

use loom::sync::atomic::{AtomicPtr, Ordering};

/// Keeps what was to be destroyed.
#[derive(Debug, Default)]
pub(crate) struct Collector;

impl Collector {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn register(&self) -> LocalHandle {
        LocalHandle
    }
}

/// A thread's part of a collector.
#[derive(Debug)]
pub(crate) struct LocalHandle;

impl LocalHandle {
    pub(crate) fn pin(&self) -> Guard {
        Guard
    }
}

/// A pin.
#[derive(Debug)]
pub(crate) struct Guard;

impl Guard {
    /// Never destroys: the few words of a model's node are left behind.
    pub(crate) unsafe fn defer_destroy<T>(&self, _: Shared<'_, T>) {}
}

pub(crate) unsafe fn unprotected() -> &'static Guard {
    &Guard
}

/// A link.
#[derive(Debug)]
pub(crate) struct Atomic<T>(AtomicPtr<T>);

/// A node that nobody else sees yet.
#[derive(Debug)]
pub(crate) struct Owned<T>(Box<T>);

/// A node that others see.
#[derive(Debug)]
pub(crate) struct Shared<'g, T>(*mut T, PhantomData<&'g T>);

/// A compare-exchange that failed gives the node back.
#[derive(Debug)]
pub(crate) struct Refused<P> {
    pub(crate) new: P,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

impl<T> PartialEq for Shared<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl<'g, T> Shared<'g, T> {
    pub(crate) unsafe fn as_ref(&self) -> Option<&'g T> {
        // SAFETY: nodes live as long as the model.
        unsafe { self.0.as_ref() }
    }

    pub(crate) unsafe fn deref(&self) -> &'g T {
        // SAFETY: as above.
        unsafe { &*self.0 }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub(crate) unsafe fn into_owned(self) -> Owned<T> {
        // SAFETY: the caller is the last to see the node.
        Owned(unsafe { Box::from_raw(self.0) })
    }

    pub(crate) fn null() -> Self {
        Self(std::ptr::null_mut(), PhantomData)
    }
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Box::new(value))
    }
}

impl<T> std::ops::Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> std::ops::DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// What a compare-exchange may put into a link.
pub(crate) trait Pointer<T> {
    fn into_raw(self) -> *mut T;
    unsafe fn from_raw(raw: *mut T) -> Self;
}

impl<T> Pointer<T> for Owned<T> {
    fn into_raw(self) -> *mut T {
        Box::into_raw(self.0)
    }

    unsafe fn from_raw(raw: *mut T) -> Self {
        // SAFETY: it came from `into_raw`.
        Self(unsafe { Box::from_raw(raw) })
    }
}

impl<T> Pointer<T> for Shared<'_, T> {
    fn into_raw(self) -> *mut T {
        self.0
    }

    unsafe fn from_raw(raw: *mut T) -> Self {
        Self(raw, PhantomData)
    }
}

impl<T> From<Shared<'_, T>> for Atomic<T> {
    fn from(shared: Shared<'_, T>) -> Self {
        Self(AtomicPtr::new(shared.0))
    }
}

impl<T> Atomic<T> {
    pub(crate) fn null() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn load<'g>(&self, order: Ordering, _: &'g Guard) -> Shared<'g, T> {
        Shared(self.0.load(order), PhantomData)
    }

    pub(crate) fn store(&self, new: Shared<'_, T>, order: Ordering) {
        self.0.store(new.0, order);
    }

    pub(crate) fn compare_exchange<'g, P: Pointer<T>>(
        &self,
        current: Shared<'_, T>,
        new: P,
        success: Ordering,
        failure: Ordering,
        _: &'g Guard,
    ) -> Result<Shared<'g, T>, Refused<P>> {
        let new = new.into_raw();
        match self.0.compare_exchange(current.0, new, success, failure) {
            Ok(_) => Ok(Shared(new, PhantomData)),
            // SAFETY: the link did not take it.
            Err(_) => Err(Refused { new: unsafe { P::from_raw(new) } }),
        }
    }

    pub(crate) fn compare_exchange_weak<'g, P: Pointer<T>>(
        &self,
        current: Shared<'_, T>,
        new: P,
        success: Ordering,
        failure: Ordering,
        guard: &'g Guard,
    ) -> Result<Shared<'g, T>, Refused<P>> {
        self.compare_exchange(current, new, success, failure, guard)
    }
}
