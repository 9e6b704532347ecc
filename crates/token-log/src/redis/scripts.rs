//! The server-side scripts. Every change of a stream is one of them, and is atomic.
//!
//! They refuse with their own error codes (`NOTFOUND`, `SEALED`, `FENCED`, `LOST`, ...), which `outage.rs` maps to the
//! errors of the port. The flags line makes the server check the declared keys, and refuse a writing script when it is out
//! of memory. Scripts that free memory or end a stream may run even then.

use ::redis::Script;

pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) open_writer: Script,
    pub(super) append: Script,
    pub(super) seal: Script,
    pub(super) cancel: Script,
    pub(super) touch_presence: Script,
    pub(super) remove: Script,
    pub(super) restore: Script,
    pub(super) seal_damaged: Script,
    pub(super) record_attempts: Script,
    pub(super) claim_job: Script,
    pub(super) job_stored: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: Script::new(include_str!("create.lua")),
            open_writer: Script::new(include_str!("open_writer.lua")),
            append: Script::new(concat!("#!lua\n", include_str!("append.lua"))),
            seal: Script::new(concat!("#!lua flags=allow-oom\n", include_str!("append.lua"))),
            cancel: Script::new(include_str!("cancel.lua")),
            touch_presence: Script::new(include_str!("touch_presence.lua")),
            remove: Script::new(include_str!("remove.lua")),
            restore: Script::new(include_str!("restore.lua")),
            seal_damaged: Script::new(include_str!("seal_damaged.lua")),
            record_attempts: Script::new(include_str!("record_attempts.lua")),
            claim_job: Script::new(include_str!("claim_job.lua")),
            job_stored: Script::new(include_str!("job_stored.lua")),
        }
    }
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    /// A script that uses an undeclared key fails on a cluster.
    #[test]
    fn scripts_touch_only_the_keys_they_are_given() {
        for script in [
            include_str!("create.lua"),
            include_str!("open_writer.lua"),
            include_str!("append.lua"),
            include_str!("cancel.lua"),
            include_str!("touch_presence.lua"),
            include_str!("remove.lua"),
            include_str!("restore.lua"),
            include_str!("seal_damaged.lua"),
            include_str!("record_attempts.lua"),
            include_str!("claim_job.lua"),
            include_str!("job_stored.lua"),
        ] {
            let given: Vec<_> = script
                .lines()
                .filter_map(|line| line.strip_prefix("local ")?.split_once(" = "))
                .filter(|(_, values)| values.starts_with("KEYS["))
                .flat_map(|(names, values)| names.split(", ").zip(values.split(", ")))
                .filter(|(_, value)| value.starts_with("KEYS["))
                .map(|(name, _)| name)
                .collect();
            let calls = script.split("redis.call(").skip(1);
            for call in calls {
                let mut words = call.split([',', ')']).map(str::trim);
                let command = words.next().unwrap();
                let key = words.next().unwrap();
                match command {
                    "'TIME'" => {}
                    "'PUBLISH'" => assert_eq!(key, "channel"),
                    _ => assert!(given.contains(&key), "{command} {key}"),
                }
            }
        }
    }
}
