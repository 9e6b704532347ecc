//! Reads the spec of a stream from its meta hash.

use std::time::Duration;

use ::redis::Pipeline;
use bytes::Bytes;
use tokenwire_core::{
    Caller, CallerName, Fingerprint, GenerationId, LogError, Timestamp,
    token_log::{OnDisconnect, StreamSpec},
};

use super::{
    connection::Link,
    keys::Keys,
    page::{Damage, FORMAT},
};

/// The field of the metadata. Older versions named it so. Without metadata there is no field.
pub(super) const METADATA: &str = "memo";

/// The field of the request, until the stream is sealed.
const REQUEST: &str = "request";

/// The fields of [`Fields`].
pub(super) const FIELDS: [&str; 7] =
    ["v", "fingerprint", "created_at", "start_by", "end_by", "grace", "caller"];

/// The spec without metadata and request.
pub(super) type Fields =
    (Option<u32>, Option<Vec<u8>>, Option<u64>, Option<u64>, Option<u64>, Option<u64>, Option<String>);

/// Metadata and request.
type Large = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Reads the complete spec of a stream in one transaction.
pub(super) async fn read(link: &Link, keys: &Keys, id: GenerationId) -> Result<StreamSpec, LogError> {
    let mut transaction = Pipeline::new();
    transaction.atomic();
    transaction.cmd("HMGET").arg(&keys.meta).arg(&FIELDS).cmd("HMGET");
    transaction.arg(&keys.meta).arg(&[METADATA, REQUEST]);
    let (fixed, (metadata, request)): (Fields, Large) =
        link.pipeline(&transaction).await.map_err(|outage| outage.about(id))?;
    let spec = spec(fixed)?.ok_or(LogError::NotFound(id))?;
    Ok(StreamSpec {
        metadata: metadata.unwrap_or_default().into(),
        request: request.unwrap_or_default().into(),
        ..spec
    })
}

/// The spec without metadata and request. `None` when there is no stream.
pub(super) fn spec(fixed: Fields) -> Result<Option<StreamSpec>, Damage> {
    let (Some(format), fingerprint, created_at, start_by, end_by, grace, caller) = fixed else {
        return Ok(None);
    };
    if format != FORMAT {
        return Err(Damage::Format(format));
    }
    let fingerprint = fingerprint.and_then(|bytes| bytes.try_into().ok());
    let (Some(fingerprint), Some(created_at), Some(start_by), Some(end_by)) =
        (fingerprint, created_at, start_by, end_by)
    else {
        return Err(Damage::Meta);
    };
    // Without the field the caller is anonymous.
    let caller = match caller.map(|name| CallerName::new(&name)).transpose() {
        Ok(name) => name.map_or(Caller::Anonymous, Caller::Named),
        Err(_) => return Err(Damage::Meta),
    };
    Ok(Some(StreamSpec {
        fingerprint: Fingerprint::from_bytes(fingerprint),
        caller,
        on_disconnect: grace
            .map_or(OnDisconnect::Detached, |grace| OnDisconnect::CancelAfter(Duration::from_millis(grace))),
        created_at: Timestamp::from_millis(created_at),
        start_by: Timestamp::from_millis(start_by),
        end_by: Timestamp::from_millis(end_by),
        metadata: Bytes::new(),
        request: Bytes::new(),
    }))
}
