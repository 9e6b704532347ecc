//! Bytes of a body to SSE frames, as they come. Stricter than a browser: what the server never writes is an error.

/// One frame that was there to its last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    /// `message` for text.
    pub(crate) event: String,
    pub(crate) data: String,
}

/// What has come of a frame that is not whole. A connection begins with a new one: half a frame is nothing.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// The frames that these bytes complete, without comments and `retry:`.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, String> {
        self.rest.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).take(end).collect();
            let block = String::from_utf8(block).map_err(|_| "a frame that is not UTF-8".to_owned())?;
            frames.extend(parse(&block)?);
        }
        Ok(frames)
    }
}

fn parse(block: &str) -> Result<Option<Frame>, String> {
    let mut frame = Frame { id: None, event: "message".into(), data: String::new() };
    let mut data: Vec<&str> = Vec::new();
    for line in block.split('\n') {
        let Some((field, value)) = line.split_once(':') else {
            return Err(format!("a line that is no field: {line:?}"));
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => {
                let id = value.parse().map_err(|_| format!("an id that is no number: {value:?}"));
                frame.id = Some(id?);
            }
            "event" => value.clone_into(&mut frame.event),
            "data" => data.push(value),
            "" | "retry" => {}
            _ => return Err(format!("an unknown field: {line:?}")),
        }
    }
    frame.data = data.join("\n");
    Ok((frame.id.is_some() || !data.is_empty()).then_some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "retry: 1000\n\nevent: queued\ndata:{}\n\n:\n\nid: 1\nevent: started\ndata:{\"attempt\":1}\n\n\
                        id: 2\ndata:  w\u{f6}rd\n\nid: 3\ndata: a\ndata: \ndata: b\n\nid: 4\n\nid: 5\nevent: done\ndata:{}\n\n";

    fn frame(id: u64, event: &str, data: &str) -> Frame {
        Frame { id: Some(id), event: event.into(), data: data.into() }
    }

    #[test]
    fn frames_do_not_depend_on_how_their_bytes_come() {
        let expected = vec![
            Frame { id: None, event: "queued".into(), data: "{}".into() },
            frame(1, "started", "{\"attempt\":1}"),
            frame(2, "message", " w\u{f6}rd"),
            frame(3, "message", "a\n\nb"),
            frame(4, "message", ""),
            frame(5, "done", "{}"),
        ];
        for size in [1, 2, 3, 7, 1000] {
            let mut frames = Frames::default();
            let read: Vec<_> =
                BODY.as_bytes().chunks(size).flat_map(|bytes| frames.feed(bytes).unwrap()).collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn half_a_frame_is_nothing() {
        assert_eq!(Frames::default().feed(b"id: 7\ndata: hal").unwrap(), []);
        assert_eq!(Frames::default().feed(b"id: 7\ndata: half\n").unwrap(), []);
    }

    #[test]
    fn what_the_server_never_writes_is_an_error() {
        for bad in ["nonsense\n\n", "id: x\n\n", "datum: 1\n\n"] {
            assert!(Frames::default().feed(bad.as_bytes()).is_err());
        }
    }
}
