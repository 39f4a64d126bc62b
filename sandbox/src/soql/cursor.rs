//! The words, marks and names of a query, taken one after the other.

use super::Malformed;
use super::token::{Token, TokenKind};
use super::tree::Path;

/// Conditions inside conditions are read by recursion; deeper than this is refused, not a stack overflow.
const DEPTH_MAX: usize = 50;

/// The tokens of a query and how far they have been read.
pub struct Parser<'a> {
    pub tokens: Vec<Token<'a>>,
    pub at: usize,
    pub depth: usize,
}

impl<'a> Parser<'a> {
    pub fn new(tokens: Vec<Token<'a>>) -> Self {
        Self {
            tokens,
            at: 0,
            depth: 0,
        }
    }

    pub fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    pub fn unexpected(&self, token: &Token<'a>) -> Malformed {
        Malformed(format!("unexpected token: '{}'", token.text))
    }

    pub fn fail<T>(&self) -> Result<T, Malformed> {
        Err(match self.peek() {
            Some(token) => self.unexpected(token),
            None => Malformed("unexpected token: '<EOF>'".to_owned()),
        })
    }

    /// Takes the word if it is next.
    pub fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    pub fn words(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(i, word)| {
            self.tokens
                .get(self.at + i)
                .is_some_and(|token| token.kind == TokenKind::Word && token.text.eq_ignore_ascii_case(word))
        });
        if all {
            self.at += words.len();
        }
        all
    }

    pub fn mark(&mut self, mark: &str) -> bool {
        let found = self
            .peek()
            .is_some_and(|token| token.kind == TokenKind::Mark && token.text == mark);
        self.at += usize::from(found);
        found
    }

    pub fn expect_word(&mut self, word: &str) -> Result<(), Malformed> {
        if self.word(word) { Ok(()) } else { self.fail() }
    }

    pub fn expect_mark(&mut self, mark: &str) -> Result<(), Malformed> {
        if self.mark(mark) { Ok(()) } else { self.fail() }
    }

    pub fn name(&mut self) -> Result<&'a str, Malformed> {
        match self.peek() {
            Some(token) if token.kind == TokenKind::Word => {
                let text = token.text;
                self.at += 1;
                Ok(text)
            }
            _ => self.fail(),
        }
    }

    pub fn path(&mut self) -> Result<Path, Malformed> {
        let name = self.name()?;
        let path: Path = name.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(Malformed(format!("unexpected token: '{name}'")));
        }
        Ok(path)
    }

    /// A name that is none of the words that may follow.
    pub fn alias(&mut self, followers: &[&str]) -> Option<String> {
        let _ = self.word("as");
        let token = self.peek()?;
        let follows = followers.iter().any(|word| token.text.eq_ignore_ascii_case(word));
        if token.kind != TokenKind::Word || follows {
            return None;
        }
        let alias = token.text.to_owned();
        self.at += 1;
        Some(alias)
    }

    pub fn deeper(&mut self) -> Result<(), Malformed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed("the query is nested too deeply".to_owned()));
        }
        Ok(())
    }
}
