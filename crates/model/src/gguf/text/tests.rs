use proptest::prelude::*;

use super::*;

/// Adds these tokens, numbered from 0. Returns every delta, and whether a stop text ended the answer.
fn say(stops: &[&str], tokens: &[&[u8]]) -> (Vec<Piece>, bool) {
    let stops = StopTexts::new(stops.iter().map(ToString::to_string).collect()).unwrap();
    let mut transcript = Transcript::new(&stops);
    let mut pieces = Vec::new();
    for (id, bytes) in (0..).zip(tokens) {
        match transcript.push(TokenId(id), bytes) {
            Heard::More(piece) => pieces.extend(piece),
            Heard::Stopped(piece) => {
                pieces.extend(piece);
                return (pieces, true);
            }
        }
    }
    pieces.extend(transcript.end());
    (pieces, false)
}

fn texts(stops: &[&str], tokens: &[&str]) -> Vec<String> {
    let tokens: Vec<_> = tokens.iter().map(|token| token.as_bytes()).collect();
    say(stops, &tokens).0.into_iter().map(|piece| piece.text).collect()
}

fn piece(text: &str, tokens: &[u32]) -> Piece {
    Piece { text: text.to_owned(), tokens: tokens.iter().copied().map(TokenId).collect() }
}

#[test]
fn half_a_character_waits_for_the_other_half() {
    let (pieces, _) = say(&[], &[b"a", b"\xF0\x9F", b"\xA6\x80", b"!"]);
    assert_eq!(pieces, [piece("a", &[0]), piece("🦀", &[1, 2]), piece("!", &[3])]);
}

#[test]
fn a_token_that_ends_in_half_a_character_waits_as_a_whole() {
    let (pieces, _) = say(&[], &[b"caf\xC3", b"\xA9s"]);
    assert_eq!(pieces, [piece("cafés", &[0, 1])]);
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    let (pieces, _) = say(&[], &[b"\xFF", b"a\xE2\x82", b"b", b"\xC3"]);
    assert_eq!(pieces, [piece("\u{FFFD}", &[0]), piece("a\u{FFFD}b", &[1, 2]), piece("\u{FFFD}", &[3])]);
}

#[test]
fn tokens_without_text_go_with_the_next_that_has_some() {
    let (pieces, _) = say(&[], &[b"", b"a", b"", b"", b"b", b""]);
    assert_eq!(pieces, [piece("a", &[0, 1]), piece("b", &[2, 3, 4])]);
}

#[test]
fn an_answer_ends_before_a_stop_text_in_the_middle_of_a_token() {
    let (pieces, stopped) = say(&["END"], &[b"one ", b"two END three"]);
    assert_eq!(pieces, [piece("one ", &[0]), piece("two ", &[])]);
    assert!(stopped);
}

#[test]
fn an_answer_ends_before_a_stop_text_over_several_tokens() {
    let (pieces, stopped) = say(&["\n\nUser:"], &[b"Hi", b"\n", b"\nUs", b"er", b": x"]);
    assert_eq!(pieces, [piece("Hi", &[0])]);
    assert!(stopped);
}

#[test]
fn what_only_looked_like_a_stop_text_is_said() {
    assert_eq!(texts(&["abcd"], &["x", "ab", "c", "y", "ab"]), ["x", "abcy", "ab"]);
}

#[test]
fn what_cannot_become_a_stop_text_is_not_held_back_by_what_can() {
    // Every text here ends with the beginning of the stop text.
    assert_eq!(texts(&["ab"], &["a", "a", "a", "a"]), ["a", "a", "a", "a"]);
    assert_eq!(texts(&["aab"], &["x", "a", "a", "a"]), ["x", "a", "aa"]);
}

#[test]
fn the_first_stop_text_counts() {
    assert_eq!(texts(&["c", "b"], &["abc"]), ["a"]);
    assert_eq!(texts(&["abc", "b"], &["xa", "b"]), ["xa"]);
}

#[test]
fn a_stop_text_at_the_very_beginning_leaves_nothing() {
    assert_eq!(say(&["a"], &[b"a"]), (vec![], true));
}

#[test]
fn a_stop_text_of_several_bytes_is_found_across_halves_of_a_character() {
    let (pieces, stopped) = say(&["🦀"], &[b"a\xF0", b"\x9F\xA6", b"\x80b"]);
    assert_eq!(pieces, [piece("a", &[])]);
    assert!(stopped);
}

proptest! {
    /// What readers have is what the tokens that they have say, at every point of an answer.
    #[test]
    fn the_text_of_the_pieces_is_the_text_of_their_tokens(
        tokens in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\xF0\x9F\xA6\x80\xC3\xA9".to_vec()), 0..5), 0..40),
    ) {
        let tokens: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
        let (pieces, stopped) = say(&["abab", "é"], &tokens);
        let bytes_of = |ids: &[TokenId]| ids.iter().flat_map(|id| tokens[id.0 as usize]).copied().collect::<Vec<u8>>();
        let mut so_far = Piece::default();
        for (at, piece) in pieces.iter().enumerate() {
            prop_assert!(!piece.text.is_empty());
            so_far.text.push_str(&piece.text);
            so_far.tokens.extend(&piece.tokens);
            let shown = shown(bytes_of(&so_far.tokens));
            if at + 1 < pieces.len() {
                prop_assert_eq!(&shown, &so_far.text);
            } else {
                prop_assert!(so_far.text.starts_with(&shown));
            }
        }
        let ids: Vec<_> = (0..).map(TokenId).take(so_far.tokens.len()).collect();
        prop_assert_eq!(&so_far.tokens, &ids, "in order, none left out");
        let all = tokens.concat();
        let whole = String::from_utf8_lossy(&all);
        if stopped {
            prop_assert!(whole.starts_with(&so_far.text));
        } else {
            prop_assert_eq!(whole, so_far.text);
        }
    }
}
