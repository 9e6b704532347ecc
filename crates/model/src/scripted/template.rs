//! Texts of a script that take in what its pattern found in the prompt.
//!
//! `$1` is what the first group matched, `$0` the whole match, `${name}` the group of that name, and `$$` a dollar. The number
//! ends where its digits end. In an answer without a pattern there is nothing to take in, and every text is itself.

use regex::{Captures, Regex};

/// A text with places to fill.
#[derive(Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Reads a text of an answer with this pattern. The error says what to change.
    pub(super) fn parse(text: &str, pattern: Option<&Regex>) -> Result<Self, String> {
        let Some(pattern) = pattern else { return Ok(Self(vec![Part::Text(text.to_owned())])) };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Text(before.to_owned()));
            let (part, after) = reference(after, pattern)?;
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The text, with what was captured, each put in as `write` makes it.
    pub(super) fn fill(&self, captures: Option<&Captures<'_>>, write: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Group(group) => {
                let found = captures.and_then(|captures| captures.get(*group));
                found.map(|found| write(found.as_str())).unwrap_or_default()
            }
        };
        self.0.iter().map(part).collect()
    }
}

/// What follows a dollar, and the rest.
fn reference<'a>(text: &'a str, pattern: &Regex) -> Result<(Part, &'a str), String> {
    if let Some(rest) = text.strip_prefix('$') {
        return Ok((Part::Text("$".to_owned()), rest));
    }
    if let Some((name, rest)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        let by_name = || pattern.capture_names().position(|group| group == Some(name));
        let group = name.parse().ok().filter(|group| *group < pattern.captures_len()).or_else(by_name);
        let group =
            group.ok_or_else(|| format!("the pattern has no group {name}, which ${{{name}}} names"))?;
        return Ok((Part::Group(group), rest));
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(
            "in an answer with a pattern, write $$ for a dollar, and $1 or ${name} for a group".into()
        );
    }
    let group = number.parse().ok().filter(|group| *group < pattern.captures_len());
    let group = group.ok_or_else(|| format!("the pattern has no group {number}, which ${number} names"))?;
    Ok((Part::Group(group), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pattern: &str, prompt: &str, text: &str) -> Result<String, String> {
        let pattern = Regex::new(pattern).unwrap();
        let captures = pattern.captures(prompt);
        Template::parse(text, Some(&pattern)).map(|text| text.fill(captures.as_ref(), str::to_owned))
    }

    #[test]
    fn groups_are_taken_in_by_number_and_by_name() {
        let pattern = r"(?P<what>\w+) in (\w+)( now)?";
        let text = "$1, ${what}, $2nd, ${2}0, $0, $3, $$5";
        let expected = "weather, weather, Münchennd, München0, weather in München, , $5";
        assert_eq!(filled(pattern, "The weather in München?", text).unwrap(), expected);
    }

    #[test]
    fn what_names_no_group_is_refused() {
        for (text, problem) in [
            ("$2", "the pattern has no group 2"),
            ("${city}", "the pattern has no group city"),
            ("a $ b", "write $$ for a dollar"),
            ("${open", "write $$ for a dollar"),
        ] {
            let told = filled("(.)", "x", text).unwrap_err();
            assert!(told.contains(problem), "{text}: {told}");
        }
    }

    #[test]
    fn without_a_pattern_a_dollar_is_a_dollar() {
        let text = Template::parse("$1 and $$", None).unwrap();
        assert_eq!(text.fill(None, str::to_owned), "$1 and $$");
    }
}
