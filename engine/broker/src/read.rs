//! Reading from a client's socket.

use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there, once. A read that leaves room has emptied the socket, which is not ready then until more comes: tokio's
/// own `try_read` would find that out by another read, one for every message of a client that waits for answers.
pub(crate) fn read(socket: &TcpStream, space: &mut [u8]) -> io::Result<usize> {
    let mut last = None;
    let tried = socket.try_io(Interest::READABLE, || {
        let count = rustix::io::read(socket, &mut *space)?;
        if count > 0 && count < space.len() {
            last = Some(count);
            // How tokio is told; from now on only a new event makes it ready.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    last.map_or(tried, Ok)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};

    use tokio::net::{TcpListener, TcpStream};

    use super::read;

    #[tokio::test]
    async fn what_left_room_is_not_read_again_before_more_comes() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (socket, _) = listener.accept().await?;
        let mut space = [0; 4];
        peer.write_all(b"abc")?;
        assert_eq!(next(&socket, &mut space).await?, 3);
        // It is there, and nobody looks: this thread has not waited for events since.
        peer.write_all(b"defghi")?;
        let early = read(&socket, &mut space).map_err(|error| error.kind());
        assert_eq!(early, Err(ErrorKind::WouldBlock));
        assert_eq!(next(&socket, &mut space).await?, 4);
        // A full one leaves it ready.
        assert_eq!((read(&socket, &mut space)?, &space), (2, b"hifg"));
        drop(peer);
        assert_eq!(next(&socket, &mut space).await?, 0);
        Ok(())
    }

    async fn next(socket: &TcpStream, space: &mut [u8]) -> std::io::Result<usize> {
        loop {
            socket.readable().await?;
            match read(socket, space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}
