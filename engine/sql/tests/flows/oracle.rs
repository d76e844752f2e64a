//! The answer to a query over the whole history, by DataFusion alone.

use std::io::Cursor;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_pipeline::ColumnKind;
use millstream_types::Timestamp;
use serde_json::{Deserializer, Value};

use crate::data::{Row, Station};
use crate::windows::expand;

/// Rows of the answer. `now` is what `PROCTIME()` is all the time.
pub(crate) fn answer(sql: &str, stations: &[Station], now: Timestamp) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut config = SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let context = SessionContext::new_with_config(config);
        for station in stations {
            register(&context, station.name, schema(station), &station.rows())?;
        }
        let sql = expand(&context, &timeless(sql, now)).await?;
        Ok(collect(&context, &sql).await?.1)
    })
}

/// `PROCTIME()` becomes a time, and what is looked up is as it is.
fn timeless(sql: &str, now: Timestamp) -> String {
    let sql = sql.replace("FOR SYSTEM_TIME AS OF PROCTIME()", "");
    let now = now.to_rfc3339();
    sql.replace(
        "PROCTIME()",
        &format!("arrow_cast('{now}', 'Timestamp(ns, \"UTC\")')"),
    )
}

fn schema(station: &Station) -> Schema {
    let fields = station.columns.iter().map(|(name, kind)| {
        let data_type = match kind {
            ColumnKind::Bool => DataType::Boolean,
            ColumnKind::Int64 => DataType::Int64,
            ColumnKind::Float64 => DataType::Float64,
            ColumnKind::String | ColumnKind::Json => DataType::Utf8,
            ColumnKind::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            other => unreachable!("no history has a column of {other}"),
        };
        Field::new(*name, data_type, true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Makes a table of rows.
pub(crate) fn register(
    context: &SessionContext,
    name: &str,
    schema: Schema,
    rows: &[Row],
) -> Result<(), String> {
    let schema = Arc::new(schema);
    let text: String = rows
        .iter()
        .map(|row| format!("{}\n", Value::from(row.clone())))
        .collect();
    let reader = ReaderBuilder::new(Arc::clone(&schema)).build(Cursor::new(text));
    let batches: Result<Vec<_>, _> = reader.map_err(|error| error.to_string())?.collect();
    let batches = batches.map_err(|error| format!("{name}: {error}"))?;
    let table = MemTable::try_new(schema, vec![batches]).map_err(|error| error.to_string())?;
    let made = context.register_table(name, Arc::new(table));
    made.map_err(|error| error.to_string())?;
    Ok(())
}

/// The columns and rows of a query.
pub(crate) async fn collect(
    context: &SessionContext,
    sql: &str,
) -> Result<(SchemaRef, Vec<Row>), String> {
    let failed = |error| format!("{error}\n{sql}");
    let frame = context.sql(sql).await.map_err(failed)?;
    let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.map_err(failed)?;
    let mut writer = LineDelimitedWriter::new(Vec::new());
    for batch in &batches {
        writer.write(batch).map_err(|error| error.to_string())?;
    }
    writer.finish().map_err(|error| error.to_string())?;
    let text = writer.into_inner();
    let rows: Result<Vec<Row>, _> = Deserializer::from_slice(&text).into_iter().collect();
    Ok((schema, rows.map_err(|error| error.to_string())?))
}
