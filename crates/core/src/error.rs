//! Common types of errors.

/// The cause of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error and its causes in one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
