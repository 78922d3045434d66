//! Batch: many operations, one submission, results by index.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::super::{
    Error, ErrorKind, IoCompletion, IoHandle, IoOperation, SubmitError,
};
use super::settle::Owner;
use super::future::refused_completion;
use super::ring::Ring;

/// Operations that one batch can have.
pub const MAX_BATCH_SIZE: usize = 4096;

/// Marks the keys of batches among those of waiting tasks.
const BATCH_MARK: u64 = 1 << 63;

/// Operations to be submitted together.
///
/// An operation that depends on others begins when all of them have succeeded, and never if one
/// fails. With [`fail_fast`](Self::fail_fast) the first failure cancels all others.
///
/// # Examples
///
/// ```
/// use ttlog::io::{Batch, IoFd, IoOperation, Ring};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let Ok(ring) = Ring::new(8) else { return Ok(()) };
/// # let dir = tempfile::tempdir()?;
/// let file = IoFd::from(std::fs::File::create_new(dir.path().join("a"))?);
/// let mut batch = Batch::new();
/// let first = batch.push(IoOperation::write(&file, b"hello ".to_vec(), 0));
/// let second = batch.push(IoOperation::write(&file, b"world".to_vec(), 6));
/// let sync = batch.push(IoOperation::fdatasync(&file));
/// batch.depends(sync, first).depends(sync, second);
/// let results = ring.block_on(ring.submit_batch(batch)?);
/// assert!(results.iter().all(|done| done.result.is_ok()));
/// assert_eq!(*results[second].result.as_ref().unwrap(), 5);
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    operations: Vec<IoOperation>,
    /// Dependent and what it depends on.
    edges: Vec<(usize, usize)>,
    is_fail_fast: bool,
}

/// A batch that was refused as a whole; nothing of it was submitted.
#[derive(Debug)]
pub struct BatchError {
    /// The batch, with its buffers.
    pub batch: Batch,
    /// Why.
    pub error: Error,
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Batch {
    /// An empty batch, which cannot be submitted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation and returns its index.
    pub fn push(&mut self, operation: IoOperation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Lets one operation begin only after another has succeeded.
    pub fn depends(&mut self, dependent: usize, on: usize) -> &mut Self {
        self.edges.push((dependent, on));
        self
    }

    /// Cancels everything after the first failure.
    pub fn fail_fast(&mut self, on: bool) -> &mut Self {
        self.is_fail_fast = on;
        self
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// True without an operation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Looks for what makes no sense, and turns edges around: what waits for each operation.
    fn check(&self) -> Result<Graph, Error> {
        let (size, invalid) = (self.len(), |why: String| Error::new(ErrorKind::BatchInvalid(why)));
        if size == 0 {
            return Err(invalid("a batch needs an operation".into()));
        }
        if size > MAX_BATCH_SIZE {
            return Err(Error::new(ErrorKind::BatchTooLarge { size, max: MAX_BATCH_SIZE }));
        }
        for &(dependent, on) in &self.edges {
            if dependent >= size || on >= size {
                return Err(invalid(format!("{dependent} depends on {on}, of {size} operations")));
            }
        }
        let graph = Graph::new(size, &self.edges);
        match graph.cycle() {
            Some(index) => Err(invalid(format!("operation {index} depends on itself"))),
            None => Ok(graph),
        }
    }
}

/// Who waits for whom: the dependents of `i` are `list[starts[i]..starts[i + 1]]`.
#[derive(Debug)]
struct Graph {
    starts: Vec<u32>,
    list: Vec<u32>,
    /// For each operation, how many it still waits for.
    missing: Vec<u32>,
}

impl Graph {
    fn new(size: usize, edges: &[(usize, usize)]) -> Self {
        let (mut starts, mut missing) = (vec![0; size + 1], vec![0; size]);
        for &(dependent, on) in edges {
            starts[on + 1] += 1;
            missing[dependent] += 1;
        }
        (0..size).for_each(|at| starts[at + 1] += starts[at]);
        let (mut list, mut next) = (vec![0; edges.len()], starts.clone());
        for &(dependent, on) in edges {
            list[next[on] as usize] = dependent as u32;
            next[on] += 1;
        }
        Self { starts, list, missing }
    }

    fn dependents(&self, of: usize) -> std::ops::Range<usize> {
        self.starts[of] as usize..self.starts[of + 1] as usize
    }

    /// An operation that can never begin.
    fn cycle(&self) -> Option<usize> {
        let mut missing = self.missing.clone();
        let mut free: Vec<_> = (0..missing.len()).filter(|at| missing[*at] == 0).collect();
        while let Some(at) = free.pop() {
            for edge in self.dependents(at) {
                let dependent = self.list[edge] as usize;
                missing[dependent] -= 1;
                if missing[dependent] == 0 {
                    free.push(dependent);
                }
            }
        }
        missing.iter().position(|n| *n > 0)
    }
}

/// What a ring keeps for a batch: completions that its future has not seen.
#[derive(Debug, Default)]
pub(super) struct BatchState {
    pub(super) done: Vec<(u32, IoCompletion)>,
    pub(super) waker: Option<Waker>,
}

/// A batch in flight; gives one completion for each operation, by index.
///
/// An operation that never began has [`ErrorKind::Cancelled`], and its buffer. Every operation that
/// began has completed by then: no buffer is given back that the kernel has. A completion costs the
/// same in a batch of ten and of a thousand. Dropping it cancels what is in flight.
///
/// # Panics
///
/// When it is polled again after it was ready.
#[must_use = "the operations are cancelled when the future is dropped"]
#[derive(Debug)]
pub struct BatchFuture<'ring> {
    ring: &'ring Ring,
    key: u64,
    graph: Graph,
    places: Vec<Place>,
    /// Kept for its memory.
    done: Vec<(u32, IoCompletion)>,
    n_left: usize,
    is_fail_fast: bool,
    is_failing: bool,
}

#[derive(Debug)]
enum Place {
    Waiting(IoOperation),
    Flying(u64),
    Done(IoCompletion),
    /// Only while it is being changed.
    Empty,
}

impl Ring {
    /// Submits operations together.
    ///
    /// # Errors
    ///
    /// Gives the batch back, with nothing submitted, if it is empty or has more than
    /// [`MAX_BATCH_SIZE`] operations, or if dependencies name what is not there or form a circle.
    pub fn submit_batch(&self, batch: Batch) -> Result<BatchFuture<'_>, BatchError> {
        let graph = match batch.check() {
            Ok(graph) => graph,
            Err(error) => return Err(BatchError { batch, error }),
        };
        let key = self.batches().borrow_mut().insert(BatchState::default());
        let mut future = BatchFuture {
            ring: self,
            key,
            graph,
            n_left: batch.operations.len(),
            places: batch.operations.into_iter().map(Place::Waiting).collect(),
            done: Vec::new(),
            is_fail_fast: batch.is_fail_fast,
            is_failing: false,
        };
        let free = (0..future.places.len()).filter(|at| future.graph.missing[*at] == 0);
        let free: Vec<_> = free.collect();
        for index in free {
            future.begin(index);
        }
        // What cannot be handed over now is handed over when the future is polled.
        let _ = self.submit();
        Ok(future)
    }
}

impl BatchFuture<'_> {
    fn begin(&mut self, index: usize) {
        match std::mem::replace(&mut self.places[index], Place::Empty) {
            Place::Waiting(operation) if self.is_failing => {
                self.places[index] = Place::Waiting(operation);
                self.give_up(index);
            }
            Place::Waiting(operation) => {
                let (batch, index) = (self.key, index as u32);
                match self.ring.push(operation, || Owner::Batch { batch, index }) {
                    Ok(key) => self.places[index as usize] = Place::Flying(key),
                    Err(refused) => self.complete(index as usize, refused_completion(refused)),
                }
            }
            other => self.places[index] = other,
        }
    }

    /// Ends an operation that has not begun, and in turn those that wait for it.
    fn give_up(&mut self, index: usize) {
        let mut doomed = vec![index];
        while let Some(index) = doomed.pop() {
            let operation = match std::mem::replace(&mut self.places[index], Place::Empty) {
                Place::Waiting(operation) => operation,
                other => {
                    self.places[index] = other;
                    continue;
                }
            };
            let error = operation.error(Error::new(ErrorKind::Cancelled));
            let refused = SubmitError { operation, error };
            self.places[index] = Place::Done(refused_completion(refused));
            self.n_left -= 1;
            doomed.extend(self.graph.dependents(index).map(|at| self.graph.list[at] as usize));
        }
    }

    fn complete(&mut self, index: usize, completion: IoCompletion) {
        let is_ok = completion.result.is_ok();
        self.places[index] = Place::Done(completion);
        self.n_left -= 1;
        for edge in self.graph.dependents(index) {
            let dependent = self.graph.list[edge] as usize;
            if !is_ok {
                self.give_up(dependent);
                continue;
            }
            self.graph.missing[dependent] -= 1;
            if self.graph.missing[dependent] == 0 {
                self.begin(dependent);
            }
        }
        if !is_ok && self.is_fail_fast && !self.is_failing {
            self.fail();
        }
    }

    /// Cancels what is in flight and gives up what has not begun; once for each batch.
    fn fail(&mut self) {
        self.is_failing = true;
        for index in 0..self.places.len() {
            match self.places[index] {
                Place::Flying(key) => {
                    // Without room it ends by itself; its completion is waited for either way.
                    let _ = self.ring.cancel(IoHandle(key));
                }
                Place::Waiting(_) => self.give_up(index),
                _ => {}
            }
        }
    }

    /// Notes whom to wake; true if operations have completed meanwhile.
    fn set_waker(&self, waker: &Waker) -> bool {
        let is_known = |state: &mut BatchState| {
            state.waker.as_ref().is_some_and(|old| old.will_wake(waker))
        };
        if self.ring.batches().borrow_mut().get_mut(self.key).is_none_or(is_known) {
            return false;
        }
        // As in the ring.
        let mut new = Some(waker.clone());
        let has_come = self.ring.batches().borrow_mut().get_mut(self.key).is_some_and(|state| {
            std::mem::swap(&mut state.waker, &mut new);
            !state.done.is_empty()
        });
        drop(new);
        has_come
    }

    /// Takes completions that the ring has for this batch; true if there were any.
    fn take(&mut self) -> bool {
        let mut done = std::mem::take(&mut self.done);
        if let Some(state) = self.ring.batches().borrow_mut().get_mut(self.key) {
            std::mem::swap(&mut state.done, &mut done);
        }
        let any = !done.is_empty();
        for (index, completion) in done.drain(..) {
            self.complete(index as usize, completion);
        }
        self.done = done;
        any
    }
}

impl Future for BatchFuture<'_> {
    type Output = Vec<IoCompletion>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.places.is_empty(), "a batch was polled after it was ready");
        loop {
            self.ring.reap();
            while self.take() {}
            if self.n_left == 0 {
                self.ring.leave(self.key | BATCH_MARK);
                let results = std::mem::take(&mut self.places).into_iter().filter_map(|place| {
                    match place {
                        Place::Done(completion) => Some(completion),
                        _ => None,
                    }
                });
                return Poll::Ready(results.collect());
            }
            if self.set_waker(context.waker()) {
                continue;
            }
            if !self.ring.wait_for(self.key | BATCH_MARK, context.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for BatchFuture<'_> {
    fn drop(&mut self) {
        self.ring.leave(self.key | BATCH_MARK);
        let state = self.ring.batches().borrow_mut().remove(self.key);
        for place in &self.places {
            if let Place::Flying(key) = place {
                let _ = self.ring.with_core(|core| core.cancel(*key));
            }
        }
        let _ = self.ring.submit();
        drop(state);
    }
}
