//! Defects to plant, one at a time: each is a possible mistake in an adapter, and breaks one promise. A
//! simulator that lets one pass proves nothing.

use crate::Rule;

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The log lets an older writer append.
    FenceRemoved,
    /// The log gives a stream that has an owner to another worker.
    OwnerDeposed,
    /// The log lets a writer append to a sealed stream.
    AppendAfterSeal,
    /// A reader that resumes gets the entry at its cursor again.
    ResumeRepeats,
    /// A reader that resumes misses the entry after its cursor.
    ResumeSkips,
    /// Wake-ups carry other entries than the log has.
    HintsLie,
    /// Wake-ups announce entries before they are stored.
    AnnouncedBeforeDurable,
    /// An append of unknown outcome that is repeated is there twice.
    AppendTwice,
    /// The log gives the number of the last attempt out again.
    AttemptReused,
    /// The next attempt is not told of the last piece that was committed.
    PrefixIncomplete,
    /// The log acknowledges a seal and forgets it.
    SealLost,
    /// The stream is created after the job is stored.
    StreamAfterJob,
    /// A request to stop is acknowledged and forgotten.
    CancelForgotten,
    /// A generation without readers goes on.
    AudienceIgnored,
    /// Readers are not seen.
    ReadersUnseen,
    /// A job is acknowledged when it is leased.
    AckAtLease,
    /// The job of a dropped lease does not come back.
    LeaseDropLosesJob,
    /// Acknowledged jobs come back, for ever.
    AckForgotten,
    /// The queue says that a job is stored, and it is not.
    EnqueueLost,
    /// What an attempt that was given back did not cost is counted all the same.
    GiveBackCounts,
    /// Every opening of a stream counts as an attempt that asked its model.
    OpeningsCount,
    /// What is noted before the model is asked is forgotten.
    AskingNotNoted,
    /// A job that the queue has given up on is thrown away.
    DeadLetterDropped,
    /// Every caller that asks to store the job of a stream again is allowed to, not only one.
    EveryClaimGiven,
    /// The stream does not have its request any more.
    RequestLost,
    /// A request to stop ends nothing that waits.
    WaitingNotStopped,
    /// Readers that the log does not know any more count as gone.
    UnknownIsEmpty,
    /// One acknowledgement acknowledges every copy of a job.
    CopiesAcked,
    /// A model that is busy or away counts as one that failed.
    BusyIsBroken,
    /// A stream that cannot be read any more looks like a log that is away.
    DamageUntold,
    /// A log that is away still says of streams that they do not exist.
    AwayAnswers,
}

impl Defect {
    /// Every defect, and the rule that catches it.
    pub const ALL: [(Self, Rule); 31] = [
        (Self::FenceRemoved, Rule::I3),
        (Self::OwnerDeposed, Rule::I3),
        (Self::AppendAfterSeal, Rule::I1),
        (Self::ResumeRepeats, Rule::I7),
        (Self::ResumeSkips, Rule::I7),
        (Self::HintsLie, Rule::I7),
        (Self::AnnouncedBeforeDurable, Rule::I2),
        (Self::AppendTwice, Rule::I1),
        (Self::AttemptReused, Rule::I4),
        (Self::PrefixIncomplete, Rule::Continuation),
        (Self::SealLost, Rule::I10),
        (Self::StreamAfterJob, Rule::I6),
        (Self::CancelForgotten, Rule::Stop),
        (Self::AudienceIgnored, Rule::Audience),
        (Self::ReadersUnseen, Rule::Audience),
        (Self::AckAtLease, Rule::I5),
        (Self::LeaseDropLosesJob, Rule::I10),
        (Self::AckForgotten, Rule::I5),
        (Self::EnqueueLost, Rule::I9),
        (Self::GiveBackCounts, Rule::I11),
        (Self::OpeningsCount, Rule::I11),
        (Self::AskingNotNoted, Rule::I10),
        (Self::DeadLetterDropped, Rule::I5),
        (Self::EveryClaimGiven, Rule::Claims),
        (Self::RequestLost, Rule::I10),
        (Self::WaitingNotStopped, Rule::Stop),
        (Self::UnknownIsEmpty, Rule::Audience),
        (Self::CopiesAcked, Rule::I5),
        (Self::BusyIsBroken, Rule::I11),
        (Self::DamageUntold, Rule::I10),
        (Self::AwayAnswers, Rule::I11),
    ];
}
