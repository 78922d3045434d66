//! Numa: memory on a node of choice, on Linux; elsewhere there are no nodes.
#![expect(unsafe_code, reason = "maps memory and asks the kernel about it")]

use std::ptr::NonNull;

use super::BufferError;

/// Maps zeroed, prefaulted pages that lie on `node`, and makes sure that they do.
#[cfg(target_os = "linux")]
pub(super) fn map_on_node(len: usize, node: usize) -> Result<NonNull<u8>, BufferError> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

    const NODES_MAX: usize = 1024;
    let failed = |what: &str, error: std::io::Error| {
        BufferError::NumaAllocationFailed(format!("node {node}: {what}: {error}"))
    };
    if node >= NODES_MAX {
        return Err(BufferError::NumaAllocationFailed(format!("node {node}: there is none")));
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping where the kernel likes; nothing that is there is touched.
    let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE) };
    let start = start.map_err(|error| failed("mmap", error.into()))?;
    let Some(start) = NonNull::new(start.cast::<u8>()) else {
        return Err(BufferError::NumaAllocationFailed("mmap gave a null pointer".into()));
    };
    let mut mask = [0 as libc::c_ulong; NODES_MAX / libc::c_ulong::BITS as usize];
    mask[node / libc::c_ulong::BITS as usize] = 1 << (node % libc::c_ulong::BITS as usize);
    // SAFETY: the range is the mapping made above; the mask has as many bits as are told, of which
    // the kernel reads one less than it is told.
    let bound = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start.as_ptr(),
            len,
            libc::MPOL_BIND,
            mask.as_ptr(),
            NODES_MAX + 1,
            0,
        )
    };
    if bound != 0 {
        let error = std::io::Error::last_os_error();
        // SAFETY: mapped above, and nobody else knows it.
        unsafe { unmap(start, len) };
        return Err(failed("mbind", error));
    }
    // SAFETY: mapped above with this length, and nobody else knows it.
    unsafe { start.as_ptr().write_bytes(0, len) };
    match node_of(start) {
        Some(placed) if placed == node => Ok(start),
        placed => {
            // SAFETY: as above.
            unsafe { unmap(start, len) };
            Err(BufferError::NumaAllocationFailed(format!("node {node}: lies on {placed:?}")))
        }
    }
}

/// There are no nodes to choose from.
#[cfg(not(target_os = "linux"))]
pub(super) fn map_on_node(_: usize, node: usize) -> Result<NonNull<u8>, BufferError> {
    Err(BufferError::NumaAllocationFailed(format!("node {node}: not known on this system")))
}

/// Gives a mapping back.
///
/// # Safety
///
/// `start` and `len` are those of a mapping made here, and nobody uses it any more.
pub(super) unsafe fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: as the caller promised.
    let unmapped = unsafe { rustix::mm::munmap(start.as_ptr().cast(), len) };
    debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
}

/// The node of the page at `start`, as `get_mempolicy` tells.
#[cfg(target_os = "linux")]
pub(super) fn node_of(start: NonNull<u8>) -> Option<usize> {
    const MPOL_F_NODE: libc::c_ulong = 1;
    const MPOL_F_ADDR: libc::c_ulong = 2;
    let mut node: libc::c_int = -1;
    // SAFETY: the kernel writes one int; the address is only looked up.
    let told = unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            &raw mut node,
            std::ptr::null_mut::<libc::c_ulong>(),
            0 as libc::c_ulong,
            start.as_ptr(),
            MPOL_F_NODE | MPOL_F_ADDR,
        )
    };
    (told == 0).then(|| usize::try_from(node).ok()).flatten()
}

/// Nobody tells.
#[cfg(not(target_os = "linux"))]
pub(super) fn node_of(_: NonNull<u8>) -> Option<usize> {
    None
}
