//! Standard output.

use std::io::{self, Write};

/// Prints one line at once. A closed output is no error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
