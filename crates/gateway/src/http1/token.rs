//! Which bytes may stand where in a head. Source: RFC 9110 section 5, RFC 9112.

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const ASCII: u8 = 8;
/// What ALB takes for a valid name.
const PLAIN: u8 = 16;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric()
            || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        {
            class |= TOKEN;
        }
        // obs-text is allowed, controls other than tab are not.
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        if b > b' ' && b != 0x7f {
            class |= TARGET;
        }
        if b.is_ascii() {
            class |= ASCII;
        }
        if b.is_ascii_alphanumeric() || b == b'-' {
            class |= PLAIN;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

/// A method or a field's name.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// A field's value.
pub fn is_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
}

/// Whether a field's value is ASCII throughout; none: it is no value.
pub fn value_is_ascii(bytes: &[u8]) -> Option<bool> {
    let common = common(bytes);
    (common & VALUE != 0).then_some(common & ASCII != 0)
}

/// Whether a field's name is one that ALB takes for valid (`forwarded::is_valid_name`); none: it is no name.
pub fn name_is_valid(bytes: &[u8]) -> Option<bool> {
    let common = common(bytes);
    (!bytes.is_empty() && common & TOKEN != 0).then_some(common & PLAIN != 0)
}

/// What all of them are.
fn common(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(u8::MAX, |common, b| common & CLASSES[usize::from(*b)])
}

/// A request's target: no spaces, no controls.
pub fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TARGET)
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|b| CLASSES[usize::from(*b)] & class != 0)
}

/// Without the spaces and tabs around it.
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The comma-separated members of a list, without those that are empty.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}

/// A number in decimal digits alone. None: it is not one, or too large to be a length.
pub fn decimal(bytes: &[u8]) -> Option<u64> {
    // Nineteen digits always fit.
    if bytes.is_empty() || bytes.len() > 19 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
