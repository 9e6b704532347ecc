//! The journal as its users meet it: written, killed, damaged, opened again.

mod disk;
mod recovery;
mod writing;
