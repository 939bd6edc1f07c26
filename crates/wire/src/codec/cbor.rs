//! rpc-v2-cbor, as far as refusing in it goes: clients that speak it read no other error.
//!
//! Source: Smithy's "RPC v2 CBOR protocol", RFC 8949.

use super::Encoded;
use neargate_core::AwsError;

/// Writes the map `{"__type": code, "message": …}`.
pub fn encode_error(error: &AwsError) -> Encoded {
    let mut body = vec![0xa2];
    for text in ["__type", error.code.as_ref(), "message", error.message.as_str()] {
        write_text(text, &mut body);
    }
    Encoded {
        status: error.status,
        content_type: "application/cbor",
        headers: vec![("smithy-protocol", "rpc-v2-cbor".to_owned())],
        body,
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    const TEXT: u8 = 0x60;
    match text.len() {
        n @ 0..24 => out.push(TEXT | n as u8),
        n @ 24..0x100 => out.extend([TEXT | 24, n as u8]),
        n @ 0x100..0x1_0000 => {
            out.push(TEXT | 25);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(TEXT | 27);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_map_of_two_texts() {
        let out = encode_error(&AwsError::new("A", 400, "b".repeat(30)));
        let mut expected = vec![0xa2, 0x66];
        expected.extend(b"__type\x61A\x67message\x78\x1e");
        expected.extend("b".repeat(30).bytes());
        assert_eq!(out.body, expected);
    }
}
