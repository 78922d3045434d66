//! Value: which types can be logged as a field, and as which encoding.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::num::{NonZero, Wrapping};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::raw::{Chain, Format, Formatted, Raw};

/// A type whose values can be logged as they are.
///
/// Numbers, `bool`, `char`, strings, byte slices, [`Duration`], `Option`s of them, references to
/// them, `dyn Error` (with its sources) and [`fmt::Arguments`] are; anything else is logged through
/// `%x` or `?x`, or by an implementation that names one of those as its encoding.
///
/// # Examples
///
/// ```
/// struct UserId(u64);
///
/// impl ttlog::Value for UserId {
///     type Raw<'a> = u64;
///     fn raw(&self) -> u64 {
///         self.0
///     }
/// }
///
/// ttlog::info!(user = UserId(42), "logged in");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be logged as it is",
    note = "write `%x` or `?x` to log what `Display` or `Debug` makes of it, or implement `ttlog::Value`"
)]
pub trait Value {
    /// The encoding: a number, `bool`, `char`, `&str`, `&[u8]`, [`Duration`], an `Option` of one of
    /// them, or the `Raw` of another value.
    type Raw<'a>: Raw
    where
        Self: 'a;

    /// The value in that encoding.
    fn raw(&self) -> Self::Raw<'_>;
}

/// A type whose raw encoding says all that its `Display` and `Debug` would show, so that the
/// reader can format it.
pub trait Deferrable: Value {}

macro_rules! values {
    ($($([$($generics:tt)*])? $type:ty => $raw:ty, |$v:ident| $expr:expr;)*) => { $(
        impl<$($($generics)*)?> Value for $type {
            type Raw<'a> = $raw where Self: 'a;
            #[inline(always)]
            fn raw(&self) -> Self::Raw<'_> {
                let $v = self;
                $expr
            }
        }
    )* };
}

macro_rules! deferrable {
    ($($([$($generics:tt)*])? $type:ty;)*) => {
        $(impl<$($($generics)*)?> Deferrable for $type {})*
    };
}

macro_rules! integers {
    ($($type:ty)*) => {
        values! { $(
            $type => Self, |v| *v;
            NonZero<$type> => $type, |v| v.get();
        )* }
        deferrable! { $($type; NonZero<$type>;)* }
    };
}

integers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

#[cfg(target_pointer_width = "64")]
type Word = (u64, i64);
#[cfg(target_pointer_width = "32")]
type Word = (u32, i32);
#[cfg(target_pointer_width = "16")]
type Word = (u16, i16);

/// One half of a pair, for the widths of `usize` and `isize`.
trait Half {
    type Unsigned;
    type Signed;
}

impl<U, S> Half for (U, S) {
    type Unsigned = U;
    type Signed = S;
}

values! {
    usize => <Word as Half>::Unsigned, |v| *v as <Word as Half>::Unsigned;
    isize => <Word as Half>::Signed, |v| *v as <Word as Half>::Signed;
    NonZero<usize> => <Word as Half>::Unsigned, |v| v.get() as <Word as Half>::Unsigned;
    NonZero<isize> => <Word as Half>::Signed, |v| v.get() as <Word as Half>::Signed;
    f32 => Self, |v| *v;
    f64 => Self, |v| *v;
    bool => Self, |v| *v;
    char => Self, |v| *v;
    Duration => Self, |v| *v;
    str => &'a str, |v| v;
    String => &'a str, |v| v;
    [u8] => &'a [u8], |v| v;
    [const N: usize] [u8; N] => &'a [u8], |v| v;
    Vec<u8> => &'a [u8], |v| v;
    [T: Value] Wrapping<T> => T::Raw<'a>, |v| v.0.raw();
    [T: Value] Option<T> => Option<T::Raw<'a>>, |v| v.as_ref().map(T::raw);
    [T: Value + ?Sized] &T => T::Raw<'a>, |v| (**v).raw();
    [T: Value + ?Sized] &mut T => T::Raw<'a>, |v| (**v).raw();
    [T: Value + ?Sized] Box<T> => T::Raw<'a>, |v| (**v).raw();
    [T: Value + ?Sized] Rc<T> => T::Raw<'a>, |v| (**v).raw();
    [T: Value + ?Sized] Arc<T> => T::Raw<'a>, |v| (**v).raw();
    [T: Value + ToOwned + ?Sized] Cow<'_, T> => T::Raw<'a>, |v| (**v).raw();
    (dyn Error + 'static) => Chain<'a>, |v| Chain(v);
    (dyn Error + Send + 'static) => Chain<'a>, |v| Chain(v);
    (dyn Error + Sync + 'static) => Chain<'a>, |v| Chain(v);
    (dyn Error + Send + Sync + 'static) => Chain<'a>, |v| Chain(v);
    fmt::Arguments<'_> => Formatted<&'a Self>, |v| Formatted(v);
}

deferrable! {
    usize; isize; NonZero<usize>; NonZero<isize>; f32; f64; bool; char; Duration; str; String;
    [T: Deferrable] Wrapping<T>;
    [T: Deferrable + ?Sized] &T;
    [T: Deferrable + ?Sized] &mut T;
    [T: Deferrable + ?Sized] Box<T>;
    [T: Deferrable + ?Sized] Rc<T>;
    [T: Deferrable + ?Sized] Arc<T>;
    Cow<'_, str>;
}

impl Format for &fmt::Arguments<'_> {
    #[inline]
    fn format(self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_fmt(*self)
    }
}
