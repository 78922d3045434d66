//! Server: three routes, each request in a span of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::routing::get;
use tower_http::trace::TraceLayer;
use tracing::{Instrument as _, Span};

/// Serves until it is aborted.
pub(crate) async fn serve(listener: tokio::net::TcpListener) -> std::io::Result<()> {
    // The end of a body is no news here: an answer is one piece.
    let trace = TraceLayer::new_for_http().make_span_with(span).on_eos(());
    let routes =
        Router::new().route("/orders/{id}", get(order)).route("/fails", get(fails)).layer(trace);
    axum::serve(listener, routes).await
}

/// The span of a request, with a number that no other has.
fn span(request: &Request) -> Span {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    tracing::info_span!("request", id, method = %request.method(), path = request.uri().path())
}

/// Looks an order up, in a span below that of the request.
async fn order(Path(id): Path<u64>) -> String {
    let look_up = async {
        tokio::task::yield_now().await;
        tracing::info!(order = id, "looked up");
        id * 2
    };
    let price = look_up.instrument(tracing::info_span!("database", table = "orders")).await;
    format!("{price}\n")
}

/// Fails, for `TraceLayer` to tell.
async fn fails() -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}
