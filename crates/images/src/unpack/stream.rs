//! Reading tar entries one after another, with bounds on everything an archive can make grow.
//!
//! The `tar` crate reads headers; framing, long names and PAX records are read here, because its own reader keeps long
//! names and records of any size in memory and splits records at newlines, which file capabilities may contain.
//! Understood: ustar, GNU (long names, base-256 numbers, sparse files), PAX (with sparse formats 0.1 and 1.0).

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// A long name or the records of one entry may not be larger.
const MAX_EXTENSION: u64 = 1 << 20;
/// Nor may a sparse file have more pieces.
const MAX_PIECES: usize = 65_536;
const BLOCK: u64 = 512;

/// One entry; its body is read from the stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub kind: EntryType,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Of the file, holes included.
    pub size: u64,
    /// Offset and length of each piece that the body brings, when the file has holes.
    pub pieces: Option<Vec<(u64, u64)>>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar archive; `Read` gives the current entry's body.
pub(crate) struct TarStream<R> {
    input: R,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes left of the current body, then of its padding.
    body: u64,
    padding: u64,
    skip: fn(&mut R, u64) -> io::Result<u64>,
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn malformed(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// A number left out is zero, as it is to other readers.
fn blank<T: Default>(field: &[u8], value: io::Result<T>) -> io::Result<T> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) {
        Ok(T::default())
    } else {
        value
    }
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(input: R) -> Self {
        let skip = |input: &mut R, by| io::copy(&mut input.take(by), &mut io::sink());
        TarStream {
            input,
            global: BTreeMap::new(),
            body: 0,
            padding: 0,
            skip,
        }
    }

    /// A stream that steps over bodies that are not read.
    pub(crate) fn seeking(input: R) -> Self
    where
        R: Seek,
    {
        let skip = |input: &mut R, by| {
            let step = i64::try_from(by).map_err(|_| malformed("an entry is too large"))?;
            input.seek(SeekFrom::Current(step)).map(|_| by)
        };
        TarStream {
            input,
            global: BTreeMap::new(),
            body: 0,
            padding: 0,
            skip,
        }
    }

    /// Where the current body begins, before any of it is read.
    pub(crate) fn position(&mut self) -> io::Result<u64>
    where
        R: Seek,
    {
        self.input.stream_position()
    }

    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; none at the end of the archive. What is left of the body before is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut long_name = None;
        let mut long_link = None;
        let mut local: Option<Records> = None;
        loop {
            self.skip_body()?;
            let Some(header) = self.header()? else {
                if long_name.is_some() || long_link.is_some() || local.is_some() {
                    return Err(malformed("the tar archive ends inside an entry"));
                }
                return Ok(None);
            };
            let size = blank(&header.as_old().size, header.entry_size())?;
            self.open_body(size)?;
            match header.entry_type() {
                EntryType::GNULongName => long_name = Some(self.name()?),
                EntryType::GNULongLink => long_link = Some(self.name()?),
                EntryType::XGlobalHeader => self.global = self.records()?,
                EntryType::XHeader => local = Some(self.records()?),
                kind => {
                    return self
                        .entry(header, kind, long_name, long_link, local.unwrap_or_default())
                        .map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: Header,
        kind: EntryType,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        mut records: Records,
    ) -> io::Result<Entry> {
        for (key, value) in &self.global {
            records.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let number = |key: &str| -> io::Result<Option<u64>> {
            let Some(value) = records.get(key.as_bytes()) else {
                return Ok(None);
            };
            let text = std::str::from_utf8(value).unwrap_or_default();
            text.parse()
                .map(Some)
                .map_err(|_| malformed(format!("PAX record {key} is no number")))
        };
        let id = |value: u64| u32::try_from(value).map_err(|_| malformed("a user or group id is too large"));
        let mut size = match number("size")? {
            Some(size) => {
                self.open_body(size)?;
                size
            }
            None => blank(&header.as_old().size, header.entry_size())?,
        };
        let mut path = records
            .get(&b"path"[..])
            .cloned()
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records
            .get(&b"linkpath"[..])
            .cloned()
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
            .unwrap_or_default();
        let mtime = match records.get(&b"mtime"[..]) {
            Some(text) => pax_time(text).ok_or_else(|| malformed("PAX record mtime is no time"))?,
            None => (
                i64::try_from(blank(&header.as_old().mtime, header.mtime())?).unwrap_or(i64::MAX),
                0,
            ),
        };
        let (uid, gid) = (
            id(number("uid")?.map_or_else(|| blank(&header.as_old().uid, header.uid()), Ok)?)?,
            id(number("gid")?.map_or_else(|| blank(&header.as_old().gid, header.gid()), Ok)?)?,
        );
        let real_size = number("GNU.sparse.realsize")?.or(number("GNU.sparse.size")?);
        let major = number("GNU.sparse.major")?;

        let mut pieces = None;
        if kind == EntryType::GNUSparse {
            let gnu = header
                .as_gnu()
                .ok_or_else(|| malformed("a sparse entry without a GNU header"))?;
            pieces = Some(self.gnu_pieces(gnu)?);
            size = gnu.real_size()?;
        } else if let (Some(1), Some(real)) = (major, real_size) {
            pieces = Some(self.pax_pieces()?);
            size = real;
        } else if let (Some(map), Some(real)) = (records.get(&b"GNU.sparse.map"[..]), real_size) {
            pieces = Some(pieces_from_text(map)?);
            size = real;
        } else if records.keys().any(|k| k.starts_with(b"GNU.sparse.")) {
            return Err(malformed("this form of sparse file is not supported"));
        }
        if let Some(name) = records.get(&b"GNU.sparse.name"[..]) {
            path = name.clone();
        }
        if let Some(pieces) = &pieces {
            check_pieces(pieces, size, self.body)?;
        }
        let xattrs = records
            .iter()
            .filter_map(|(k, v)| k.strip_prefix(b"SCHILY.xattr.").map(|name| (name.to_vec(), v.clone())))
            .collect();
        Ok(Entry {
            kind,
            path,
            link,
            mode: blank(&header.as_old().mode, header.mode())?,
            uid,
            gid,
            mtime,
            size,
            pieces,
            xattrs,
        })
    }

    fn open_body(&mut self, size: u64) -> io::Result<()> {
        self.body = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        Ok(())
    }

    fn skip_body(&mut self) -> io::Result<()> {
        let left = self
            .body
            .checked_add(self.padding)
            .ok_or_else(|| malformed("an entry is too large"))?;
        let skipped = if left == 0 {
            0
        } else {
            (self.skip)(&mut self.input, left)?
        };
        if skipped < self.body {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.body, self.padding) = (0, 0);
        Ok(())
    }

    /// The next header block; none at two zero blocks' first, or at the end of the input.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|b| u32::from(*b))
            .sum::<u32>()
            + 8 * 32;
        if header.cksum()? != sum {
            return Err(malformed("a tar header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Fills `block`; false when the input ends right before it.
    fn block(&mut self, block: &mut [u8; 512]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(true)
    }

    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.body > MAX_EXTENSION {
            return Err(malformed("an entry's name or attributes are larger than 1 MiB"));
        }
        let mut bytes = Vec::with_capacity(self.body as usize);
        let wanted = self.body;
        self.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn name(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = self.extension()?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    /// PAX records: `<length> <key>=<value>\n`, the length counting all of it.
    fn records(&mut self) -> io::Result<Records> {
        let bytes = self.extension()?;
        let mut rest = &bytes[..];
        let mut out = Records::new();
        let bad = || malformed("a PAX record is malformed");
        while !rest.is_empty() && rest[0] != 0 {
            let space = rest.iter().take(8).position(|b| *b == b' ').ok_or_else(bad)?;
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|t| t.parse().ok())
                .ok_or_else(bad)?;
            if length > rest.len() || length < space + 3 || rest[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &rest[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            out.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
            rest = &rest[length..];
        }
        Ok(out)
    }

    fn gnu_pieces(&mut self, header: &tar::GnuHeader) -> io::Result<Vec<(u64, u64)>> {
        fn add(list: &[GnuSparseHeader], pieces: &mut Vec<(u64, u64)>) -> io::Result<()> {
            for piece in list.iter().filter(|p| !p.is_empty()) {
                pieces.push((piece.offset()?, piece.length()?));
            }
            Ok(())
        }
        let mut pieces = Vec::new();
        add(&header.sparse, &mut pieces)?;
        let mut more = header.is_extended();
        while more {
            let mut extension = GnuExtSparseHeader::new();
            if !self.block(extension.as_mut_bytes())? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            add(&extension.sparse, &mut pieces)?;
            if pieces.len() > MAX_PIECES {
                return Err(malformed("a sparse file has too many pieces"));
            }
            more = extension.is_extended();
        }
        Ok(pieces)
    }

    /// PAX sparse format 1.0: the body begins with decimal lines, padded to a block.
    fn pax_pieces(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut used = 0u64;
        let mut line = |stream: &mut Self| -> io::Result<u64> {
            let mut value: u64 = 0;
            loop {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                used += 1;
                match byte[0] {
                    b'\n' => return Ok(value),
                    d @ b'0'..=b'9' => {
                        value = value
                            .checked_mul(10)
                            .and_then(|v| v.checked_add(u64::from(d - b'0')))
                            .ok_or_else(|| malformed("a sparse map has a number that is too large"))?;
                    }
                    _ => return Err(malformed("a sparse map is malformed")),
                }
            }
        };
        let count = line(self)?;
        if count > MAX_PIECES as u64 {
            return Err(malformed("a sparse file has too many pieces"));
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((line(self)?, line(self)?));
        }
        let mut padding = vec![0; ((BLOCK - used % BLOCK) % BLOCK) as usize];
        self.read_exact(&mut padding)?;
        Ok(pieces)
    }
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.body).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.input.read(&mut buf[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.body -= n as u64;
        Ok(n)
    }
}

/// `off,len,off,len…`
fn pieces_from_text(text: &[u8]) -> io::Result<Vec<(u64, u64)>> {
    let bad = || malformed("a sparse map is malformed");
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let numbers: Vec<u64> = text
        .split(',')
        .filter(|t| !t.is_empty())
        .map(|t| t.parse().map_err(|_| bad()))
        .collect::<Result<_, _>>()?;
    if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MAX_PIECES {
        return Err(bad());
    }
    Ok(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect())
}

/// Pieces must ascend, stay inside the file and be exactly what the body holds.
fn check_pieces(pieces: &[(u64, u64)], size: u64, body: u64) -> io::Result<()> {
    let (mut end, mut total) = (0u64, 0u64);
    for (offset, length) in pieces {
        if *offset < end {
            return Err(malformed("the pieces of a sparse file overlap"));
        }
        end = offset
            .checked_add(*length)
            .filter(|e| *e <= size)
            .ok_or_else(|| malformed("a piece lies outside its file"))?;
        total += length;
    }
    if total != body {
        return Err(malformed("the pieces of a sparse file do not add up"));
    }
    Ok(())
}

/// Seconds with an optional fraction, perhaps negative.
fn pax_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((secs.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((secs, nanos))
}
