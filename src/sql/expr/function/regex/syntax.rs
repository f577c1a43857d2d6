//! PostgreSQL's advanced regular expressions, read into a tree. What is refused is refused in words.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::super::super::names::Ctype;
use super::super::text::{is_word, letter_in_case};

const CHARACTERS_MAX: usize = 2_000;
const DEPTH_MAX: usize = 40;
/// PostgreSQL's own bound (DUPMAX).
const TIMES_MAX: u32 = 255;
/// Of a range whose letters are looked at one by one.
const FOLDED_RANGE_MAX: u32 = 0x1_0000;

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// One character of these.
    Set(ClassUnicode),
    Look(Look),
    Concat(Vec<Node>),
    Alternation(Vec<Node>),
    Repeat(Repeat),
    Group {
        of: Box<Node>,
        captures: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Repeat {
    pub(super) of: Box<Node>,
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    pub(super) greedy: bool,
    /// Written `{m}`: neither greedy nor not.
    pub(super) fixed: bool,
}

/// What has no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Start,
    End,
    WordStart,
    WordEnd,
    WordEdge,
    NoWordEdge,
}

/// Of which texts it is not known what the pattern means there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unsure {
    None,
    /// Those with a character of which servers differ whether it is a letter.
    Letters,
    /// Those with any character beyond ASCII.
    BeyondAscii,
}

#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) node: Node,
    pub(super) groups: usize,
    pub(super) unsure: Unsure,
}

type Result<T> = std::result::Result<T, String>;

pub(super) fn read(pattern: &str, folded: bool, ctype: Ctype) -> Result<Pattern> {
    let letters: Vec<char> = pattern.chars().collect();
    if letters.len() > CHARACTERS_MAX {
        return Err(format!("it has more than {CHARACTERS_MAX} characters"));
    }
    let mut reader =
        Reader { letters, at: 0, folded, ctype, groups: 0, depth: 0, unsure: Unsure::None };
    if reader.follows("***") {
        return Err("*** is not supported".into());
    }
    reader.options()?;
    let node = reader.alternation()?;
    match reader.peek() {
        None => Ok(Pattern { node, groups: reader.groups, unsure: reader.unsure }),
        Some(_) => Err("its parentheses are not balanced".into()),
    }
}

struct Reader {
    letters: Vec<char>,
    at: usize,
    /// Upper and lower case are one.
    folded: bool,
    ctype: Ctype,
    groups: usize,
    depth: usize,
    unsure: Unsure,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += usize::from(letter.is_some());
        letter
    }

    fn takes(&mut self, wanted: char) -> bool {
        let is_it = self.peek() == Some(wanted);
        self.at += usize::from(is_it);
        is_it
    }

    fn follows(&self, text: &str) -> bool {
        let rest = self.letters.get(self.at..).unwrap_or_default();
        text.chars().enumerate().all(|(at, letter)| rest.get(at) == Some(&letter))
    }

    fn is_unsure(&mut self, unsure: Unsure) {
        self.unsure = self.unsure.max(unsure);
    }

    /// `(?i)` at the beginning.
    fn options(&mut self) -> Result<()> {
        let is_letter = self.letters.get(2).is_some_and(char::is_ascii_alphabetic);
        if !self.follows("(?") || !is_letter {
            return Ok(());
        }
        self.at += 2;
        loop {
            match self.next() {
                Some(')') => return Ok(()),
                Some('i') => self.folded = true,
                Some('c') => self.folded = false,
                Some('s' | 't') => {}
                Some(other) => return Err(format!("the option (?{other}) is not supported")),
                None => return Err("its parentheses are not balanced".into()),
            }
        }
    }

    fn alternation(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deep".into());
        }
        let mut branches = vec![self.branch()?];
        while self.takes('|') {
            branches.push(self.branch()?);
        }
        self.depth -= 1;
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Node::Alternation(branches),
        })
    }

    fn branch(&mut self) -> Result<Node> {
        let mut parts = Vec::new();
        while !matches!(self.peek(), None | Some('|' | ')')) {
            let atom = self.atom()?;
            let is_look = matches!(atom, Node::Look(_));
            match self.times()? {
                None => parts.push(atom),
                Some(_) if is_look => {
                    return Err("a quantifier follows what has no length".into());
                }
                Some(times) => parts.push(Node::Repeat(Repeat { of: Box::new(atom), ..times })),
            }
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::Concat(parts),
        })
    }

    fn atom(&mut self) -> Result<Node> {
        match self.next() {
            Some('(') => self.group(),
            Some('[') => self.bracket(),
            Some('.') => {
                let mut any = ClassUnicode::empty();
                any.negate();
                Ok(Node::Set(any))
            }
            Some('^') => Ok(Node::Look(Look::Start)),
            Some('$') => Ok(Node::Look(Look::End)),
            Some('\\') => self.escape(),
            Some('*' | '+' | '?') => Err("a quantifier has nothing to repeat".into()),
            Some('{') if self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                Err("a quantifier has nothing to repeat".into())
            }
            Some(letter) => self.letter(letter),
            None => Ok(Node::Concat(Vec::new())),
        }
    }

    fn letter(&mut self, letter: char) -> Result<Node> {
        let mut set = ClassUnicode::empty();
        self.add(&mut set, letter)?;
        Ok(Node::Set(set))
    }

    /// A character, in both cases where they are one.
    fn add(&self, set: &mut ClassUnicode, letter: char) -> Result<()> {
        if !self.folded {
            set.push(ClassUnicodeRange::new(letter, letter));
            return Ok(());
        }
        for upper in [false, true] {
            let other = letter_in_case(letter, upper, self.ctype).map_err(|e| e.to_string())?;
            set.push(ClassUnicodeRange::new(other, other));
        }
        Ok(())
    }

    fn group(&mut self) -> Result<Node> {
        let captures = !self.follows("?");
        if !captures {
            self.at += 1;
            if !self.takes(':') {
                return Err("looking ahead and behind is not supported".into());
            }
        } else {
            self.groups += 1;
        }
        let of = Box::new(self.alternation()?);
        match self.takes(')') {
            true => Ok(Node::Group { of, captures }),
            false => Err("its parentheses are not balanced".into()),
        }
    }

    /// The quantifier that follows; what is repeated is put in later.
    fn times(&mut self) -> Result<Option<Repeat>> {
        let digit_follows = self.letters.get(self.at + 1).is_some_and(char::is_ascii_digit);
        let (min, max, fixed) = match self.peek() {
            Some('*') => (0, None, false),
            Some('+') => (1, None, false),
            Some('?') => (0, Some(1), false),
            Some('{') if digit_follows => {
                self.at += 1;
                self.bounds()?
            }
            _ => return Ok(None),
        };
        self.at += 1;
        let greedy = !self.takes('?');
        let digit_follows = self.letters.get(self.at + 1).is_some_and(char::is_ascii_digit);
        if matches!(self.peek(), Some('*' | '+' | '?')) || self.peek() == Some('{') && digit_follows
        {
            return Err("a quantifier follows another".into());
        }
        let of = Box::new(Node::Concat(Vec::new()));
        Ok(Some(Repeat { of, min, max, greedy, fixed }))
    }

    /// Up to the brace that closes, which stays.
    fn bounds(&mut self) -> Result<(u32, Option<u32>, bool)> {
        let min = self.number()?;
        let (max, fixed) = match self.takes(',') {
            false => (Some(min), true),
            true if self.peek() == Some('}') => (None, false),
            true => (Some(self.number()?), false),
        };
        if self.peek() != Some('}') || max.is_some_and(|max| max < min) {
            return Err("the numbers of a repetition are not valid".into());
        }
        Ok((min, max, fixed))
    }

    fn number(&mut self) -> Result<u32> {
        let mut number = 0;
        let start = self.at;
        while let Some(digit) = self.peek().and_then(|letter| letter.to_digit(10)) {
            self.at += 1;
            number = number * 10 + digit;
            if number > TIMES_MAX {
                return Err(format!("it repeats something more than {TIMES_MAX} times"));
            }
        }
        match self.at > start {
            true => Ok(number),
            false => Err("the numbers of a repetition are not valid".into()),
        }
    }

    fn escape(&mut self) -> Result<Node> {
        let Some(letter) = self.next() else { return Err("it ends in a backslash".into()) };
        if let Some(look) = self.look(letter) {
            return Ok(Node::Look(look));
        }
        let class = match letter {
            'd' | 'D' => Some(self.class("digit")?),
            's' | 'S' => Some(self.class("space")?),
            'w' | 'W' => Some(self.word()?),
            _ => None,
        };
        if let Some(mut class) = class {
            if letter.is_ascii_uppercase() {
                class.negate();
            }
            return Ok(Node::Set(class));
        }
        let letter = self.escaped(letter)?;
        self.letter(letter)
    }

    fn look(&mut self, letter: char) -> Option<Look> {
        let look = match letter {
            'A' => return Some(Look::Start),
            'Z' => return Some(Look::End),
            'm' => Look::WordStart,
            'M' => Look::WordEnd,
            'y' => Look::WordEdge,
            'Y' => Look::NoWordEdge,
            _ => return None,
        };
        self.is_unsure(Unsure::BeyondAscii);
        Some(look)
    }

    /// The character that an escape means.
    fn escaped(&mut self, letter: char) -> Result<char> {
        Ok(match letter {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            'b' => '\u{8}',
            'B' => '\\',
            'u' => return self.code(4),
            'U' => return self.code(8),
            '1'..='9' => return Err(format!("the back reference \\{letter} is not supported")),
            letter if letter.is_ascii_alphanumeric() => {
                return Err(format!("\\{letter} is not supported"));
            }
            letter => letter,
        })
    }

    fn code(&mut self, digits: usize) -> Result<char> {
        let text: String = (0..digits).map_while(|_| self.next()).collect();
        let code = match text.chars().all(|digit| digit.is_ascii_hexdigit()) {
            true => u32::from_str_radix(&text, 16).ok(),
            false => None,
        };
        let letter = code.filter(|_| text.len() == digits).and_then(char::from_u32);
        letter.filter(|letter| *letter != '\0').ok_or_else(|| "an escape names no character".into())
    }

    // --- Sets of characters ------------------------------------------------------------------------

    fn bracket(&mut self) -> Result<Node> {
        if self.follows("[:<:]]") || self.follows("[:>:]]") {
            return Err("[[:<:]] is not supported: write \\m or \\M".into());
        }
        let negated = self.takes('^');
        let mut set = ClassUnicode::empty();
        let mut is_first = true;
        while is_first || self.peek() != Some(']') {
            is_first = false;
            self.member(&mut set)?;
        }
        self.at += 1;
        if negated {
            set.negate();
        }
        Ok(Node::Set(set))
    }

    fn member(&mut self, set: &mut ClassUnicode) -> Result<()> {
        const OPEN: &str = "its brackets are not balanced";
        let start = match self.next() {
            None => return Err(OPEN.into()),
            Some('[') if matches!(self.peek(), Some('.' | '=')) => {
                return Err("[. and [= are not supported".into());
            }
            Some('[') if self.takes(':') => {
                let from = self.at;
                while self.peek().is_some_and(|letter| letter.is_ascii_alphabetic()) {
                    self.at += 1;
                }
                let name: String = self.letters[from..self.at].iter().collect();
                if !self.takes(':') || !self.takes(']') {
                    return Err("a class of characters is not closed".into());
                }
                set.union(&self.class(&name)?);
                return Ok(());
            }
            Some('\\') => match self.next() {
                None => return Err(OPEN.into()),
                Some('d') => return self.class("digit").map(|class| set.union(&class)),
                Some('s') => return self.class("space").map(|class| set.union(&class)),
                Some('w') => return self.word().map(|class| set.union(&class)),
                Some(letter) => self.escaped(letter)?,
            },
            Some('-') if !matches!(self.peek(), Some(']')) && !set.ranges().is_empty() => {
                return Err("a - inside brackets stands neither first nor last".into());
            }
            Some(letter) => letter,
        };
        let is_range = self.peek() == Some('-')
            && self.letters.get(self.at + 1).is_some_and(|letter| *letter != ']');
        if !is_range {
            return self.add(set, start);
        }
        self.at += 1;
        let end = match self.next() {
            None => return Err(OPEN.into()),
            Some('[') => return Err("a range ends in [".into()),
            Some('\\') => match self.next() {
                None | Some('d' | 's' | 'w') => return Err("a range ends in a class".into()),
                Some(letter) => self.escaped(letter)?,
            },
            Some(letter) => letter,
        };
        if end < start {
            return Err(format!("the range {start}-{end} is not valid"));
        }
        set.push(ClassUnicodeRange::new(start, end));
        if self.folded {
            if u32::from(end) - u32::from(start) > FOLDED_RANGE_MAX {
                return Err("a range without regard to case is too long".into());
            }
            for letter in start..=end {
                self.add(set, letter)?;
            }
        }
        Ok(())
    }

    fn class(&mut self, name: &str) -> Result<ClassUnicode> {
        let range = |first: char, last: char| ClassUnicodeRange::new(first, last);
        let of = |ranges: &[(char, char)]| {
            ClassUnicode::new(ranges.iter().map(|(first, last)| range(*first, *last)))
        };
        // Where the collation does not say, or says it in tables of its own.
        let by_ascii = match self.ctype {
            Ctype::C => Unsure::None,
            Ctype::Libc | Ctype::Unknown => Unsure::BeyondAscii,
        };
        let of_icu = match self.ctype {
            Ctype::Unknown => Unsure::BeyondAscii,
            Ctype::C | Ctype::Libc => Unsure::None,
        };
        let name = match name {
            "upper" | "lower" if self.folded => "alpha",
            name => name,
        };
        let (class, unsure) = match name {
            "digit" => (of(&[('0', '9')]), of_icu),
            "xdigit" => (of(&[('0', '9'), ('a', 'f'), ('A', 'F')]), by_ascii),
            "space" => {
                let mut class = of(&[('\t', '\r'), (' ', ' ')]);
                if self.ctype == Ctype::Libc {
                    class.union(&of(&[
                        ('\u{1680}', '\u{1680}'),
                        ('\u{2000}', '\u{2006}'),
                        ('\u{2008}', '\u{200a}'),
                        ('\u{2028}', '\u{2029}'),
                        ('\u{205f}', '\u{205f}'),
                        ('\u{3000}', '\u{3000}'),
                    ]));
                }
                (class, of_icu)
            }
            "alpha" | "alnum" => {
                let mut class = self.letters_and_digits();
                if name == "alpha" {
                    class.difference(&of(&[('0', '9')]));
                }
                (class, self.of_letters())
            }
            "upper" => (of(&[('A', 'Z')]), by_ascii),
            "lower" => (of(&[('a', 'z')]), by_ascii),
            "blank" => (of(&[(' ', ' '), ('\t', '\t')]), by_ascii),
            "punct" => (of(&[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]), by_ascii),
            "cntrl" => (of(&[('\u{1}', '\u{1f}'), ('\u{7f}', '\u{7f}')]), by_ascii),
            "graph" => (of(&[('!', '~')]), by_ascii),
            "print" => (of(&[(' ', '~')]), by_ascii),
            "word" => return self.word(),
            name => return Err(format!("there is no class of characters [:{name}:]")),
        };
        self.is_unsure(unsure);
        Ok(class)
    }

    fn word(&mut self) -> Result<ClassUnicode> {
        let mut class = self.class("alnum")?;
        class.push(ClassUnicodeRange::new('_', '_'));
        Ok(class)
    }

    fn of_letters(&self) -> Unsure {
        match self.ctype {
            Ctype::C => Unsure::None,
            Ctype::Libc => Unsure::Letters,
            Ctype::Unknown => Unsure::BeyondAscii,
        }
    }

    fn letters_and_digits(&self) -> ClassUnicode {
        let is_one = |letter: &char| is_word(*letter, self.ctype).unwrap_or(false);
        let last = match self.ctype {
            Ctype::Libc => char::MAX,
            Ctype::C | Ctype::Unknown => '\u{7f}',
        };
        let mut class = ClassUnicode::empty();
        let mut open: Option<(char, char)> = None;
        for letter in ('\0'..=last).filter(is_one) {
            open = match open {
                Some((first, before)) if u32::from(before) + 1 == u32::from(letter) => {
                    Some((first, letter))
                }
                before => {
                    class_push(&mut class, before);
                    Some((letter, letter))
                }
            };
        }
        class_push(&mut class, open);
        class
    }
}

fn class_push(class: &mut ClassUnicode, range: Option<(char, char)>) {
    if let Some((first, last)) = range {
        class.push(ClassUnicodeRange::new(first, last));
    }
}
