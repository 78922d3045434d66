//! Entry: an operation as the kernel reads it.
#![expect(unsafe_code, reason = "hands pointers over; proof in super, U1")]

use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};

use io_uring::{opcode, squeue, types};

use super::super::fd::{Slot, Target};
use super::super::buffer::BUFFER_BYTES_MAX;
use super::super::{Error, ErrorKind, IoBuffer, IoFd, IoOperation, LentBuffer};
use crate::sync::CENTURY;

/// What a slot owns beside its operation, on the heap, because the kernel reads it there (U1).
///
/// Its tag is a byte, so that a slot tells by its owner's whether it is free: one look instead of two.
#[derive(Debug)]
#[repr(u8)]
pub(super) enum Extra {
    None,
    Read(#[expect(dead_code, reason = "the kernel reads it")] Box<ReadByKernel>),
    /// The descriptor that the kernel is to close, so that nobody else closes it.
    Closing(RawFd),
}

/// Every operation has one in its slot, and hardly any of them is one of these.
#[derive(Debug)]
pub(super) enum ReadByKernel {
    Vectors(#[expect(dead_code, reason = "the kernel reads it")] Box<[Vector]>),
    Address(#[expect(dead_code, reason = "the kernel reads it")] Box<Address>),
    Time(#[expect(dead_code, reason = "the kernel reads it")] Box<types::Timespec>),
}

impl From<ReadByKernel> for Extra {
    fn from(on_heap: ReadByKernel) -> Self {
        Self::Read(Box::new(on_heap))
    }
}

/// A piece of memory as `readv` takes it.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Vector(libc::iovec);

// SAFETY: (U1) it points into memory of the buffers beside it in the slot, which are Send.
unsafe impl Send for Vector {}

/// A socket address as `connect` takes it.
#[repr(C)]
pub(super) union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address")
    }
}

/// Which registrations of the ring may be used.
pub(super) trait Tables {
    /// The index of a file that is registered now.
    fn file(&self, slot: Slot) -> Option<u32>;
    /// The index of a buffer that is registered now.
    fn buffer(&self, slot: Slot) -> Option<u16>;
    /// The index of the lasting memory in which a lent buffer lies, if that is registered.
    fn lent(&self, buffer: &LentBuffer) -> Option<u16>;
}

enum Fd {
    Raw(types::Fd),
    Fixed(types::Fixed),
}

/// Builds with either kind of descriptor.
macro_rules! with_fd {
    ($fd:expr, |$name:ident| $build:expr) => {
        match $fd {
            Fd::Raw($name) => $build,
            Fd::Fixed($name) => $build,
        }
    };
}

#[inline]
fn target(fd: &IoFd, tables: &impl Tables) -> Result<Fd, Error> {
    match &fd.0 {
        Target::Owned(fd) => Ok(Fd::Raw(types::Fd(fd.as_raw_fd()))),
        Target::Registered(slot) => match tables.file(*slot) {
            Some(index) => Ok(Fd::Fixed(types::Fixed(index))),
            None => Err(Error::new(ErrorKind::NotRegistered)),
        },
    }
}

#[inline]
fn fixed(buffer: &IoBuffer, tables: &impl Tables) -> Option<u16> {
    match buffer {
        IoBuffer::Registered(buffer) => tables.buffer(buffer.slot()),
        IoBuffer::Lent(buffer) => tables.lent(buffer),
        _ => None,
    }
}

fn vectors(buffers: &mut [IoBuffer]) -> Box<[Vector]> {
    let vector = |buffer: &mut IoBuffer| {
        let bytes = buffer.as_mut_slice();
        let (iov_base, iov_len) = (bytes.as_mut_ptr().cast(), bytes.len().min(BUFFER_BYTES_MAX));
        Vector(libc::iovec { iov_base, iov_len })
    };
    buffers.iter_mut().map(vector).collect()
}

fn address(address: &std::net::SocketAddr) -> (Box<Address>, u32) {
    use std::net::SocketAddr;
    match address {
        SocketAddr::V4(v4) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: v4.ip().to_bits().to_be() },
                sin_zero: [0; 8],
            };
            (Box::new(Address { v4 }), size_of::<libc::sockaddr_in>() as u32)
        }
        SocketAddr::V6(v6) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            (Box::new(Address { v6 }), size_of::<libc::sockaddr_in6>() as u32)
        }
    }
}

/// What the entry of a plain operation says: nothing, or which bytes of which file.
#[derive(Clone, Copy)]
pub(super) enum Plain {
    Nop,
    Read(types::Fd, *mut u8, u32, u64),
    Write(types::Fd, *mut u8, u32, u64),
}

impl Plain {
    #[inline(always)]
    pub(super) fn build(self) -> squeue::Entry {
        match self {
            Self::Nop => opcode::Nop::new().build(),
            Self::Read(fd, start, len, at) => opcode::Read::new(fd, start, len).offset(at).build(),
            Self::Write(fd, start, len, at) => {
                opcode::Write::new(fd, start, len).offset(at).build()
            }
        }
    }
}

/// Marks the buffer of a plain operation as in use. What is not plain, or would be refused, is left
/// as it is. Nothing here panics, so that the operation need not lie in memory to be dropped.
#[inline(always)]
pub(super) fn begin_plain(operation: &mut IoOperation) -> Option<Plain> {
    match operation {
        IoOperation::Nop => Some(Plain::Nop),
        IoOperation::Read { fd: IoFd(Target::Owned(fd)), buffer, range, offset } => {
            let (start, len) = buffer.begin_plain(range)?;
            Some(Plain::Read(types::Fd(fd.as_raw_fd()), start, len, *offset))
        }
        IoOperation::Write { fd: IoFd(Target::Owned(fd)), buffer, range, offset } => {
            let (start, len) = buffer.begin_plain(range)?;
            Some(Plain::Write(types::Fd(fd.as_raw_fd()), start, len, *offset))
        }
        _ => None,
    }
}

/// Undoes [`begin_plain`].
#[inline(always)]
pub(super) fn unbegin_plain(operation: &mut IoOperation) {
    if let IoOperation::Read { buffer, .. } | IoOperation::Write { buffer, .. } = operation {
        buffer.unbegin_plain();
    }
}

/// Builds the entry; its pointers lead into the operation's heap memory and into the extra's (U1).
/// The piece is what [`IoOperation::begin`] said of the operation.
#[inline(always)]
pub(super) fn build(
    operation: &mut IoOperation,
    (start, len): (*mut u8, usize),
    tables: &impl Tables,
    key: u64,
    extra: &mut Extra,
) -> Result<squeue::Entry, Error> {
    let len = len.min(BUFFER_BYTES_MAX) as u32;
    let entry = match operation {
        IoOperation::Nop => opcode::Nop::new().build(),
        IoOperation::Read { fd, buffer, offset, .. } => {
            let fixed = fixed(buffer, tables);
            let offset = *offset;
            with_fd!(target(fd, tables)?, |fd| match fixed {
                Some(index) =>
                    opcode::ReadFixed::new(fd, start, len, index).offset(offset).build(),
                None => opcode::Read::new(fd, start, len).offset(offset).build(),
            })
        }
        IoOperation::Write { fd, buffer, offset, .. } => {
            let fixed = fixed(buffer, tables);
            let offset = *offset;
            with_fd!(target(fd, tables)?, |fd| match fixed {
                Some(index) =>
                    opcode::WriteFixed::new(fd, start, len, index).offset(offset).build(),
                None => opcode::Write::new(fd, start, len).offset(offset).build(),
            })
        }
        IoOperation::Send { fd, .. } => {
            with_fd!(target(fd, tables)?, |fd| opcode::Send::new(fd, start, len)
                .flags(libc::MSG_NOSIGNAL)
                .build())
        }
        IoOperation::Recv { fd, .. } => {
            with_fd!(target(fd, tables)?, |fd| opcode::Recv::new(fd, start, len).build())
        }
        IoOperation::Fsync { fd, data_only } => {
            let flags = match data_only {
                true => types::FsyncFlags::DATASYNC,
                false => types::FsyncFlags::empty(),
            };
            with_fd!(target(fd, tables)?, |fd| opcode::Fsync::new(fd).flags(flags).build())
        }
        IoOperation::Accept { fd } => {
            let (name, len) = (std::ptr::null_mut(), std::ptr::null_mut());
            with_fd!(target(fd, tables)?, |fd| opcode::Accept::new(fd, name, len)
                .flags(libc::SOCK_CLOEXEC)
                .build())
        }
        other => {
            let (entry, of_entry) = build_with_extra(other, tables)?;
            *extra = of_entry;
            entry
        }
    };
    Ok(entry.user_data(key))
}

/// The rarer ones, which need memory of their own.
#[cold]
fn build_with_extra(
    operation: &mut IoOperation,
    tables: &impl Tables,
) -> Result<(squeue::Entry, Extra), Error> {
    match operation {
        IoOperation::ReadVectored { fd, buffers, offset } => {
            let vectors = vectors(buffers);
            let (start, n, at) = (vectors.as_ptr().cast(), vectors.len() as u32, *offset);
            let entry = with_fd!(target(fd, tables)?, |fd| opcode::Readv::new(fd, start, n)
                .offset(at)
                .build());
            Ok((entry, ReadByKernel::Vectors(vectors).into()))
        }
        IoOperation::WriteVectored { fd, buffers, offset } => {
            let vectors = vectors(buffers);
            let (start, n, at) = (vectors.as_ptr().cast(), vectors.len() as u32, *offset);
            let entry = with_fd!(target(fd, tables)?, |fd| opcode::Writev::new(fd, start, n)
                .offset(at)
                .build());
            Ok((entry, ReadByKernel::Vectors(vectors).into()))
        }
        IoOperation::Connect { fd, address: to } => {
            let (address, len) = address(to);
            let start = (&raw const *address).cast();
            let entry =
                with_fd!(target(fd, tables)?, |fd| opcode::Connect::new(fd, start, len).build());
            Ok((entry, ReadByKernel::Address(address).into()))
        }
        IoOperation::Timeout { after } => {
            let time = Box::new(types::Timespec::from((*after).min(CENTURY)));
            Ok((opcode::Timeout::new(&raw const *time).build(), ReadByKernel::Time(time).into()))
        }
        IoOperation::Open { path, options } => {
            let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
                .flags(options.flags().bits() as i32)
                .mode(options.mode_bits())
                .build();
            Ok((entry, Extra::None))
        }
        IoOperation::Close { fd } => close(fd),
        _ => Err(Error::new(ErrorKind::Unsupported("not an operation of io_uring".into()))),
    }
}

/// From here on the kernel alone closes the number (or [`Extra::Closing`]'s keeper, if it did not).
fn close(place: &mut IoFd) -> Result<(squeue::Entry, Extra), Error> {
    match place.take().try_into_owned() {
        Ok(owned) => {
            let fd = owned.into_raw_fd();
            Ok((opcode::Close::new(types::Fd(fd)).build(), Extra::Closing(fd)))
        }
        Err(shared) => {
            *place = shared;
            Err(Error::new(ErrorKind::InUse))
        }
    }
}
