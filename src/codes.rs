//! Enums whose variants stand in a list, and have codes that logs, metrics and the store know: each is declared once.
//!
//! [`listed!`] declares an enum with `COUNT`, `ALL` and `position`. [`codes!`] adds `CODES`, `code` and `from_code`. The
//! compiler makes all of them from one row for each variant, so that no list can miss one, and it warns where two variants
//! have one code. An enum whose variants carry data has another one beside it for its codes, as
//! [`Verdict`](crate::verdict::Verdict) has [`VerdictKind`](crate::verdict::VerdictKind); the `match` between them has an
//! arm for each variant.

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
            /// How many there are.
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
/// - `from_code`: the variant that has that code.
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

            /// What has that code.
            #[must_use]
            $visibility fn from_code(code: &str) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use {codes, listed};

#[cfg(test)]
mod tests {

    codes! {
        /// Two, of which one has a dash.
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
}
