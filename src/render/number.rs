//! Number: integers, floats and byte strings as digits, without a detour over `fmt` where it counts.

use std::io::Write as _;
use std::time::Duration;

use super::escape::HEX;

const PAIRS: &[u8; 200] = b"00010203040506070809101112131415161718192021222324252627282930313233\
3435363738394041424344454647484950515253545556575859606162636465666768697071727374757677787980\
81828384858687888990919293949596979899";

/// Appends a number in decimal.
pub(super) fn unsigned(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number in decimal.
pub(super) fn signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    unsigned(number.unsigned_abs(), out);
}

/// Appends a number with exactly `width` digits, zeros first; higher digits are cut.
pub(super) fn padded(mut number: u32, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Appends seconds with nine digits behind the point.
pub(super) fn seconds(duration: Duration, out: &mut Vec<u8>) {
    unsigned(duration.as_secs(), out);
    out.push(b'.');
    padded(duration.subsec_nanos(), 9, out);
}

/// Appends a float in the shortest form that reads back equal, `NaN`, `inf` or `-inf`.
pub(super) fn float(number: f64, out: &mut Vec<u8>) {
    write!(out, "{number:?}").expect("a vector takes all");
}

/// Appends a float of four bytes like [`float`].
pub(super) fn float32(number: f32, out: &mut Vec<u8>) {
    write!(out, "{number:?}").expect("a vector takes all");
}

/// Appends bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_are_those_of_display() {
        let mut numbers = vec![0, 9, 10, 99, 100, 101, 999, 1000, u64::MAX];
        numbers.extend((0..64).map(|bit| 1 << bit));
        for number in numbers {
            assert_eq!(text(|out| unsigned(number, out)), number.to_string());
            let number = number as i64;
            assert_eq!(text(|out| signed(number, out)), number.to_string());
        }
        assert_eq!(text(|out| signed(i64::MIN, out)), i64::MIN.to_string());
        assert_eq!(text(|out| padded(1_234, 3, out)), "234");
        assert_eq!(text(|out| seconds(Duration::new(3, 5), out)), "3.000000005");
        assert_eq!(text(|out| hex(&[0, 0xaf], out)), "00af");
        assert_eq!(text(|out| float(1e300, out)), "1e300");
        assert_eq!(text(|out| float(f64::NEG_INFINITY, out)), "-inf");
    }
}
