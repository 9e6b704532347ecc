//! The simulator: that it repeats itself, that the system passes, and that planted defects do not.

mod defects;
mod seeds;
