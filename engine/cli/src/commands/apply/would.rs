//! `apply --dry-run`: what a query would do as a flow.

use millstream_types::format_bytes;
use serde_json::Value;

use crate::commands::sql::refused_in_words;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{cell, one_line};

pub(super) fn show(name: &str, would: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    console.line(&format!("\nflow {name} would"))?;
    let text = |name: &str| cell(&would[name]).unwrap_or_default();
    let mut line = |what: &str, text: &str| {
        let line = format!("  {what:<9}{text}");
        console.line(line.trim_end())
    };
    line("begin", &text("begins"))?;
    let sources = would["sources"].as_array().into_iter().flatten();
    for source in sources {
        let table = if source["table"] == true {
            "table "
        } else {
            ""
        };
        let station = source["station"].as_str().unwrap_or_default();
        let filter = source["filter"].as_str();
        let filter = filter.map_or_else(String::new, |filter| format!(" on {filter}"));
        let messages = source["messages"].as_u64().unwrap_or(0);
        line(
            "read",
            &format!("{table}{station}{filter}: {messages} messages now"),
        )?;
    }
    let columns = would["columns"].as_array().into_iter().flatten();
    let columns = columns.map(|column| {
        let text = |name: &str| column[name].as_str().unwrap_or_default();
        format!("{} {}", text("name"), text("type"))
    });
    line("make", &columns.collect::<Vec<_>>().join(", "))?;
    let subject = would["subject"].as_str();
    let subject = subject.map_or_else(String::new, |subject| format!(" as {subject}"));
    line(
        "write",
        &format!("{}: {}{subject}", text("results"), text("into")),
    )?;
    line("late", &text("late"))?;
    let limit = would["state_limit"].as_u64().unwrap_or(1 << 30);
    let ttl = would["state_ttl"].as_str();
    let ttl = ttl.map_or_else(String::new, |ttl| format!(", forgotten after {ttl}"));
    line("keep", &format!("at most {}{ttl}", format_bytes(limit)))?;
    line("plan", "")?;
    for step in would["plan"].as_str().unwrap_or_default().lines() {
        line("", &one_line(step))?;
    }
    match would.get("history") {
        Some(history) => past(history, console),
        None => Ok(()),
    }
}

/// What came of what is stored.
fn past(history: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let count = |name: &str| history[name].as_u64().unwrap_or(0);
    if let Some(nothing) = history["nothing"].as_str() {
        return console.line(&format!("  history  nothing: {nothing}"));
    }
    let seconds = history["seconds"].as_f64().unwrap_or(0.0);
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more")]
    let speed = count("messages") as f64 / seconds.max(0.001);
    let mut results = format!("{} results", count("results"));
    if !history["updates"].is_null() {
        let [inserts, updates, deletes] = ["inserts", "updates", "deletes"].map(count);
        results.push_str(&format!(
            " ({inserts} inserts, {updates} updates, {deletes} deletes)"
        ));
    }
    console.line(&format!(
        "  history  {} messages in {seconds:.1} s ({speed:.0} a second): {results}, {} late, {} rejected",
        count("messages"),
        count("late"),
        count("rejected")
    ))?;
    let watermark = history["watermark"].as_str();
    let watermark = watermark.map_or_else(String::new, |time| format!("; watermark {time}"));
    console.line(&format!(
        "           state at the end: {} entries, {}{watermark}",
        count("state_rows"),
        format_bytes(count("state_bytes"))
    ))?;
    if history["ended"] == "deadline" {
        console.line(&format!(
            "           {} messages are left: it looks for a minute; `millstream sql --preview` looks longer",
            count("left")
        ))?;
    }
    if let Some(error) = history["error"].as_str() {
        console.line(&format!("           it stopped: {}", one_line(error)))?;
    }
    let list = |name: &str| history[name].as_array().cloned().unwrap_or_default();
    for sample in list("samples") {
        console.line(&format!("    {}", one_line(&sample.to_string())))?;
    }
    for (what, name) in [("late", "late_samples"), ("rejected", "rejected_samples")] {
        for message in list(name).iter().filter_map(Value::as_object) {
            console.line(&format!("    {what}: {}", refused_in_words(message)))?;
        }
    }
    Ok(())
}
