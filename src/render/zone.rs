//! Zone: the local time zone, as the C library knows it, and whether output is coloured.
#![expect(unsafe_code, reason = "asks the C library for the local time; proof at the blocks")]

/// How far the local zone is ahead of UTC at a second since 1970; 0 where that is not known.
#[must_use]
pub fn local_offset(second: i64) -> i32 {
    let second = second as libc::time_t;
    // SAFETY: all zero is a valid value of the C type.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both are this function's own; the function keeps no state that others see change.
    let found = unsafe { libc::localtime_r(&raw const second, &raw mut local) };
    if found.is_null() { 0 } else { i32::try_from(local.tm_gmtoff).unwrap_or(0) }
}

/// True when output is to be coloured: `NO_COLOR`, then `CLICOLOR_FORCE`, then whether it is a
/// terminal, and not a dumb one.
#[must_use]
pub fn is_coloured(is_terminal: bool) -> bool {
    let value = |name| std::env::var_os(name);
    if value("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return false;
    }
    if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    is_terminal && value("TERM").is_none_or(|term| term != "dumb")
}
