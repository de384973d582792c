//! Cuts the text of an endpoint into its fields, as Twisted does, so that texts written for it mean the same here.
//! It knows colons, equal signs and backslashes, and nothing of kinds or arguments.

/// One field between two colons, with its escapes resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// The text before the first unescaped `=`; `None` makes the field a positional one.
    pub(super) key: Option<String>,
    /// The text after it, or the whole positional field.
    pub(super) value: String,
    /// Where the field begins, in bytes of the text.
    pub(super) offset: usize,
    /// Where its value begins, in bytes of the text.
    pub(super) value_offset: usize,
}

impl Field {
    fn at(offset: usize) -> Self {
        Self { key: None, value: String::new(), offset, value_offset: offset }
    }
}

/// A backslash with nothing behind it, at this byte of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoneBackslash(pub(super) usize);

/// The fields of a text, empty ones included; there is always at least one.
pub(super) fn fields(text: &str) -> Result<Vec<Field>, LoneBackslash> {
    let mut done = Vec::new();
    let mut field = Field::at(0);
    let mut characters = text.char_indices();
    while let Some((offset, character)) = characters.next() {
        match character {
            '\\' => {
                let (_, literal) = characters.next().ok_or(LoneBackslash(offset))?;
                field.value.push(literal);
            }
            ':' => done.push(std::mem::replace(&mut field, Field::at(offset + 1))),
            // Only the first one parts key and value; the later ones belong to the value.
            '=' if field.key.is_none() => {
                field.key = Some(std::mem::take(&mut field.value));
                field.value_offset = offset + 1;
            }
            _ => field.value.push(character),
        }
    }
    done.push(field);
    Ok(done)
}

/// How many bytes of `escaped` say the first `literal` bytes of what it means.
pub(super) fn escaped_len(escaped: &str, literal: usize) -> usize {
    let (mut read, mut meant) = (0, 0);
    let mut characters = escaped.chars();
    while meant < literal {
        let Some(character) = characters.next() else { break };
        read += character.len_utf8();
        if character == '\\' {
            let Some(character) = characters.next() else { break };
            read += character.len_utf8();
            meant += character.len_utf8();
        } else {
            meant += character.len_utf8();
        }
    }
    read
}

/// The text that [`fields`] reads back as exactly this positional or keyword value.
pub(super) fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '\\' | ':' | '=') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values alone, for short comparisons.
    fn cut(text: &str) -> Vec<(Option<String>, String)> {
        fields(text).expect("the text has no lone backslash").into_iter().map(|f| (f.key, f.value)).collect()
    }

    fn positional(value: &str) -> (Option<String>, String) {
        (None, value.to_owned())
    }

    fn keyword(key: &str, value: &str) -> (Option<String>, String) {
        (Some(key.to_owned()), value.to_owned())
    }

    #[test]
    fn colons_part_fields_and_empty_ones_stay() {
        assert_eq!(cut("tcp:80:"), [positional("tcp"), positional("80"), positional("")]);
        assert_eq!(cut(""), [positional("")]);
        assert_eq!(cut("::"), [positional(""), positional(""), positional("")]);
    }

    #[test]
    fn the_first_equal_sign_makes_a_keyword() {
        assert_eq!(cut("a:b=c=d"), [positional("a"), keyword("b", "c=d")]);
        assert_eq!(cut("a:k="), [positional("a"), keyword("k", "")]);
        assert_eq!(cut("=v"), [keyword("", "v")]);
        assert_eq!(cut("unix:/a=b"), [positional("unix"), keyword("/a", "b")]);
    }

    #[test]
    fn a_backslash_makes_the_next_character_literal() {
        assert_eq!(cut(r"i=\:\:1"), [keyword("i", "::1")]);
        assert_eq!(cut(r"unix:/a\=b"), [positional("unix"), positional("/a=b")]);
        assert_eq!(cut(r"a\=b=c"), [keyword("a=b", "c")]);
        assert_eq!(cut(r"\\:\x"), [positional(r"\"), positional("x")]);
        assert_eq!(cut(r"\é"), [positional("é")]);
    }

    #[test]
    fn a_backslash_at_the_end_escapes_nothing() {
        assert_eq!(fields(r"tcp:80\"), Err(LoneBackslash(6)));
        assert_eq!(fields(r"\"), Err(LoneBackslash(0)));
        assert_eq!(cut(r"\\"), [positional(r"\")]);
    }

    #[test]
    fn offsets_point_into_the_text() {
        let fields = fields(r"é:a\:b=c:d").expect("the text has no lone backslash");
        let offsets: Vec<_> = fields.iter().map(|f| (f.offset, f.value_offset)).collect();
        assert_eq!(offsets, [(0, 0), (3, 8), (10, 10)]);
    }

    #[test]
    fn quoting_is_undone_by_cutting() {
        for value in ["", "::1", "a=b", r"\", r"\:=", "plain", "é:"] {
            assert_eq!(cut(&quote(value)), [positional(value)]);
            assert_eq!(cut(&format!("k={}", quote(value))), [keyword("k", value)]);
        }
    }
}
