//! Clients: threads that send requests one after another, each over a connection of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, anyhow, bail};

/// What the clients asked, by answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Answered with 200.
    pub found: u64,
    /// Answered with 404.
    pub missing: u64,
    /// Answered with 500.
    pub failed: u64,
}

impl Asked {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.found + self.missing + self.failed
    }
}

/// Sends all requests, a share each client, and counts the answers.
pub(crate) fn ask(address: SocketAddr, clients: u64, requests: u64) -> Result<Asked> {
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            std::thread::spawn(move || {
                ask_in_turn(address, (client..requests).step_by(clients as usize))
            })
        })
        .collect();
    let mut asked = Asked::default();
    for thread in threads {
        let of_it = thread.join().map_err(|_| anyhow!("a client panicked"))??;
        asked.found += of_it.found;
        asked.missing += of_it.missing;
        asked.failed += of_it.failed;
    }
    Ok(asked)
}

fn ask_in_turn(address: SocketAddr, numbers: impl Iterator<Item = u64>) -> Result<Asked> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut asked = Asked::default();
    for n in numbers {
        // One of ten is not there, and one of a hundred fails.
        let path = match n % 100 {
            0 => "/fails".to_owned(),
            nth if nth % 10 == 5 => format!("/nowhere/{n}"),
            _ => format!("/orders/{n}"),
        };
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        match answer(&mut answers).with_context(|| path.clone())? {
            200 => asked.found += 1,
            404 => asked.missing += 1,
            500 => asked.failed += 1,
            other => bail!("{path}: status {other}"),
        }
    }
    Ok(asked)
}

/// Reads one answer; returns its status.
fn answer(answers: &mut BufReader<TcpStream>) -> Result<u16> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let status = line.split(' ').nth(1).context("no status line")?.parse()?;
    let mut len = 0;
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            len = value.trim().parse()?;
        }
    }
    answers.read_exact(&mut vec![0; len])?;
    Ok(status)
}
