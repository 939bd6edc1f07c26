//! The stored form of a record: JSON, which tolerates members that came later, packed when that makes it shorter.

use std::cell::RefCell;
use std::io;

/// First byte of a stored value.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Below this packing gains nothing.
const WORTHWHILE: usize = 200;
/// Fast, and records are short.
const LEVEL: i32 = 1;
/// No record is longer (`MAX_BYTES` bounds it), so a forged length cannot ask for more memory.
const LONGEST: usize = 4 * 1024 * 1024;

thread_local! {
    static PACKER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// The value of `json`.
pub(super) fn pack(json: &[u8]) -> Vec<u8> {
    let plain = || [&[PLAIN], json].concat();
    if json.len() < WORTHWHILE {
        return plain();
    }
    match PACKER.with_borrow_mut(|packer| compress(packer, json)) {
        Ok(packed) if packed.len() < json.len() => [&[ZSTD], packed.as_slice()].concat(),
        Ok(_) => plain(),
        Err(error) => {
            tracing::warn!(%error, "a record could not be packed and is stored as it is");
            plain()
        }
    }
}

fn compress(packer: &mut Option<zstd::bulk::Compressor<'static>>, json: &[u8]) -> io::Result<Vec<u8>> {
    let packer = match packer {
        Some(packer) => packer,
        none => {
            let mut fresh = zstd::bulk::Compressor::new(LEVEL)?;
            fresh.include_checksum(true)?;
            none.insert(fresh)
        }
    };
    packer.compress(json)
}

/// Reads values back, one after another.
pub(super) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    pub fn new() -> io::Result<Unpacker> {
        Ok(Unpacker(zstd::bulk::Decompressor::new()?))
    }

    /// The JSON of `value`.
    pub fn unpack(&mut self, value: &[u8]) -> io::Result<Vec<u8>> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        match value.split_first() {
            Some((&PLAIN, json)) => Ok(json.to_vec()),
            Some((&ZSTD, packed)) => {
                let length = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
                match length.and_then(|length| usize::try_from(length).ok()) {
                    Some(length) if length <= LONGEST => self.0.decompress(packed, length),
                    Some(length) => Err(invalid(&format!("it claims to be {length} bytes long"))),
                    None => Err(invalid("its length is missing")),
                }
            }
            Some((form, _)) => Err(invalid(&format!("its form {form} is unknown"))),
            None => Err(invalid("it is empty")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_come_back_as_they_went_in(text in ".{0,300}", repeat in 1_usize..20) {
            let json = text.repeat(repeat).into_bytes();
            let packed = pack(&json);
            prop_assert!(packed.len() <= json.len() + 1);
            prop_assert_eq!(Unpacker::new().unwrap().unpack(&packed).unwrap(), json);
        }

        #[test]
        fn damage_is_found(at in 0_usize..400, flip in 1_u8..=255) {
            let json: Vec<u8> = (0..2000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
            let mut packed = pack(&json);
            let at = 1 + at % (packed.len() - 1);
            packed[at] ^= flip;
            match Unpacker::new().unwrap().unpack(&packed) {
                Err(_) => {}
                Ok(same) => prop_assert_eq!(same, json, "a flipped bit that changes nothing"),
            }
        }
    }
}
