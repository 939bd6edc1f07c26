//! A segment's index: its streams, and for each block where it lies, what times it spans and whose events it holds.

use super::Segment;
use crate::storage::StorageError;
use crate::storage::codec::{self, Reader};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Longest index that is believed, in bytes: one of 64 MiB of blocks is far below.
const MAX_INDEX: u32 = 256 << 20;

#[derive(Debug, PartialEq)]
pub struct Block {
    pub at: u64,
    /// Compressed and plain length.
    pub len: u32,
    pub raw: u32,
    pub crc: u32,
    pub min: i64,
    pub max: i64,
    pub bytes: u64,
    /// Places in `Index::streams`, ascending.
    pub streams: Vec<u32>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Index {
    /// Ids and bytes of the streams with events here.
    pub streams: Vec<(u64, u64)>,
    pub blocks: Vec<Block>,
}

impl Index {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        codec::put(&mut out, self.streams.len() as u64);
        for (id, bytes) in &self.streams {
            out.extend_from_slice(&id.to_le_bytes());
            codec::put(&mut out, *bytes);
        }
        codec::put(&mut out, self.blocks.len() as u64);
        let mut time = 0;
        for block in &self.blocks {
            codec::put(&mut out, block.at);
            codec::put(&mut out, u64::from(block.len));
            codec::put(&mut out, u64::from(block.raw));
            codec::put(&mut out, u64::from(block.crc));
            codec::put_signed(&mut out, block.min.wrapping_sub(time));
            codec::put_signed(&mut out, block.max.wrapping_sub(block.min));
            time = block.max;
            codec::put(&mut out, block.bytes);
            codec::put(&mut out, block.streams.len() as u64);
            let mut before = 0;
            for place in &block.streams {
                codec::put(&mut out, u64::from(place - before));
                before = *place;
            }
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Index> {
        let mut reader = Reader(bytes);
        let mut index = Index::default();
        for _ in 0..reader.u64()? {
            let (id, rest) = reader.0.split_at_checked(8)?;
            reader.0 = rest;
            index
                .streams
                .push((u64::from_le_bytes(id.try_into().ok()?), reader.u64()?));
        }
        let mut time = 0i64;
        for _ in 0..reader.u64()? {
            let at = reader.u64()?;
            let len = u32::try_from(reader.u64()?).ok()?;
            let raw = u32::try_from(reader.u64()?).ok()?;
            let crc = u32::try_from(reader.u64()?).ok()?;
            let min = time.wrapping_add(reader.signed()?);
            let max = min.wrapping_add(reader.signed()?);
            time = max;
            let bytes = reader.u64()?;
            let mut streams = Vec::new();
            let mut place = 0u32;
            for _ in 0..reader.u64()? {
                place = place.checked_add(u32::try_from(reader.u64()?).ok()?)?;
                if place as usize >= index.streams.len() {
                    return None;
                }
                streams.push(place);
            }
            index.blocks.push(Block {
                at,
                len,
                raw,
                crc,
                min,
                max,
                bytes,
                streams,
            });
        }
        reader.is_empty().then_some(index)
    }

    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(segment: &Segment, file: &File) -> Result<Index, StorageError> {
        let mut packed = vec![0; segment.index_len as usize];
        file.read_exact_at(&mut packed, segment.index_at)
            .map_err(StorageError::io("read", &segment.path))?;
        if crc32fast::hash(&packed) != segment.index_crc || segment.index_raw > MAX_INDEX {
            return Err(segment.damaged("the checksum of its index does not fit"));
        }
        let plain = zstd::bulk::decompress(&packed, segment.index_raw as usize)
            .map_err(StorageError::io("unpack", &segment.path))?;
        Index::decode(&plain).ok_or_else(|| segment.damaged("its index makes no sense"))
    }

    /// Bytes of events that are older than `cutoff` or of streams that are not `alive`; too few rather than too many
    /// where a block holds both.
    pub fn dead(&self, cutoff: i64, alive: &mut dyn FnMut(u64) -> bool) -> u64 {
        let alive: Vec<bool> = self.streams.iter().map(|(id, _)| alive(*id)).collect();
        let deleted: u64 = (self.streams.iter().zip(&alive))
            .filter(|(_, alive)| !**alive)
            .map(|((_, bytes), _)| bytes)
            .sum();
        let expired: u64 = (self.blocks.iter())
            .filter(|block| block.max < cutoff && block.streams.iter().all(|place| alive[*place as usize]))
            .map(|block| block.bytes)
            .sum();
        deleted + expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Index::decode(&bytes);
        }
    }
}
