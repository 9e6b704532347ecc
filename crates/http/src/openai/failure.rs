//! Answers that did not become whole: what a client is told, and whether asking again makes sense.

use axum::http::StatusCode;
use tokenwire_core::{CancelCause, Failure};

use super::error::ApiError;

/// How a failed generation is told. The status counts only where no byte has been sent.
pub(super) fn told(failure: &Failure) -> ApiError {
    match failure {
        Failure::Expired => {
            let message = "no worker began in time: ask again";
            ApiError::server(StatusCode::SERVICE_UNAVAILABLE, "expired", message)
        }
        Failure::TimedOut => {
            let message = "the answer took longer than it may";
            ApiError::server(StatusCode::GATEWAY_TIMEOUT, "timeout", message).final_answer()
        }
        Failure::Cancelled { cause } => {
            let message = match cause {
                CancelCause::Requested => "the answer was stopped on request",
                CancelCause::Abandoned => "the answer was stopped because nobody was reading",
            };
            ApiError::invalid(None, message)
                .with_status(StatusCode::CONFLICT)
                .coded("cancelled")
                .final_answer()
        }
        Failure::Rejected { message } => ApiError::invalid(None, message).coded("rejected"),
        // It has been tried as often as it may: an SDK that tries again by itself would multiply that.
        Failure::Exhausted { attempts: _, message } => {
            ApiError::server(StatusCode::INTERNAL_SERVER_ERROR, "exhausted", message).final_answer()
        }
        Failure::Lost => lost("the server lost the job of this answer: ask again"),
    }
}

/// The log has lost the stream, terminal entry and all.
pub(super) fn lost_stream() -> ApiError {
    lost("the server lost this answer before its end: ask again")
}

/// A stream went back to before what its reader has seen, and its format has no word for that.
pub(super) fn started_over() -> ApiError {
    let message = "the model started its answer over, which this format cannot say: ask again, or read the answer at \
                   the address in Location";
    ApiError::server(StatusCode::INTERNAL_SERVER_ERROR, "started_over", message)
}

fn lost(message: &str) -> ApiError {
    ApiError::server(StatusCode::INTERNAL_SERVER_ERROR, "lost", message)
}
