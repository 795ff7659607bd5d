//! What peers say in words: bounded, one line, and nothing that a terminal obeys.

/// Longest line that is taken over, in characters.
pub const LINE: usize = 256;
/// Longest name of a node, a boot and the like (RFC 1123 subdomain).
const NAME: usize = 253;
/// What stands where characters were taken out.
const TAKEN_OUT: char = '\u{fffd}';
/// What stands where a text was cut.
const CUT: char = '…';

/// Whether a text is a name: letters, digits, `-`, `.` and `_`, at most 253 of them. Wider than RFC 1123, for nodes
/// outside Kubernetes.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Characters that make a terminal do something else than show them: control characters, and those that change the
/// direction of what follows or end a line.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text has such characters. Bytes that are no text have none: decoding refuses them.
pub(crate) fn has_obeyed(text: &[u8]) -> bool {
    // Most texts have none of the bytes that they begin with.
    let suspicious = |&byte: &u8| byte < 0x20 || matches!(byte, 0x7f | 0xc2 | 0xe2);
    text.iter().any(suspicious) && std::str::from_utf8(text).is_ok_and(|text| text.chars().any(is_obeyed))
}

/// Puts others of the same length in their places.
pub(crate) fn take_out(text: &mut [u8]) {
    let Ok(whole) = std::str::from_utf8(text) else { return };
    let found: Vec<(usize, usize)> = whole
        .char_indices()
        .filter(|&(_, character)| is_obeyed(character))
        .map(|(at, character)| (at, character.len_utf8()))
        .collect();
    for (at, length) in found {
        let instead: &[u8] = match length {
            1 => b"?",
            2 => "\u{bf}".as_bytes(),
            _ => "\u{fffd}".as_bytes(),
        };
        text[at..at + length].copy_from_slice(&instead[..length]);
    }
}

/// A text as one line of at most [`LINE`] characters. Whatever is cut off leaves `…` at the end, and every run of
/// characters that a terminal would obey leaves `\u{fffd}`.
#[must_use]
pub fn line(text: &str) -> String {
    bounded(text, LINE)
}

/// The same with another bound.
#[must_use]
pub fn bounded(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most * 2));
    let mut length = 0;
    let mut obeyed = false;
    for character in text.chars() {
        let again = obeyed;
        obeyed = is_obeyed(character);
        if obeyed && again {
            continue;
        }
        if length == most {
            line.pop();
            line.push(CUT);
            break;
        }
        line.push(if obeyed { TAKEN_OUT } else { character });
        length += 1;
    }
    line
}

/// Makes a text such a line where it is none.
pub(crate) fn tidy(text: &mut String, most: usize) {
    if text.len() > most || text.chars().any(is_obeyed) {
        *text = bounded(text, most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_of_a_text() {
        let rows = [
            ("6.18.0-rc1 #1 SMP (äöü → λ)", "6.18.0-rc1 #1 SMP (äöü → λ)"),
            ("red \x1b[31malert\x1b[0m", "red \u{fffd}[31malert\u{fffd}[0m"),
            ("two\r\nlines\tand\0", "two\u{fffd}lines\u{fffd}and\u{fffd}"),
            ("\u{9b}31m C1", "\u{fffd}31m C1"),
            ("n1\u{202e}2n", "n1\u{fffd}2n"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(line(text), expected);
        }
        assert_eq!(bounded("abcdef", 6), "abcdef");
        assert_eq!(bounded("abcdefg", 6), "abcde…");
    }

    #[test]
    fn names() {
        assert!(is_name("n1") && is_name("ip-10-0-0-1.eu.compute.internal") && is_name(&"x".repeat(253)));
        for text in ["", "a b", "n1\n", "a/b", "ä", &"x".repeat(254)] {
            assert!(!is_name(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_and_bounded_and_stays_as_it_is(text in any::<String>(), most in 1usize..40) {
            let once = bounded(&text, most);
            prop_assert!(once.chars().count() <= most);
            prop_assert!(!once.chars().any(is_obeyed));
            prop_assert_eq!(&bounded(&once, most), &once);
            if text.chars().count() <= most && !text.chars().any(is_obeyed) {
                prop_assert_eq!(once, text);
            }
        }
    }
}
