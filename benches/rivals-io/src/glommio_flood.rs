//! The flood of `scribe` by glommio: its DMA file, as its documentation shows it, with the same blocks
//! and as many in flight.

use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;
use glommio::io::DmaFile;
use glommio::{LocalExecutorBuilder, Placement};

use crate::BLOCK;
use crate::scribe::{BYTES, Flood, RESERVE, dir, own_thread};

pub fn flood(depth: usize) -> Flood {
    let dir = dir();
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("glommio");
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(2 * depth * BLOCK)
        .make()
        .expect("an executor");
    let flood = executor.run(async {
        let file = Rc::new(DmaFile::create(&path).await.expect("a file"));
        let source = vec![7_u8; BLOCK];
        let (began, used) = (Instant::now(), own_thread());
        let workers = (0..depth).map(|first| {
            let (file, source) = (&file, &source);
            async move {
                for at in (first..BYTES / BLOCK).step_by(depth).map(|block| block * BLOCK) {
                    if at.is_multiple_of(RESERVE) {
                        let reserved = file.pre_allocate((at + RESERVE) as u64, true).await;
                        reserved.expect("room");
                    }
                    let mut buffer = file.alloc_dma_buffer(BLOCK);
                    buffer.as_bytes_mut().copy_from_slice(source);
                    let written = file.write_at(buffer, at as u64).await;
                    assert_eq!(written.expect("a disk"), BLOCK);
                }
            }
        });
        join_all(workers).await;
        let (wall, used) = (began.elapsed().as_secs_f64(), own_thread() - used);
        file.close_rc().await.expect("a disk");
        Flood { wall, writer: used, behind: used, process: used }
    });
    std::fs::remove_file(&path).expect("it");
    flood
}
