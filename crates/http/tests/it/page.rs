//! The pages: ours, and the one of the demonstration that this server replaces, which must go on working unchanged.

use axum::http::{Method, StatusCode};
use tokenwire_core::{Event, Failure, TextSoFar};
use tokenwire_http::{Config, Cors};

use crate::support::{Stage, delta, done, started, text};

/// How the page of the demonstration reads: split at line ends, print what follows `data: ` trimmed and with a space,
/// look for three events. Returns what it prints, and the event at which it stops.
fn as_the_old_page(stream: &str) -> (String, Option<&str>) {
    let mut printed = String::new();
    for line in stream.split('\n') {
        if let Some(text) = line.strip_prefix("data: ") {
            printed.push_str(text.trim());
            printed.push(' ');
        }
        for event in ["done", "timeout", "error"] {
            if line.starts_with(&format!("event: {event}")) {
                return (printed, Some(event));
            }
        }
    }
    (printed, None)
}

#[tokio::test]
async fn the_page_of_the_demonstration_prints_the_words_and_notices_the_end() {
    let stage = Stage::new();
    for (last, event) in [
        (done(), "done"),
        (Event::Failed { failure: Failure::TimedOut }, "timeout"),
        (Event::Failed { failure: Failure::Rejected { message: "no".to_owned() } }, "error"),
    ] {
        let id = stage
            .written(&[
                started(1, TextSoFar::Kept),
                delta("Hello"),
                delta(" simulated"),
                delta(" world."),
                last,
            ])
            .await;
        let stream = text(stage.get(&format!("/ask/{id}"), &[]).await).await;
        assert_eq!(as_the_old_page(&stream), ("Hello simulated world. ".to_owned(), Some(event)));
    }
}

#[tokio::test]
async fn the_page_and_its_files_are_served_and_revalidated() {
    let stage = Stage::new();
    let page = text(stage.get("/", &[]).await).await;
    let files = page.split(['"', '\'']).filter(|path| path.starts_with("/assets/"));
    for path in files.chain(["/"]) {
        let response = stage.get(path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        let kind = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(headers["content-type"], kind, "{path}");
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'self';"));
        let etag = headers["etag"].to_str().unwrap().to_owned();
        assert!(!text(response).await.is_empty());

        let unchanged = stage.get(path, &[("if-none-match", &etag)]).await;
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(text(unchanged).await, "");
        assert_eq!(stage.get(path, &[("if-none-match", "\"other\"")]).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_as_configured() {
    let (ours, other) = ("https://example.org", "https://example.net");
    let origins = Cors::Origins(vec![ours.parse().unwrap()]);
    for (cors, origin, expected) in [
        (Cors::Off, ours, None),
        (Cors::Any, other, Some("*")),
        (origins.clone(), ours, Some(ours)),
        (origins, other, None),
    ] {
        let stage = Stage::with(Config { cors, ..Config::default() });
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-stainless-os"),
        ];
        let preflight = stage.call(Method::OPTIONS, "/ask", &asked, String::new()).await;
        let allowed =
            preflight.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, expected);
        if let Some(expected) = expected {
            assert_eq!(preflight.headers()["access-control-allow-headers"], "content-type,x-stainless-os");
            assert_eq!(preflight.headers()["access-control-allow-methods"], "GET,POST,DELETE");
            // Errors too, or else a page could not tell what was wrong.
            let answer = stage.call(Method::POST, "/ask", &[("origin", origin)], String::new()).await;
            assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(answer.headers()["access-control-allow-origin"], expected);
            let exposed = "location,retry-after,x-request-id,x-should-retry";
            assert_eq!(answer.headers()["access-control-expose-headers"], exposed);
        }
    }
}
