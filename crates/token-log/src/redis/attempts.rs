//! The stored state of the attempts: the field `attempts` of the meta hash.
//!
//! Decimal numbers, separated by spaces: the version of this form (1), attempts without progress, best size, 1 if asking,
//! start of the last attempt, number of model waits, and end of the wait (0 for none). A later version can add numbers at
//! the end. Older versions of tokenwire ignore the field.

use tokenwire_core::{Timestamp, token_log::Attempts};

/// The field.
pub(super) const ATTEMPTS: &str = "attempts";

const VERSION: u64 = 1;

pub(super) fn encode(attempts: Attempts) -> String {
    let Attempts { without_progress, best, asking, began_at, model_waits, waiting_until } = attempts;
    let waiting_until = waiting_until.map_or(0, Timestamp::as_millis);
    format!(
        "{VERSION} {without_progress} {best} {} {} {model_waits} {waiting_until}",
        u8::from(asking),
        began_at.as_millis()
    )
}

/// An unknown form reads as the default: the generation then gets more attempts, not fewer.
pub(super) fn decode(stored: &str) -> Attempts {
    read(stored).unwrap_or_default()
}

fn read(stored: &str) -> Option<Attempts> {
    let mut numbers = stored.split(' ').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    if next()? != VERSION {
        return None;
    }
    Some(Attempts {
        without_progress: next()?.try_into().ok()?,
        best: next()?,
        asking: next()? != 0,
        began_at: Timestamp::from_millis(next()?),
        model_waits: next()?.try_into().ok()?,
        waiting_until: Some(next()?).filter(|&until| until > 0).map(Timestamp::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_back_as_they_were() {
        let attempts = Attempts {
            without_progress: 3,
            best: 1 << 40,
            asking: true,
            began_at: Timestamp::from_millis(1_763_800_000_000),
            model_waits: 7,
            waiting_until: Some(Timestamp::from_millis(1_763_800_030_000)),
        };
        assert_eq!(encode(attempts), "1 3 1099511627776 1 1763800000000 7 1763800030000");
        for attempts in [attempts, Attempts { waiting_until: None, ..attempts }, Attempts::default()] {
            assert_eq!(decode(&encode(attempts)), attempts);
        }
        assert_eq!(decode("1 3 1099511627776 1 1763800000000 7 1763800030000 and more"), attempts);
    }

    #[test]
    fn what_is_not_understood_is_nothing() {
        for stored in ["", "2 3 4 1 5 6 7", "1 3", "1 x 4 1 5 6 7", "1 4294967296 4 1 5 6 7"] {
            assert_eq!(decode(stored), Attempts::default(), "{stored}");
        }
    }
}
