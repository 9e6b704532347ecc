//! Names the ACL rule that a user of the server lacks.

use ::redis::RedisError;

/// The user lacks a permission.
#[derive(Debug, thiserror::Error)]
#[error("the user {user} of redis at {address} may not {}: add {} to its ACL rules", right.what, right.rule)]
pub(super) struct Forbidden {
    pub(super) address: String,
    pub(super) user: String,
    pub(super) right: Right,
    #[source]
    pub(super) source: RedisError,
}

/// A missing permission, and the rule that grants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    what: String,
    rule: String,
}

impl Right {
    /// The missing permission, if that is why the server refused.
    pub(super) fn missing(source: &RedisError, prefix: &str) -> Option<Self> {
        // Within a script the code is only `ERR`.
        let mut details = Vec::new();
        for (_, error) in source.clone().into_server_errors()?.iter() {
            let detail = error.details().unwrap_or_default();
            let within =
                detail.contains("executing the script can't") || detail.contains("ACL failure in script");
            if error.code() == "NOPERM" || within {
                details.push(detail.to_owned());
            }
        }
        details.first().map(|detail| Self::said(detail, prefix))
    }

    fn said(detail: &str, prefix: &str) -> Self {
        if detail.contains("channel") {
            let verb = if detail.contains("script") { "publish to" } else { "subscribe to" };
            return Self {
                what: format!("{verb} channels that begin with \"{prefix}:\""),
                rule: format!("&{prefix}:*"),
            };
        }
        // `... permissions to run the 'xadd' command`
        if let Some(command) = detail.split("run the '").nth(1).and_then(|rest| rest.split('\'').next()) {
            return Self { what: format!("run {}", command.to_uppercase()), rule: format!("+{command}") };
        }
        if detail.contains("key") {
            return Self {
                what: format!("use keys that begin with \"{prefix}:\""),
                rule: format!("~{prefix}:*"),
            };
        }
        Self { what: "run all commands of a script".into(), rule: "+@all -@admin -@dangerous".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Redis 7.0 and 7.2 say it.
    #[test]
    fn the_rule_that_is_missing_is_named() {
        for (detail, rule) in [
            ("this user has no permissions to access one of the channels used as arguments", "&t:*"),
            ("No permissions to access a channel", "&t:*"),
            (
                "The user executing the script can't publish to the channel mentioned in the command script: 6",
                "&t:*",
            ),
            ("this user has no permissions to access one of the keys used as arguments", "~t:*"),
            ("No permissions to access a key", "~t:*"),
            (
                "The user executing the script can't access at least one of the keys mentioned in the command",
                "~t:*",
            ),
            ("this user has no permissions to run the 'evalsha' command", "+evalsha"),
            ("User t has no permissions to run the 'script|load' command", "+script|load"),
            ("ACL failure in script: User t has no permissions to run the 'xadd' command script: 3", "+xadd"),
            (
                "The user executing the script can't run this command or subcommand script: 3",
                "+@all -@admin -@dangerous",
            ),
        ] {
            assert_eq!(Right::said(detail, "t").rule, rule, "{detail}");
        }
    }
}
