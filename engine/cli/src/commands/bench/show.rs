//! What `bench` answers: a table for people, an object for scripts.

use std::time::Duration;

use millstream_load::Latency;
use serde_json::{Value, json};

use crate::args::{BenchArgs, Format};
use crate::console::Console;
use crate::error::CliError;
use crate::table::Table;

use super::cases::Measured;

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) runs: Vec<Measured>,
    /// A bare write and fdatasync, where the disk is this machine's.
    pub(super) floor: Option<Latency>,
}

impl Outcome {
    pub(super) fn show(
        &self,
        address: &str,
        args: &BenchArgs,
        format: Format,
        console: &mut Console<'_>,
    ) -> Result<(), CliError> {
        if console.structured(format, &self.value(address, args))? {
            return Ok(());
        }
        console.text(&self.table(args))
    }

    fn value(&self, address: &str, args: &BenchArgs) -> Value {
        let cases: Vec<Value> = self.runs.iter().map(|run| case(run, args)).collect();
        let mut value = json!({ "server": address, "size": args.size, "publishers": args.publishers,
            "window": args.window, "cases": cases });
        if let Some(floor) = &self.floor {
            value["fdatasync_us"] = latency(floor);
        }
        value
    }

    fn table(&self, args: &BenchArgs) -> String {
        let mut table = Table::new([
            "case",
            "messages",
            "seconds",
            "per second",
            "MiB/s",
            "p50",
            "p99",
            "p99.9",
            "longest",
        ]);
        for measured in &self.runs {
            let run = &measured.run;
            let rate = rate(measured);
            let mut cells = vec![
                measured.case.to_owned(),
                run.messages.to_string(),
                format!("{:.2}", run.elapsed.as_secs_f64()),
                grouped(rate),
                format!("{:.1}", rate * f64::from(args.size) / 1_048_576.0),
            ];
            if run.latency.count() > 0 {
                let quantiles = [0.5, 0.99, 0.999].map(|quantile| run.latency.quantile(quantile));
                cells.extend(quantiles.map(time));
                cells.push(time(run.latency.max()));
            }
            table.row(cells);
        }
        let mut text = table.draw();
        let more = |text: &mut String, line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        text.push('\n');
        for (rate, late) in self.runs.iter().filter_map(|run| run.open.as_ref()) {
            more(
                &mut text,
                format!(
                    "store: sent by the clock, {} a second; latency counts from when a message was due.\n       \
                     The generator itself was up to {} late (p99).",
                    grouped(*rate),
                    time(late.quantile(0.99))
                ),
            );
        }
        if let Some(floor) = &self.floor {
            more(
                &mut text,
                format!(
                    "The disk alone, a write and fdatasync: p50 {}, p99 {}.",
                    time(floor.quantile(0.5)),
                    time(floor.quantile(0.99))
                ),
            );
        }
        more(
            &mut text,
            format!(
                "Payloads of {} bytes, {} publishing. On one machine, generator and server share its cores.",
                args.size,
                if args.publishers == 1 {
                    "1 connection".to_owned()
                } else {
                    format!("{} connections", args.publishers)
                }
            ),
        );
        text
    }
}

/// Messages per second that came out where something comes out.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn rate(measured: &Measured) -> f64 {
    let run = &measured.run;
    let share = measured.delivered.map_or(1.0, |delivered| {
        delivered as f64 / run.messages.max(1) as f64
    });
    run.rate() * share
}

fn case(measured: &Measured, args: &BenchArgs) -> Value {
    let run = &measured.run;
    let rate = rate(measured);
    let mut value = json!({ "case": measured.case, "messages": run.messages,
        "seconds": run.elapsed.as_secs_f64(), "per_second": rate.round(),
        "bytes_per_second": (rate * f64::from(args.size)).round() });
    if let Some(delivered) = measured.delivered {
        value["delivered"] = delivered.into();
    }
    if run.latency.count() > 0 {
        value["latency_us"] = latency(&run.latency);
    }
    if let Some((rate, late)) = &measured.open {
        value["rate"] = json!(rate);
        value["generator_late_us"] = latency(late);
    }
    value
}

fn latency(latency: &Latency) -> Value {
    let micros = |quantile| (latency.micros(quantile) * 10.0).round() / 10.0;
    json!({ "p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "p999": micros(0.999),
        "max": (latency.max().as_secs_f64() * 1e7).round() / 10.0 })
}

/// `1,234,567`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and far below 2^52"
)]
fn grouped(figure: f64) -> String {
    let digits = (figure.max(0.0).round() as u64).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `870 ns`, `12.3 us`, `4.56 ms`, `1.23 s`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        _ if seconds >= 1.0 => format!("{seconds:.2} s"),
        _ if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        _ if seconds >= 1e-6 => format!("{:.1} us", seconds * 1e6),
        _ => format!("{} ns", time.as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;
    use expect_test::expect;
    use millstream_load::{Latency, Run};
    use serde_json::json;

    use super::{Outcome, grouped, time};
    use crate::args::BenchArgs;
    use crate::commands::bench::cases::Measured;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn outcome() -> Outcome {
        let mut latency = Latency::default();
        latency.record_n(Duration::from_micros(250), 1000);
        let run = |messages| Run {
            messages,
            elapsed: Duration::from_millis(500),
            latency: Latency::default(),
        };
        let measured = |case, messages| Measured {
            case,
            run: run(messages),
            delivered: None,
            open: None,
        };
        let mut store = measured("store", 1000);
        store.run.latency = latency.clone();
        store.open = Some((2000.0, latency.clone()));
        let mut deliver = measured("deliver", 1_000_000);
        deliver.delivered = Some(4_000_000);
        Outcome {
            runs: vec![deliver, store],
            floor: Some(latency),
        }
    }

    #[test]
    fn for_people() {
        let args = Cli::parse_from(["bench", "--rate", "2000"]).args;
        expect![[r#"
            CASE     MESSAGES  SECONDS  PER SECOND  MIB/S  P50       P99       P99.9     LONGEST
            deliver  1000000   0.50     8,000,000   976.6
            store    1000      0.50     2,000       0.2    250.1 us  250.1 us  250.1 us  250.1 us

            store: sent by the clock, 2,000 a second; latency counts from when a message was due.
                   The generator itself was up to 250.1 us late (p99).
            The disk alone, a write and fdatasync: p50 250.1 us, p99 250.1 us.
            Payloads of 128 bytes, 1 connection publishing. On one machine, generator and server share its cores.
        "#]].assert_eq(&outcome().table(&args));
    }

    #[test]
    fn for_scripts() {
        let args = Cli::parse_from(["bench", "--size", "16"]).args;
        let value = outcome().value("localhost:1", &args);
        let p50 = |of: &serde_json::Value| of["p50"].as_f64().expect("a number");
        assert!((p50(&value["fdatasync_us"]) - 250.0).abs() < 0.5, "{value}");
        assert!((p50(&value["cases"][1]["latency_us"]) - 250.0).abs() < 0.5);
        assert_eq!(value["cases"][0]["per_second"], json!(8_000_000.0));
        assert_eq!(value["cases"][0]["delivered"], json!(4_000_000));
        assert_eq!(value["cases"][1]["bytes_per_second"], json!(32_000.0));
        assert!(value["cases"][0].get("latency_us").is_none());
    }

    #[test]
    fn numbers_for_people() {
        for (figure, want) in [(0.4, "0"), (999.6, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(figure), want);
        }
        for (nanos, want) in [(870, "870 ns"), (12_300, "12.3 us"), (4_560_000, "4.56 ms")] {
            assert_eq!(time(Duration::from_nanos(nanos)), want);
        }
    }
}
