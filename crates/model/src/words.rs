//! Cuts a text into words, as models without a vocabulary say it.

/// The words of a text. Each takes the white space before it along, so joined without anything between them they are the
/// text.
pub(crate) fn words(text: String) -> impl Iterator<Item = String> + Send {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let word_at = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let word_len = rest.get(word_at..)?.find(char::is_whitespace).unwrap_or(rest.len() - word_at);
        let word = rest.get(..word_at + word_len)?.to_owned();
        at += word.len();
        Some(word)
    })
}
