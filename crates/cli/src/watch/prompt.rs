//! A line that is typed in: an offset, or what to look for.

use super::keys::Key;

/// Characters that fit: more than any offset has.
const LONGEST: usize = 64;

/// What a key did to the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    More,
    Done,
    Never,
}

#[derive(Debug, Default)]
pub(crate) struct Prompt {
    pub(crate) text: String,
}

impl Prompt {
    pub(crate) fn key(&mut self, key: Key) -> Typed {
        match key {
            Key::Enter => return Typed::Done,
            Key::Escape => return Typed::Never,
            Key::Backspace if self.text.pop().is_none() => return Typed::Never,
            Key::Control('u') => self.text.clear(),
            Key::Char(character) if self.text.chars().count() < LONGEST => self.text.push(character),
            _ => {}
        }
        Typed::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_typed_mended_and_finished() {
        let mut prompt = Prompt::default();
        for key in [Key::Char('0'), Key::Char('y'), Key::Backspace, Key::Up, Key::Char('x')] {
            assert_eq!(prompt.key(key), Typed::More);
        }
        assert_eq!(prompt.text, "0x");
        assert_eq!(prompt.key(Key::Enter), Typed::Done);
        prompt.key(Key::Control('u'));
        assert_eq!(prompt.key(Key::Backspace), Typed::Never);
        for _ in 0..1000 {
            prompt.key(Key::Char('1'));
        }
        assert_eq!(prompt.text.len(), LONGEST);
    }
}
