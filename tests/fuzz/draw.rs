//! Where a target's input comes from: mutations drawn from a seed (`mutate.rs`), or a fuzzer that sees which code each
//! input reaches (`fuzz/`). Decides nothing.

/// The input of a target.
pub trait Draw {
    /// Returns a number below this one, which is not 0.
    fn index(&mut self, below: usize) -> usize;

    /// Returns bytes that may look like one of these.
    fn bytes(&mut self, corpus: &[&str]) -> Vec<u8>;

    /// Returns the same as text.
    fn text(&mut self, corpus: &[&str]) -> String {
        String::from_utf8_lossy(&self.bytes(corpus)).into_owned()
    }
}
