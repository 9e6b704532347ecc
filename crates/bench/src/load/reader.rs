//! One reader of one stream: what it has seen over all its connections, and whether that is right.

use anyhow::{Result, bail, ensure};

use testkit::client::{Part, leading_number};

/// The field of the end with the number of deltas.
const COUNT: &[u8] = b"\"output_tokens\":";

/// What a reader knows of its stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The last entry that it saw.
    pub(crate) cursor: u64,
    /// How many of the entries were text.
    pub(crate) pieces: u64,
    /// A hash of every delta and its place. Two readers that saw the same have the same mark.
    pub(crate) mark: u64,
    /// It has seen the end.
    pub(crate) told: bool,
}

/// What a part of a response means to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// A delta that was made at this time. Zero without a stamp.
    Delta {
        made_at: u64,
    },
    /// Another entry.
    Entry,
    Nothing,
}

impl Progress {
    /// Handles one part.
    ///
    /// # Errors
    /// It is not the next one.
    pub(crate) fn take(&mut self, part: &Part<'_>) -> Result<Meant> {
        match *part {
            Part::Delta { id, text } => {
                let text = text.first_line;
                self.step(id)?;
                let made_at = leading_number(text);
                self.pieces += 1;
                // One step of FNV for each delta. Stamps differ, so they tell deltas apart.
                self.mark = (self.mark ^ made_at ^ (text.len() as u64) << 56).wrapping_mul(0x0100_0000_01b3);
                Ok(Meant::Delta { made_at })
            }
            Part::Event { id: Some(id), name, data } => {
                self.step(id)?;
                match name {
                    b"started" => {}
                    b"done" => self.done(data)?,
                    _ => bail!("{}: {}", name.escape_ascii(), data.escape_ascii()),
                }
                Ok(Meant::Entry)
            }
            Part::Event { id: None, name: b"queued", .. } if self.cursor == 0 => Ok(Meant::Nothing),
            Part::Event { id: None, name, data } => bail!("{}: {}", name.escape_ascii(), data.escape_ascii()),
            Part::Head { .. } | Part::Body(_) | Part::End => Ok(Meant::Nothing),
        }
    }

    fn step(&mut self, id: u64) -> Result<()> {
        ensure!(!self.told, "entry {id} after the end");
        ensure!(id == self.cursor + 1, "entry {id} after entry {}", self.cursor);
        self.cursor = id;
        Ok(())
    }

    fn done(&mut self, data: &[u8]) -> Result<()> {
        self.told = true;
        let counted = memchr::memmem::find(data, COUNT)
            .and_then(|at| data.get(at + COUNT.len()..))
            .map_or(0, leading_number);
        ensure!(counted == self.pieces, "{} pieces of an answer that had {counted}", self.pieces);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use testkit::client::Text;

    use super::*;

    fn piece(id: u64, text: &'static str) -> Part<'static> {
        Part::Delta { id, text: Text::line(text.as_bytes()) }
    }

    fn done(id: u64, data: &'static str) -> Part<'static> {
        Part::Event { id: Some(id), name: b"done", data: data.as_bytes() }
    }

    fn read(parts: &[Part<'_>]) -> Result<Progress> {
        let mut progress = Progress::default();
        parts.iter().try_for_each(|part| progress.take(part).map(drop))?;
        Ok(progress)
    }

    #[test]
    fn every_piece_once_in_order_and_all_of_them() {
        let whole = r#"{"usage":{"input_tokens":4,"output_tokens":2}}"#;
        let seen = read(&[piece(1, "7 a"), piece(2, "9 b"), done(3, whole)]).unwrap();
        assert_eq!((seen.cursor, seen.pieces, seen.told), (3, 2, true));
        for (wrong, why) in [
            (vec![piece(1, "7"), piece(3, "9")], "a gap"),
            (vec![piece(1, "7"), piece(1, "7")], "a repetition"),
            (vec![piece(1, "7"), done(2, whole)], "a piece is missing"),
            (vec![done(1, r#"{"output_tokens":0}"#), piece(2, "7")], "after the end"),
            (vec![Part::Event { id: Some(1), name: b"error", data: b"{}" }], "a failure"),
        ] {
            assert!(read(&wrong).is_err(), "{why}");
        }
    }

    #[test]
    fn other_pieces_leave_another_mark() {
        let mark = |parts: &[Part<'_>]| read(parts).unwrap().mark;
        assert_eq!(mark(&[piece(1, "7 a"), piece(2, "9 b")]), mark(&[piece(1, "7 a"), piece(2, "9 b")]));
        assert_ne!(mark(&[piece(1, "7 a"), piece(2, "9 b")]), mark(&[piece(1, "9 a"), piece(2, "7 b")]));
        assert_ne!(mark(&[piece(1, "7 a")]), mark(&[piece(1, "7 ab")]));
    }
}
