//! The HTTP sink: descriptor, and how a batch finds its poisonous record.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, Environment, Kind, OptionDescriptor, OptionType,
    Problem, Settings, Sink, SinkError, SinkRecord,
};
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::body::Format;
use crate::client::client;
use crate::poster::{Answer, Poster, SecretHeaders};

const fn option(
    name: &'static str,
    kind: OptionType,
    default: Option<&'static str>,
    doc: &'static str,
) -> OptionDescriptor {
    OptionDescriptor {
        name,
        kind,
        default,
        required: false,
        secret: false,
        doc,
    }
}

const OPTIONS: &[OptionDescriptor] = &[
    OptionDescriptor {
        required: true,
        ..option("url", OptionType::Url, None, "where to POST the records")
    },
    option(
        "format",
        OptionType::Choice(&["json", "ndjson", "single"]),
        Some("json"),
        "`json`: an array per batch; `ndjson`: a line per record; `single`: a request per record",
    ),
    OptionDescriptor {
        secret: true,
        ..option(
            "secret",
            OptionType::Text,
            None,
            "key of the `Millstream-Signature` header; none: no signature",
        )
    },
    OptionDescriptor {
        secret: true,
        ..option(
            "authorization",
            OptionType::Text,
            None,
            "value of the `Authorization` header, such as `Bearer …`",
        )
    },
    option(
        "timeout",
        OptionType::Duration,
        Some("10s"),
        "longest wait for the answer to one request",
    ),
    option(
        "allow_private",
        OptionType::Bool,
        Some("false"),
        "allow private, loopback and link-local destinations",
    ),
];

/// Posts batches to a webhook.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpSink;

impl Connector for HttpSink {
    fn name(&self) -> &'static str {
        "http"
    }

    fn kind(&self) -> Kind {
        Kind::Sink
    }

    fn doc(&self) -> &'static str {
        "posts records in batches to an HTTP address, signed, each at least once"
    }

    fn options(&self) -> &'static [OptionDescriptor] {
        OPTIONS
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        match poster(config, &Environment::default(), self.all_options()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems,
        }
    }

    fn build_sink(
        &self,
        config: &Config,
        environment: &Environment,
    ) -> Result<Box<dyn Sink>, BuildError> {
        let poster = poster(config, environment, self.all_options()).map_err(|problems| {
            BuildError::Invalid {
                connector: self.name(),
                problems,
            }
        })?;
        Ok(Box::new(Webhook {
            poster,
            known: BTreeMap::new(),
        }))
    }
}

fn poster(
    config: &Config,
    environment: &Environment,
    options: Vec<OptionDescriptor>,
) -> Result<Poster, Vec<Problem>> {
    let settings = Settings::read(options, config)?;
    let problem =
        |option: &str, message: String, hint: &str| vec![Problem::new(option, message, hint)];
    // The parser's text never repeats the address, which may hold a password.
    let url = Url::parse(settings.text("url")).map_err(|error| {
        problem(
            "url",
            format!("option `url` is no address: {error}"),
            "such as `https://host/path`",
        )
    })?;
    let authorization = settings.opt_text("authorization").map(str::to_owned);
    if authorization
        .as_deref()
        .is_some_and(|value| HeaderValue::from_str(value).is_err())
    {
        let message = "option `authorization` holds characters that no header can";
        return Err(problem(
            "authorization",
            message.to_owned(),
            "remove line breaks",
        ));
    }
    let timeout = settings.duration("timeout");
    if timeout < Duration::from_millis(1) {
        return Err(problem(
            "timeout",
            "option `timeout` must be at least `1ms`".to_owned(),
            "",
        ));
    }
    let allow_private = settings.boolean("allow_private") || environment.allow_private_addresses;
    let client = client(timeout, allow_private)
        .map_err(|error| problem("url", format!("no HTTP client can be made: {error}"), ""))?;
    Ok(Poster {
        client,
        url,
        station: environment.station.clone(),
        format: match settings.text("format") {
            "ndjson" => Format::Ndjson,
            "single" => Format::Single,
            _ => Format::Json,
        },
        allow_private,
        headers: SecretHeaders {
            secret: settings.opt_text("secret").map(str::to_owned),
            authorization,
        },
    })
}

/// What is known of a record of a batch that is not through yet: accepted, or refused with a reason.
type Known = Result<(), String>;

#[derive(Debug)]
struct Webhook {
    poster: Poster,
    /// From earlier attempts at the same records, by sequence, so that a later attempt repeats only what is open.
    known: BTreeMap<u64, Known>,
}

impl Sink for Webhook {
    fn write<'a>(&'a mut self, batch: &'a [SinkRecord]) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            // Sequences ascend: what is known of earlier records is history.
            let first = batch.first().map_or(0, |record| record.seq);
            self.known = self.known.split_off(&first);
            let open: Vec<&SinkRecord> = batch
                .iter()
                .filter(|record| !self.known.contains_key(&record.seq))
                .collect();
            self.deliver(&open).await?;
            let refused: Vec<(usize, String)> = batch
                .iter()
                .enumerate()
                .filter_map(|(index, record)| match self.known.remove(&record.seq) {
                    Some(Err(reason)) => Some((index, reason)),
                    Some(Ok(())) | None => None,
                })
                .collect();
            if refused.is_empty() {
                Ok(())
            } else {
                Err(SinkError::Records(refused))
            }
        })
    }
}

impl Webhook {
    /// Sends all; a refused request is halved until the record it is about stands alone.
    async fn deliver(&mut self, open: &[&SinkRecord]) -> Result<(), SinkError> {
        let mut todo = pieces(open.len(), self.poster.format.most());
        while let Some(range) = todo.pop() {
            let records = &open[range.clone()];
            let seqs = records.iter().map(|record| record.seq);
            match self.poster.post(records).await {
                Answer::Accepted => self.known.extend(seqs.map(|seq| (seq, Ok(())))),
                Answer::Refused(reason) if records.len() == 1 => {
                    self.known
                        .extend(seqs.map(|seq| (seq, Err(reason.clone()))));
                }
                Answer::Refused(_) => {
                    let middle = range.start + records.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                }
                Answer::Later { reason, after } => {
                    return Err(SinkError::Retryable { reason, after });
                }
                Answer::Fatal(reason) => return Err(SinkError::Fatal { reason }),
            }
        }
        Ok(())
    }
}

/// Ranges of at most `most`, last first, to be popped in order.
fn pieces(count: usize, most: usize) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = (0..count)
        .step_by(most.min(count.max(1)))
        .map(|start| start..count.min(start.saturating_add(most)))
        .collect();
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests;
