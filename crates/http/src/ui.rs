//! The page: a few files, part of the binary.
//!
//! Each is served with a strong `ETag` and has to be asked for again every time: after an upgrade a browser never mixes
//! the files of two versions, and an unchanged file costs one small answer.

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::front::etag;

/// What the page may do: run and load its own files, talk to this server, and nothing else. No text can become HTML, so what
/// a model says cannot: the page makes elements one by one (`ui/markdown.js`).
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                                       object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

#[derive(Clone, Copy, Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// A file of `ui/` under its path; everything but the page itself lives under `/assets/`.
macro_rules! file {
    ($path:expr, $name:literal, $content_type:literal) => {
        File { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("../ui/", $name)) }
    };
    ($name:literal, $content_type:literal) => {
        file!(concat!("/assets/", $name), $name, $content_type)
    };
}

const FILES: &[File] = &[
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("announcer.js", "text/javascript; charset=utf-8"),
    file!("answer.js", "text/javascript; charset=utf-8"),
    file!("app.js", "text/javascript; charset=utf-8"),
    file!("base.css", "text/css; charset=utf-8"),
    file!("blocks.js", "text/javascript; charset=utf-8"),
    file!("clipboard.js", "text/javascript; charset=utf-8"),
    file!("composer.css", "text/css; charset=utf-8"),
    file!("composer.js", "text/javascript; charset=utf-8"),
    file!("conversation.js", "text/javascript; charset=utf-8"),
    file!("conversations.js", "text/javascript; charset=utf-8"),
    file!("editing.js", "text/javascript; charset=utf-8"),
    file!("field.js", "text/javascript; charset=utf-8"),
    file!("follow.js", "text/javascript; charset=utf-8"),
    file!("format.js", "text/javascript; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("ids.js", "text/javascript; charset=utf-8"),
    file!("layout.css", "text/css; charset=utf-8"),
    file!("markdown.js", "text/javascript; charset=utf-8"),
    file!("models.js", "text/javascript; charset=utf-8"),
    file!("patch.js", "text/javascript; charset=utf-8"),
    file!("prose.css", "text/css; charset=utf-8"),
    file!("prose.js", "text/javascript; charset=utf-8"),
    file!("settings.js", "text/javascript; charset=utf-8"),
    file!("sidebar.css", "text/css; charset=utf-8"),
    file!("sidebar.js", "text/javascript; charset=utf-8"),
    file!("sse.js", "text/javascript; charset=utf-8"),
    file!("stream.js", "text/javascript; charset=utf-8"),
    file!("theme.js", "text/javascript; charset=utf-8"),
    file!("transcript.js", "text/javascript; charset=utf-8"),
    file!("turn-view.js", "text/javascript; charset=utf-8"),
    file!("turn.css", "text/css; charset=utf-8"),
    file!("turn.js", "text/javascript; charset=utf-8"),
    file!("vendor/markdown-it.js", "text/javascript; charset=utf-8"),
    file!("wire.js", "text/javascript; charset=utf-8"),
];

pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |routes, &file| {
        let etag = etag::of(file.bytes);
        routes.route(file.path, get(async move |headers: HeaderMap| serve(file, etag, &headers)))
    })
}

fn serve(file: File, etag: HeaderValue, headers: &HeaderMap) -> Response {
    let unchanged = etag::is_known(&etag, headers);
    let shared = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if unchanged {
        return (StatusCode::NOT_MODIFIED, shared).into_response();
    }
    let content_type: (HeaderName, _) = (header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    (shared, [content_type], file.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let directories = ["/ui", "/ui/vendor"].map(|path| format!("{}{path}", env!("CARGO_MANIFEST_DIR")));
        let kinds = ["html", "css", "js", "svg"].map(std::ffi::OsStr::new);
        let files = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
        for path in files.map(|file| file.unwrap().path()) {
            if path.extension().is_some_and(|kind| kinds.contains(&kind)) {
                let bytes = std::fs::read(&path).unwrap();
                assert!(FILES.iter().any(|file| file.bytes == bytes), "{} is not in FILES", path.display());
            }
        }
    }
}
