//! Otel: the ids that OpenTelemetry gives to spans stand in ttlog's, as `LayerBuilder::trace_ids`
//! says. A package of its own, since nothing else here needs OpenTelemetry.
#![cfg(test)]

use std::time::Duration;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::prelude::*;
use ttlog::view::{Item, Query, Record, Source, Value};

fn ids() -> Option<([u8; 16], [u8; 8])> {
    let context = opentelemetry::Context::current();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| (span.trace_id().to_bytes(), span.span_id().to_bytes()))
}

#[test]
fn spans_carry_the_ids_that_opentelemetry_gave_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (layer, handle) = ttlog::layer(dir.path()).trace_ids(ids).build().expect("a logger");
    let tracer = SdkTracerProvider::builder().build().tracer("check");
    let traces = tracing_opentelemetry::layer().with_tracer(tracer);
    let default = tracing_subscriber::registry().with(traces).with(layer).set_default();
    let mut told = Vec::new();
    for n in 0..2 {
        let _request = tracing::info_span!("request", n).entered();
        told.push(ids().expect("OpenTelemetry knows the request"));
        let _inner = tracing::info_span!("inner").entered();
        told.push(ids().expect("and what is in it"));
        tracing::info!("in both");
    }
    drop(default);
    handle.shutdown(Duration::from_secs(60)).expect("a disk that answers");
    let records: Vec<Record> = Source::open(dir.path())
        .expect("a log")
        .query(&Query::new())
        .map(|item| match item.expect("a log that can be read") {
            Item::Record(record) => record,
            other => panic!("not an event: {other:?}"),
        })
        .collect();
    let shown: Vec<_> = records.iter().flat_map(|record| record.spans()).collect();
    assert_eq!(shown.len(), told.len());
    for (span, (trace, id)) in shown.iter().zip(&told) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(span.field("trace_id"), Some(Value::from(hex(trace).as_str())), "{span:?}");
        assert_eq!(span.field("span_id"), Some(Value::from(hex(id).as_str())), "{span:?}");
    }
    assert_eq!(told[0].0, told[1].0, "a request and what is in it are one trace");
    assert_ne!(told[0].0, told[2].0, "two requests are two");
}
