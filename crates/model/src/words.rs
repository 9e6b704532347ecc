//! Splits a text into words, for models without a vocabulary.

/// The words of a text. Each begins with the white space before it, so that all together are the text.
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
