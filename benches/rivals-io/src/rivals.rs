//! Rivals: what others build on io_uring, each as its documentation shows it.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::{BLOCK, DEPTH, N_BLOCKS, N_NOPS, N_READS, READS, file, spread};

fn block() -> Vec<u8> {
    vec![9; BLOCK]
}

pub fn tokio_nops(batch: usize) -> Vec<f64> {
    tokio_uring::start(async {
        let mut each = Vec::new();
        let begin = std::time::Instant::now();
        for _ in 0..N_NOPS / batch {
            let one = std::time::Instant::now();
            join_all((0..batch).map(|_| tokio_uring::no_op())).await;
            each.push(one.elapsed().as_nanos() as f64);
        }
        let mean = begin.elapsed().as_nanos() as f64 / (N_NOPS / batch * batch) as f64;
        spread(mean, each)
    })
}

pub fn tokio_reads() -> f64 {
    tokio_uring::start(async {
        let file = Rc::new(tokio_uring::fs::File::from_std(file(1 << 16, 0)));
        let workers = (0..READS).map(|first| {
            let file = Rc::clone(&file);
            async move {
                let mut byte = vec![0_u8; 1];
                for n in 0..N_READS / READS {
                    let at = (n * READS + first) % (1 << 16);
                    let (result, back) = file.read_at(byte, at as u64).await;
                    assert!(matches!(result, Ok(1)));
                    byte = back;
                }
            }
        });
        let begin = std::time::Instant::now();
        join_all(workers).await;
        begin.elapsed().as_nanos() as f64 / N_READS as f64
    })
}

pub fn tokio_appends() -> f64 {
    tokio_uring::start(async {
        let file = Rc::new(tokio_uring::fs::File::from_std(file(BLOCK * N_BLOCKS, 0)));
        let workers = (0..DEPTH).map(|first| {
            let file = Rc::clone(&file);
            async move {
                let mut block = block();
                for n in 0..N_BLOCKS / DEPTH {
                    let at = (n * DEPTH + first) * BLOCK;
                    let (result, back) = file.write_at(block, at as u64).submit().await;
                    assert!(matches!(result, Ok(BLOCK)));
                    block = back;
                }
            }
        });
        let begin = std::time::Instant::now();
        join_all(workers).await;
        begin.elapsed().as_nanos() as f64 / N_BLOCKS as f64
    })
}

/// compio opens by path alone.
async fn compio_file(file: &std::fs::File) -> compio::fs::File {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let mut options = compio::fs::OpenOptions::new();
    options.read(true).write(true).open(path).await.expect("it is open")
}

pub fn compio_reads() -> f64 {
    use compio::io::AsyncReadAt as _;
    let runtime = compio::runtime::Runtime::new().expect("a runtime");
    let std = file(1 << 16, 0);
    runtime.block_on(async {
        let file = compio_file(&std).await;
        let file = &file;
        let workers = (0..READS).map(|first| async move {
            let mut byte = vec![0_u8; 1];
            for n in 0..N_READS / READS {
                byte.clear();
                let at = (n * READS + first) % (1 << 16);
                let compio::BufResult(result, back) = file.read_at(byte, at as u64).await;
                assert!(matches!(result, Ok(1)));
                byte = back;
            }
        });
        let begin = std::time::Instant::now();
        join_all(workers).await;
        begin.elapsed().as_nanos() as f64 / N_READS as f64
    })
}

pub fn compio_appends() -> f64 {
    use compio::io::AsyncWriteAt as _;
    let runtime = compio::runtime::Runtime::new().expect("a runtime");
    let std = file(BLOCK * N_BLOCKS, 0);
    runtime.block_on(async {
        let file = compio_file(&std).await;
        let file = &file;
        let workers = (0..DEPTH).map(|first| async move {
            let mut block = block();
            for n in 0..N_BLOCKS / DEPTH {
                let at = (n * DEPTH + first) * BLOCK;
                let mut writer = file;
                let compio::BufResult(result, back) = writer.write_at(block, at as u64).await;
                assert!(matches!(result, Ok(BLOCK)));
                block = back;
            }
        });
        let begin = std::time::Instant::now();
        join_all(workers).await;
        begin.elapsed().as_nanos() as f64 / N_BLOCKS as f64
    })
}

fn monoio_runtime() -> monoio::Runtime<monoio::IoUringDriver> {
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().build().expect("a runtime")
}

pub fn monoio_reads() -> f64 {
    let std = file(1 << 16, 0);
    monoio_runtime().block_on(async {
        let file = monoio::fs::File::from_std(std).expect("a file");
        let file = &file;
        let workers = (0..READS).map(|first| async move {
            let mut byte = vec![0_u8; 1];
            for n in 0..N_READS / READS {
                let at = (n * READS + first) % (1 << 16);
                let (result, back) = file.read_at(byte, at as u64).await;
                assert!(matches!(result, Ok(1)));
                byte = back;
            }
        });
        let begin = std::time::Instant::now();
        join_all(workers).await;
        begin.elapsed().as_nanos() as f64 / N_READS as f64
    })
}

pub fn monoio_appends() -> f64 {
    let std = file(BLOCK * N_BLOCKS, 0);
    monoio_runtime().block_on(async {
        let file = monoio::fs::File::from_std(std).expect("a file");
        let file = &file;
        let workers = (0..DEPTH).map(|first| async move {
            let mut block = block();
            for n in 0..N_BLOCKS / DEPTH {
                let at = (n * DEPTH + first) * BLOCK;
                let (result, back) = file.write_at(block, at as u64).await;
                assert!(matches!(result, Ok(BLOCK)));
                block = back;
            }
        });
        let begin = std::time::Instant::now();
        join_all(workers).await;
        begin.elapsed().as_nanos() as f64 / N_BLOCKS as f64
    })
}
