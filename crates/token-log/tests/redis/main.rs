//! The token log on a real Redis server: the port's conformance suite, and what only this adapter promises.

mod support;

mod conformance;
mod fences;
mod keys;
mod outages;
mod wake_ups;
