//! One client's writer task: writes what nobody could write at once, and goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::conn::{Close, Conn, Flush};

/// How long a client whose connection ends may take for its last bytes.
const LAST: Duration = Duration::from_secs(1);

/// Runs until there is nothing to write, or the connection has ended and its socket is dropped.
pub(crate) async fn writer(conn: Arc<Conn>, deadline: Duration) {
    let Some(socket) = conn.socket() else { return };
    while write(&conn, &socket, deadline).await {
        if conn.writer_may_go() {
            return;
        }
    }
    conn.finish();
}

/// Writes all there is; `false` when there will be no more.
async fn write(conn: &Conn, socket: &TcpStream, deadline: Duration) -> bool {
    let mut since = Instant::now();
    loop {
        match conn.flush_fully() {
            Flush::Done => return conn.close_reason().is_none(),
            Flush::Broken => {
                conn.end(Close::Client);
                return false;
            }
            Flush::Blocked { progress } => {
                let limit = if conn.close_reason().is_none() {
                    deadline
                } else {
                    deadline.min(LAST)
                };
                if progress {
                    since = Instant::now();
                }
                tokio::select! {
                    biased;
                    // The connection ends, or somebody else tried to write.
                    () = conn.wake.notified() => {}
                    ready = socket.writable() => {
                        if ready.is_err() {
                            conn.end(Close::Client);
                            return false;
                        }
                    }
                    () = tokio::time::sleep_until(since + limit) => {
                        conn.end(Close::SlowDeadline);
                        return false;
                    }
                }
            }
        }
    }
}
