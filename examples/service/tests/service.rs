//! Every request that the clients sent is in the log, with what was logged in its span.

#[test]
fn every_request_is_in_the_log_with_its_spans_and_status() {
    let dir = tempfile::tempdir().expect("a directory");
    let requests = 5_000;
    let service::Report { asked, counted, lost } =
        service::run(dir.path(), 8, requests).expect("the service runs");
    assert_eq!((asked.total(), lost), (requests, 0));
    assert_eq!((asked.found, asked.missing, asked.failed), (4_450, 500, 50));
    // `TraceLayer` tells the beginning and the end of each, and that some failed.
    let messages: Vec<(&str, u64)> =
        counted.messages.iter().map(|(message, count)| (message.as_str(), *count)).collect();
    assert_eq!(
        messages,
        [
            ("finished processing request", requests),
            ("looked up", asked.found),
            ("response failed", asked.failed),
            ("started processing request", requests),
        ]
    );
    let statuses: Vec<(u64, u64)> = counted.statuses.into_iter().collect();
    assert_eq!(statuses, [(200, asked.found), (404, asked.missing), (500, asked.failed)]);
    // Each in a span of its own, and what a handler says in the span below.
    assert_eq!((counted.requests, counted.outside), (requests, 0));
    assert_eq!(counted.nested, asked.found);
}
