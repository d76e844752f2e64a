//! One connection: plain or secret, then the protocol's messages until its client goes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use pgwire::api::{ClientInfo as _, DefaultClient, NoopHandler, PgWireConnectionState};
use pgwire::error::ErrorInfo;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{Framed, FramedParts};

use crate::errors::fatal;
use crate::handlers::{Handlers, Prepared};
use crate::serve::Shared;
use crate::startup::Startup;
use crate::tls::ALPN;

/// How long a client may take to say who it is.
const STARTUP: Duration = Duration::from_secs(60);
/// Codes in the place of a protocol's version.
const ASKS_TLS: u32 = 80_877_103;
const ASKS_GSS: u32 = 80_877_104;
const CANCELS: u32 = 80_877_102;
/// The first byte of TLS.
const HANDSHAKE: u8 = 0x16;

/// Serves a client until it goes.
pub(crate) async fn serve(
    mut socket: TcpStream,
    shared: Arc<Shared>,
    is_full: bool,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let address = socket.peer_addr()?;
    let tls = shared.tls.clone();
    let hello = timeout(STARTUP, hello(&mut socket, tls.is_some())).await??;
    match (hello, tls) {
        (Hello::Tls { is_direct }, Some(tls)) => {
            let secret = timeout(STARTUP, tls.accept(socket)).await??;
            if is_direct && secret.get_ref().1.alpn_protocol() != Some(ALPN) {
                return Err(io::Error::other("TLS without the protocol's name"));
            }
            let client = DefaultClient::new(address, true);
            messages(secret, client, &[], shared, is_full).await
        }
        (Hello::Tls { .. }, None) => Err(io::Error::other("TLS, and there is none here")),
        (Hello::Plain(first), tls) => {
            let client = DefaultClient::new(address, false);
            // Whom to cancel is no secret; everything else is.
            if tls.is_some() && !first.ends_with(&CANCELS.to_be_bytes()) {
                return refuse(socket).await;
            }
            messages(socket, client, &first, shared, is_full).await
        }
    }
}

/// How a connection begins.
enum Hello {
    Tls {
        is_direct: bool,
    },
    /// The first bytes, which were read.
    Plain([u8; 8]),
}

/// Answers what a client asks before it says who it is. Nothing more than that is read: what comes behind a question for TLS is
/// TLS, and can be no message of somebody in between.
async fn hello(socket: &mut TcpStream, has_tls: bool) -> io::Result<Hello> {
    let mut first = [0; 1];
    if socket.peek(&mut first).await? == 1 && first[0] == HANDSHAKE {
        return Ok(Hello::Tls { is_direct: true });
    }
    loop {
        let mut bytes = [0; 8];
        socket.read_exact(&mut bytes).await?;
        let [_, _, _, _, code @ ..] = bytes;
        match u32::from_be_bytes(code) {
            ASKS_TLS if has_tls => {
                socket.write_all(b"S").await?;
                return Ok(Hello::Tls { is_direct: false });
            }
            ASKS_TLS | ASKS_GSS => socket.write_all(b"N").await?,
            _ => return Ok(Hello::Plain(bytes)),
        }
    }
}

/// Tells a client that it must ask for TLS.
async fn refuse(mut socket: TcpStream) -> io::Result<()> {
    let why = "connections are secret here: connect with `sslmode=require`, or `verify-full`";
    let mut bytes = BytesMut::new();
    let info = ErrorInfo::from(fatal("28000", why));
    PgWireBackendMessage::ErrorResponse(info.into())
        .encode(&mut bytes)
        .map_err(io::Error::other)?;
    socket.write_all(&bytes).await?;
    socket.shutdown().await
}

/// Answers a client's messages, the first of which begins with bytes that were read.
async fn messages<S>(
    socket: S,
    client: DefaultClient<Prepared>,
    first: &[u8],
    shared: Arc<Shared>,
    is_full: bool,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let codec = PgWireMessageServerCodec::new(client);
    let mut parts = FramedParts::new::<PgWireBackendMessage>(socket, codec);
    parts.read_buf.extend_from_slice(first);
    let mut socket = Framed::from_parts(parts);
    socket.set_state(PgWireConnectionState::AwaitingStartup);
    let startup = Arc::new(Startup::new(Arc::clone(&shared), is_full));
    let handlers = Arc::new(Handlers(Arc::clone(&shared)));
    let deadline = Instant::now() + STARTUP;
    loop {
        let is_known = !matches!(
            socket.state(),
            PgWireConnectionState::AwaitingStartup
                | PgWireConnectionState::AuthenticationInProgress
        );
        let message = if is_known {
            socket.next().await
        } else {
            timeout_at(deadline, socket.next()).await?
        };
        let Some(Ok(message)) = message else {
            return Ok(());
        };
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        let is_extended = message.is_extended_query();
        let is_cancel = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        let done = process_message(
            message,
            &mut socket,
            Arc::clone(&startup),
            Arc::clone(&handlers),
            Arc::clone(&handlers),
            Arc::new(NoopHandler),
            Arc::clone(&shared.sessions),
        );
        if let Err(error) = done.await {
            let is_over = error.is_fatal();
            process_error(&mut socket, error, is_extended).await?;
            if is_over {
                return Ok(());
            }
        }
        if is_cancel {
            return Ok(());
        }
    }
}
