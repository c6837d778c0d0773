//! Enums whose variants stand in a list, and have codes that logs, metrics and the store know: each is declared once.
//!
//! [`listed!`] declares an enum with `COUNT`, `ALL` and `position`. [`codes!`] adds `CODES`, `code` and `from_code`. The
//! compiler makes all of them from one row for each variant, so that no list can miss one, and it warns where two variants
//! have one code. An enum whose variants carry data has another one beside it for its codes, as
//! [`Verdict`](crate::verdict::Verdict) has [`VerdictKind`](crate::verdict::VerdictKind); the `match` between them has an
//! arm for each variant.
//!
//! As text, as in JSON, each of them is its code. A code that is not known is an error there, unless it was read as
//! [`Coded`]: one that another version of keyward may have written.

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares an enum without data, with a list of its variants:
///
/// - `COUNT`: how many there are;
/// - `ALL`: each of them, in the order in which they are declared;
/// - `position`: where each stands in that list, for a table with a row for each.
macro_rules! listed {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$about:meta])* $variant:ident),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $visibility enum $name {
            $($(#[$about])* $variant),+
        }

        impl $name {
            $visibility const COUNT: usize = [$(Self::$variant),+].len();

            /// Every one of them, by its position.
            $visibility const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// As a position in a table with a row for each.
            #[must_use]
            $visibility const fn position(self) -> usize {
                self as usize
            }
        }
    };
}

/// Declares an enum without data as [`listed!`] does, with the stable code of each variant:
///
/// - `CODES`: each code, by `position`;
/// - `code`: that of a variant;
/// - `from_code`: the variant that has that code;
/// - `Serialize` and `Deserialize`, by the code.
macro_rules! codes {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$about:meta])* $variant:ident => $code:literal),+ $(,)?
        }
    ) => {
        $crate::codes::listed! {
            $(#[$meta])*
            $visibility enum $name {
                $($(#[$about])* $variant),+
            }
        }

        impl $name {
            /// Every code, by its position.
            $visibility const CODES: [&'static str; Self::COUNT] = [$($code),+];

            /// The stable code, which programs may match.
            #[must_use]
            $visibility const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code),+
                }
            }

            /// The variant that has that code; nothing where none has.
            #[must_use]
            $visibility fn from_code(code: &str) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl $crate::codes::Code for $name {
            fn code(self) -> &'static str {
                Self::code(self)
            }

            fn from_code(code: &str) -> Option<Self> {
                Self::from_code(code)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.code())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                const CODES: &[&str] = &$name::CODES;
                let code = <String as serde::Deserialize>::deserialize(from)?;
                Self::from_code(&code).ok_or_else(|| serde::de::Error::unknown_variant(&code, CODES))
            }
        }
    };
}

pub(crate) use {codes, listed};

/// What has a code. [`codes!`] implements it.
pub trait Code: Copy {
    /// The code, which programs may match: it never changes.
    fn code(self) -> &'static str;

    /// What has that code; nothing where this version knows none.
    fn from_code(code: &str) -> Option<Self>;
}

/// A code that was read back: one of this version, or one that only a later keyward knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coded<T> {
    /// One of this version.
    Known(T),
    /// One that this version does not know. It is shown and written again as it came.
    Unknown(UnknownCode),
}

impl<T: Code> Coded<T> {
    /// What has that code, or the code itself.
    #[must_use]
    pub fn read(code: &str) -> Self {
        T::from_code(code).map_or_else(|| Self::Unknown(UnknownCode::keep(code)), Self::Known)
    }

    /// The code as it was read.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Known(known) => known.code(),
            Self::Unknown(unknown) => unknown.code(),
        }
    }
}

impl<T> From<T> for Coded<T> {
    fn from(known: T) -> Self {
        Self::Known(known)
    }
}

impl<T: Code> Serialize for Coded<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl<'de, T: Code> Deserialize<'de> for Coded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|code| Self::read(&code))
    }
}

/// A code that this version does not know, in one byte: its place among those that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownCode(u8);

impl UnknownCode {
    /// Keeps that code. What does not look like one, and what there is no room for, is kept as `unreadable`.
    #[must_use]
    pub fn keep(code: &str) -> Self {
        let is_code = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if code.is_empty() || code.len() > LONGEST || !code.bytes().all(is_code) {
            return Self(u8::MAX);
        }
        let places = KEPT.iter().position(|place| **place.get_or_init(|| code.into()) == *code);
        Self(places.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX))
    }

    /// The code as it came.
    #[must_use]
    pub fn code(self) -> &'static str {
        KEPT.get(usize::from(self.0)).and_then(OnceLock::get).map_or(UNREADABLE, |code| code)
    }
}

/// The codes that were kept, for as long as the process runs: a later keyward has a few, and a damaged store no more than
/// fit here.
static KEPT: [OnceLock<Box<str>>; 64] = [const { OnceLock::new() }; 64];

/// In place of what could not be kept.
const UNREADABLE: &str = "unreadable";

/// No code is longer.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    codes! {
        /// Two kinds; the code of one has a dash.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Shape {
            /// The first.
            Round => "round",
            /// The second.
            NotRound => "not-round",
        }
    }

    #[test]
    fn one_row_gives_a_variant_its_place_in_every_list() {
        assert_eq!((Shape::COUNT, Shape::CODES), (2, ["round", "not-round"]));
        for (position, shape) in Shape::ALL.into_iter().enumerate() {
            assert_eq!(shape.position(), position);
            assert_eq!(Shape::CODES[position], shape.code());
            assert_eq!(Shape::from_code(shape.code()), Some(shape));
        }
        assert_eq!(Shape::from_code("Round"), None);
    }

    #[test]
    fn a_code_that_is_not_known_is_kept_as_it_came() {
        assert_eq!(Coded::<Shape>::read("round"), Coded::Known(Shape::Round));
        for code in ["oval", "of_ten-sides", "oval"] {
            let read = Coded::<Shape>::read(code);
            assert!(matches!(read, Coded::Unknown(_)));
            assert_eq!((read.code(), read), (code, Coded::read(code)));
        }
    }

    #[test]
    fn in_json_each_is_its_code_and_no_other_text_is_one() {
        assert_eq!(serde_json::to_string(&Shape::NotRound).expect("JSON"), "\"not-round\"");
        assert_eq!(serde_json::from_str::<Shape>("\"round\"").expect("a code"), Shape::Round);
        let error = serde_json::from_str::<Shape>("\"oval\"").expect_err("no code of this version").to_string();
        assert!(error.starts_with("unknown variant `oval`, expected `round` or `not-round`"), "{error}");
        for code in ["\"round\"", "\"oval\""] {
            let read: Coded<Shape> = serde_json::from_str(code).expect("a code of any version");
            assert_eq!(serde_json::to_string(&read).expect("JSON"), code);
        }
    }

    #[test]
    fn what_is_no_code_is_kept_as_unreadable() {
        for text in ["", "Two words", "line\nbreak", "\u{1b}[31m", &"x".repeat(65)] {
            assert_eq!(Coded::<Shape>::read(text).code(), "unreadable", "{text:?}");
        }
    }
}
