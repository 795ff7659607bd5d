//! Escapes of JSON that stand for half a character, as programs write them that keep bytes which are no UTF-8 (Python's
//! `surrogateescape`). No text can hold them, so a file with one of them could not be read. Pure.

use std::borrow::Cow;

/// `\ufffd`: stands for what can't be read.
const REPLACEMENT: &str = "\\ufffd";

/// The text with U+FFFD in the place of each half that lacks the other. Everything stays where it was.
pub(super) fn mended(text: &str) -> Cow<'_, str> {
    let mut lone = lone(text).peekable();
    if lone.peek().is_none() {
        return Cow::Borrowed(text);
    }
    let mut mended = text.to_owned();
    for at in lone {
        mended.replace_range(at..at + REPLACEMENT.len(), REPLACEMENT);
    }
    Cow::Owned(mended)
}

/// Where each of them begins.
fn lone(text: &str) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += text.get(at..)?.find('\\')?;
            let begin = at;
            match unit(text, begin) {
                None => at += 2,
                Some(0xd800..=0xdbff) if matches!(unit(text, begin + 6), Some(0xdc00..=0xdfff)) => at += 12,
                Some(0xd800..=0xdfff) => {
                    at += 6;
                    return Some(begin);
                }
                Some(_) => at += 6,
            }
            // What follows a backslash may be a character of several bytes.
            while at < text.len() && !text.is_char_boundary(at) {
                at += 1;
            }
        }
    })
}

/// The UTF-16 unit that an escape stands for, if one begins there.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What JSON reads stays as it is; what it refuses for half a character is read.
        #[test]
        fn every_text_of_escapes_is_read_and_what_was_sound_is_the_same(
            parts in proptest::collection::vec(
                proptest::sample::select(vec!["\\ud83d", "\\ude00", "\\uD800", "\\uDFFF", "\\\\", "\\n", "ü", "u", "\\u00e4", "d83d"]),
                0..8,
            ),
        ) {
            let text = format!("\"{}\"", parts.concat());
            let before = serde_json::from_str::<String>(&text);
            let mended = mended(&text);
            prop_assert_eq!(mended.len(), text.len());
            let after = serde_json::from_str::<String>(&mended).map_err(|error| TestCaseError::fail(format!("{error}: {mended}")))?;
            if let Ok(before) = before {
                prop_assert_eq!((&*mended, after), (text.as_str(), before));
            }
        }

        #[test]
        fn any_text_stays_as_long_as_it_was(text in "[\\\\uüdD8cf0-9\"]{0,40}") {
            prop_assert_eq!(mended(&text).len(), text.len());
        }
    }
}
