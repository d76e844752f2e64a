//! The webhook's other end: a receiver on loopback that takes a batch only when its signature holds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use millstream_connector_http::{SIGNATURE_HEADER, verify};
use millstream_types::Timestamp;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Above the sink's `batch_bytes` with what JSON adds.
const MAX_BODY: usize = 16 << 20;
/// The age that receivers are advised to refuse.
const TOLERANCE: Duration = Duration::from_secs(300);

/// A running receiver; ends when dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The key of its signatures.
    pub(super) secret: String,
    taken: Arc<Taken>,
    task: JoinHandle<()>,
}

/// What it was sent.
#[derive(Debug, Default)]
struct Taken {
    secret: String,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    seqs: BTreeSet<u64>,
    refused: u64,
}

/// The part of a record it looks at.
#[derive(Deserialize)]
struct Record {
    seq: u64,
}

impl Receiver {
    /// Listens on a free port with a secret of its own.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).context("no random bytes for the webhook's secret")?;
        let secret = crate::blobs::digest(&random);
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port for the webhook")?;
        let address = listener
            .local_addr()
            .context("no address for the webhook")?;
        let taken = Arc::new(Taken {
            secret: secret.clone(),
            counts: Mutex::default(),
        });
        let router = Router::new()
            .route("/flights", post(take))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&taken));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(target: "demo", "webhook's receiver ended: {error}");
            }
        });
        Ok(Self {
            address,
            secret,
            taken,
            task,
        })
    }

    /// Different records taken.
    pub(super) fn records(&self) -> u64 {
        self.taken
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .seqs
            .len() as u64
    }

    /// Requests whose signature or body did not hold.
    pub(super) fn refused(&self) -> u64 {
        self.taken
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refused
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(taken): State<Arc<Taken>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers
        .get(SIGNATURE_HEADER)
        .and_then(|value| value.to_str().ok());
    let now = u64::try_from(Timestamp::now().0 / 1_000_000_000).unwrap_or(0);
    let signed = verify(taken.secret.as_bytes(), signature, &body, now, TOLERANCE).is_ok();
    let records = serde_json::from_slice::<Vec<Record>>(&body);
    let mut counts = taken.counts.lock().unwrap_or_else(PoisonError::into_inner);
    match (signed, records) {
        (true, Ok(records)) => {
            counts.seqs.extend(records.iter().map(|record| record.seq));
            StatusCode::NO_CONTENT
        }
        (signed, _) => {
            counts.refused += 1;
            if signed {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::UNAUTHORIZED
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use bytes::Bytes;
    use millstream_connector_http::{SIGNATURE_HEADER, sign};
    use millstream_types::Timestamp;

    use super::{Arc, Receiver, take};

    #[tokio::test]
    async fn only_signed_batches_count_and_each_record_once() {
        let receiver = Receiver::start().await.expect("receiver");
        let body = r#"[{"seq":1,"payload":{}},{"seq":2}]"#;
        let now = u64::try_from(Timestamp::now().0 / 1_000_000_000).expect("after 1970");
        let post = |key: &str| {
            let mut headers = HeaderMap::new();
            let value = sign(key.as_bytes(), now, body.as_bytes());
            headers.insert(SIGNATURE_HEADER, value.parse().expect("a header"));
            take(
                State(Arc::clone(&receiver.taken)),
                headers,
                Bytes::from_static(body.as_bytes()),
            )
        };
        assert_eq!(post(&receiver.secret).await, StatusCode::NO_CONTENT);
        assert_eq!(post(&receiver.secret).await, StatusCode::NO_CONTENT);
        assert_eq!((receiver.records(), receiver.refused()), (2, 0));
        assert_eq!(post("another").await, StatusCode::UNAUTHORIZED);
        assert_eq!((receiver.records(), receiver.refused()), (2, 1));
    }
}
