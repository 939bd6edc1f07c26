//! The program's text in memory. A start runs through a great deal of it that serving never needs again, and every role
//! maps all of it: each gives back what it has once it serves, and what it needs comes again from the page cache.

use std::ffi::c_void;

/// Gives back all pages of code that this process has in memory.
pub fn give_back() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for (start, end) in maps.lines().filter_map(code) {
        // SAFETY: only what `code` lets through: code of files, mapped private and never written, which the kernel reads
        // again where it is used.
        unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// Where a line of `/proc/PID/maps` says that code of a file is, and that nobody may write it.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let inode = fields.nth(2)?;
    if rights != "r-xp" || inode == "0" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((
        usize::from_str_radix(start, 16).ok()?,
        usize::from_str_radix(end, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        let line = "55d0c0a00000-55d0c2400000 r-xp 005fa000 fe:00 1835 /opt/neargate";
        assert_eq!(code(line), Some((0x55d0_c0a0_0000, 0x55d0_c240_0000)));
        for other in [
            "55d0c2400000-55d0c2500000 r--p 01ffa000 fe:00 1835 /opt/neargate",
            "55d0c2500000-55d0c2501000 rw-p 020fa000 fe:00 1835 /opt/neargate",
            "55d0c2500000-55d0c2501000 rwxp 020fa000 fe:00 1835 /opt/neargate",
            "7ffd1b5f2000-7ffd1b5f4000 r-xp 00000000 00:00 0 [vdso]",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_runs_on_and_has_less_in_memory() {
        let resident = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
            let mut is_code = false;
            let mut sum = 0;
            for line in smaps.lines() {
                if let Some(size) = line.strip_prefix("Rss:") {
                    let size: u64 = size.trim().trim_end_matches(" kB").parse().expect("a size");
                    sum += if is_code { size } else { 0 };
                } else if !line.contains(": ") && !line.starts_with("VmFlags") {
                    is_code = code(line).is_some();
                }
            }
            sum
        };
        let before = resident();
        give_back();
        assert!(resident() < before);
    }
}
