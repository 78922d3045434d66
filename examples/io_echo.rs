//! An echo server on one thread: a task for each connection, its buffer reused.
//!
//! ```text
//! cargo run --release --example io_echo [ADDRESS [CONNECTIONS]]
//! ```
//!
//! Without an address it serves itself a hundred connections, and ends.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use ttlog::io::{Driver, IoBuffer, IoChoice, IoFd, IoOperation, Remote};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next();
    let is_demo = address.is_none();
    let n_connections: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let (mut driver, remote) = Driver::new(IoChoice::Auto)?;
    println!("{} on {address}", driver.stats().kind.name());
    driver.spawn_local(serve(remote, IoFd::from(listener), n_connections));
    let clients = is_demo.then(|| {
        std::thread::spawn(move || (0..n_connections).try_for_each(|_| say_hello(address)))
    });
    driver.run()?;
    if let Some(clients) = clients {
        clients.join().map_err(|_| "a client panicked")??;
        println!("{n_connections} connections echoed");
    }
    Ok(())
}

async fn serve(remote: Remote, listener: IoFd, n_connections: usize) {
    for _ in 0..n_connections {
        let Ok(accept) = remote.submit(IoOperation::accept(&listener)) else { return };
        let accepted = accept.await;
        match (accepted.result, accepted.descriptor) {
            (Ok(_), Some(client)) => {
                let of_client = remote.clone();
                if let Err(error) = remote.spawn(move || echo(of_client, client)) {
                    eprintln!("a connection is refused: {error}");
                }
            }
            (result, _) => eprintln!("accept: {result:?}"),
        }
    }
}

async fn echo(remote: Remote, client: IoFd) {
    let mut buffer = IoBuffer::from(vec![0; 16 << 10]);
    loop {
        let Ok(recv) = remote.submit(IoOperation::recv(&client, buffer)) else { return };
        let received = recv.await;
        let (Ok(n @ 1..), Some(mut bytes)) = (received.result, received.buffer) else { return };
        let mut from = 0;
        while from < n {
            let send = IoOperation::send(&client, bytes).in_range(from..n);
            let Ok(send) = remote.submit(send) else { return };
            let sent = send.await;
            let (Ok(more), Some(back)) = (sent.result, sent.buffer) else { return };
            from += more;
            bytes = back;
        }
        buffer = bytes;
    }
}

fn say_hello(address: std::net::SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    Ok(())
}
