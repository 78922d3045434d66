//! Only buffers whose memory stays where it is are taken: the trait is sealed.
use ttlog::io::{Buffer, IoBuffer};

struct Mine([u8; 8]);

impl From<Mine> for IoBuffer {
    fn from(mine: Mine) -> Self {
        mine.0.to_vec().into()
    }
}

impl Buffer for Mine {
    fn from_io(_: IoBuffer) -> Option<Self> {
        None
    }
}

fn main() {}
