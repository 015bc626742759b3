//! Looks at JSON values without storing them.
//!
//! Serde's own types fail on a value of another type, which would end the pass. A [`Look`] never does: it finds out
//! what kind of value it has. Only a syntax error, which Chroma refuses as well, stops it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Looks at a value without storing it. `on_seq` and `on_map` must consume their argument.
pub(super) trait Look<'de>: Sized {
    type Output;
    fn on_null(self) -> Self::Output;
    fn on_text(self, text: &str) -> Self::Output;
    /// A number or a boolean.
    fn on_other(self) -> Self::Output;
    fn on_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Output, A::Error>;
    fn on_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Output, A::Error>;
}

/// Makes a [`Look`] usable as a serde seed.
pub(super) struct Looking<L>(pub(super) L);

impl<'de, L: Look<'de>> DeserializeSeed<'de> for Looking<L> {
    type Value = L::Output;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<L::Output, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, L: Look<'de>> Visitor<'de> for Looking<L> {
    type Value = L::Output;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<L::Output, E> {
        Ok(self.0.on_null())
    }
    fn visit_bool<E>(self, _: bool) -> Result<L::Output, E> {
        Ok(self.0.on_other())
    }
    fn visit_i64<E>(self, _: i64) -> Result<L::Output, E> {
        Ok(self.0.on_other())
    }
    fn visit_u64<E>(self, _: u64) -> Result<L::Output, E> {
        Ok(self.0.on_other())
    }
    fn visit_f64<E>(self, _: f64) -> Result<L::Output, E> {
        Ok(self.0.on_other())
    }
    fn visit_str<E>(self, text: &str) -> Result<L::Output, E> {
        Ok(self.0.on_text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<L::Output, A::Error> {
        self.0.on_seq(seq)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<L::Output, A::Error> {
        self.0.on_map(map)
    }
}

/// Reads the rest of a sequence and returns the number of items.
pub(super) fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<usize, A::Error> {
    let mut items = 0;
    while seq.next_element::<IgnoredAny>()?.is_some() {
        items += 1;
    }
    Ok(items)
}

/// Reads the rest of an object.
pub(super) fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// An object's key, unescaped; borrowed if it has no escapes.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(KeyVisitor)
    }
}

/// Returns whether the body's outermost value is an array.
pub(super) fn is_array(body: &[u8]) -> bool {
    body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) == Some(&b'[')
}
