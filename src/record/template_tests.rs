//! Compares the reader's formatter with std's.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn formatted(template: &str, args: &[(&str, Value<'_>)]) -> String {
    let mut out = String::new();
    format(template, args, &mut out);
    out
}

/// Compares one value under every specification of a list.
macro_rules! same {
    ($variant:ident $value:expr; $($spec:literal)*) => {{
        let value = $value;
        $(assert_eq!(
            formatted(concat!("<{", $spec, "}>"), &[("", Value::$variant(value))]),
            format!(concat!("<{", $spec, "}>"), value),
            "{} of {value:?}", $spec
        );)*
    }};
}

macro_rules! integers {
    ($variant:ident $value:expr) => {
        same!($variant $value; "" ":?" ":#?" ":5" ":<5" ":^6" ":>40" ":*^9" ":→<9" ":+" ":+8"
            ":05" ":+05" ":#x" ":x" ":X" ":#X" ":o" ":#o" ":b" ":#b" ":#010x" ":#034b" ":08X"
            ":*<+#12x" ":e" ":E" ":.2e" ":+.1E" ":012e" ":.3" ":8.3" ":<05" ":08?" ":*^#9?" "0"
            "0:4" ":0" ":+?" ":^#60b" ":012.3e")
    };
}

macro_rules! floats {
    ($variant:ident $value:expr) => {
        same!($variant $value; "" ":?" ":#?" ":10" ":<10" ":^11" ":>40" ":*^9.1" ":+" ":+8.2"
            ":010" ":+010.3" ":.0" ":.1" ":.17" ":.0?" ":.2?" ":10.2?" ":e" ":E" ":.2e" ":+.1E"
            ":012e" ":015?" ":-^20e" ":#.0" ":+?")
    };
}

macro_rules! texts {
    ($variant:ident $value:expr) => {
        same!($variant $value; "" ":?" ":#?" ":10" ":<10" ":^11" ":>9" ":*^9.1" ":.0" ":.1" ":.2"
            ":-<9.3" ":10?" ":.1?" ":05" ":+8" ":#5" ":→^7")
    };
}

#[test]
fn every_type_is_formatted_as_std_does() {
    for v in [0, 1, 7, 255] {
        integers!(U8 v as u8);
        integers!(U16 v as u16);
        integers!(U32 v as u32);
        integers!(U64 v as u64);
        integers!(U128 v as u128);
    }
    for v in [0, 1, -1, 127, -128] {
        integers!(I8 v as i8);
        integers!(I16 v as i16);
        integers!(I32 v as i32);
        integers!(I64 v as i64);
        integers!(I128 v as i128);
    }
    integers!(U64 u64::MAX);
    integers!(I64 i64::MIN);
    integers!(U128 u128::MAX);
    integers!(I128 i128::MIN);
    for v in [0.0, -0.0, 1.0, 1.5, -2.25, 1e16, 1e-7, 1e300, f64::NAN, f64::INFINITY, f64::MIN] {
        floats!(F64 v);
        floats!(F32 v as f32);
    }
    for v in ["", "a", "hello", "grüße\n\"x\"", "日本語テキスト"] {
        texts!(Str v);
        texts!(Text v);
    }
    for v in ['a', '\'', '\n', 'ß'] {
        texts!(Char v);
    }
    for v in [true, false] {
        texts!(Bool v);
    }
    for v in [0, 1, 999, 1_500, 2_000_000_000, u64::MAX] {
        same!(Duration Duration::from_nanos(v); ":?" ":12?" ":>12?" ":*^14?" ":.2?" ":+?" ":.0?"
            ":012?" ":<20.3?" ":#?" ":+.9?");
    }
}

#[test]
fn places_names_and_braces_are_resolved() {
    let args = [("", Value::U8(1)), ("", Value::Str("two")), ("x", Value::I32(-3))];
    assert_eq!(formatted("{} {} {x} {{}} {0}{1:?}{2}", &args), "1 two -3 {} 1\"two\"-3");
    assert_eq!(formatted("{1}{}{}", &args), "two1two");
    assert_eq!(formatted("", &args), "");
}

#[test]
fn what_is_no_placeholder_is_shown_as_it_stands() {
    let args = [("", Value::U8(1))];
    for odd in ["{", "}", "a}b", "{:w$}", "{:.*}", "{x:p}", "{y}", "{5}", "{:99999}", "{ }", "{:"] {
        assert_eq!(formatted(odd, &args), odd);
    }
    assert_eq!(formatted("{:w$} {}", &args), "{:w$} 1");
}

#[test]
fn a_hostile_template_is_cut() {
    let template = "{0:65535}".repeat(7_000);
    let text = formatted(&template, &[("", Value::Str("ä"))]);
    assert_eq!(text.len(), MESSAGE_BYTES_MAX);
}

proptest! {
    #[test]
    fn numbers_and_texts_are_formatted_as_std_does(
        u in any::<u64>(), i in any::<i64>(), f in any::<f64>(), g in any::<f32>(), s in ".*"
    ) {
        integers!(U64 u);
        integers!(I64 i);
        floats!(F64 f);
        floats!(F32 g);
        texts!(Str s.as_str());
    }

    #[test]
    fn no_template_panics(template in ".*", braces in "[{}:0-9a-z#<^>.?$+*→ ]*", n in 0usize..3) {
        let args = [("", Value::U8(1)), ("x", Value::F32(2.5))];
        formatted(&template, &args[..n]);
        formatted(&braces, &args[..n]);
    }
}
