//! An input of the fuzzer as what a target draws from: a byte for each choice, and bodies up to a separator.

use crate::draw::Draw;
use crate::seeds::SEPARATOR;

/// What is left of the input.
pub struct Guided<'a>(&'a [u8]);

impl<'a> Guided<'a> {
    pub fn new(input: &'a [u8]) -> Guided<'a> {
        Guided(input)
    }
}

impl Draw for Guided<'_> {
    /// Two bytes where one does not say it all.
    fn index(&mut self, below: usize) -> usize {
        let bytes = if below > 256 { 2 } else { 1 };
        let (choice, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        choice.iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte)) % below
    }

    fn bytes(&mut self, _: &[&str]) -> Vec<u8> {
        let end = self.0.iter().position(|byte| *byte == SEPARATOR).unwrap_or(self.0.len());
        let (body, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        body.to_vec()
    }
}
