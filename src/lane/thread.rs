//! Thread: the calling thread as the operating system knows it.

/// Its id.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// Its name; `main` for the first, empty when it has none of its own.
pub(super) fn name() -> String {
    let own = std::thread::current().name().map(str::to_owned);
    own.unwrap_or_default()
}
