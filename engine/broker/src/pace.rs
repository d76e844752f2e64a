//! Pauses: between pings, for receivers that fall behind, before a socket is closed.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::conn::Conn;
use crate::sender::slow_at;

/// When a client is asked for the first time whether it lives: soon, to know its round trip time (as nats-server does).
const FIRST_PING: Duration = Duration::from_secs(2);
/// Most bytes read at once from a client that publishes faster than a receiver reads; with the pauses between reads this
/// leaves it 6 MB/s at worst, as nats-server does.
pub(crate) const SLOWED: usize = 64 * 1024;
/// How long a client's last bytes are read and dropped after an error, so that a reset does not overtake the `-ERR`.
const LINGER: Duration = Duration::from_millis(500);

/// When a client is asked whether it lives.
pub(crate) fn ticker(every: Duration) -> Interval {
    let first = Instant::now() + every.min(FIRST_PING);
    let mut ticker = tokio::time::interval_at(first, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// Gives a receiver that falls behind a little time. Bounded and short: the slowest receiver must not set everybody's
/// pace, and one that reads nothing is cut off soon.
pub(crate) async fn stall(slow: &Conn) {
    let pause = if slow.pending() > slow.max_pending() / 4 * 3 {
        10
    } else {
        1
    };
    let drained = slow.drained(slow_at(slow) / 2);
    let _late = tokio::time::timeout(Duration::from_millis(pause), drained).await;
}

/// Lets a client read why it is cut off.
pub(crate) async fn linger(conn: &Conn, socket: &TcpStream) {
    let discard = async {
        conn.drained(1).await;
        // Shuts the connection down for writing; the copy of the descriptor is only the way to say so by a shared socket.
        let copy = socket
            .as_fd()
            .try_clone_to_owned()
            .map(std::net::TcpStream::from);
        if copy
            .and_then(|copy| copy.shutdown(Shutdown::Write))
            .is_err()
        {
            return;
        }
        // Not in the future itself, which every client's task has room for.
        let mut scrap = vec![0_u8; 1024];
        while socket.readable().await.is_ok() {
            match socket.try_read(&mut scrap) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // A client that goes on sending is cut off all the same.
    let _late = tokio::time::timeout(LINGER, discard).await;
}
