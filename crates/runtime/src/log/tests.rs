use super::file::RotatingFile;
use super::*;
use std::path::PathBuf;

const AT: u64 = 1_795_250_400_000_000_123;

fn lines(pushes: &[&[u8]], terminal: bool) -> String {
    let mut formatter = Formatter::new("stdout", terminal);
    let mut out = Vec::new();
    for push in pushes {
        formatter.push(push, AT, &mut out);
    }
    formatter.finish(AT, &mut out);
    String::from_utf8(out).unwrap()
}

fn directory() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "neargate-log-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_line_is_in_cri_format() {
    assert_eq!(
        lines(&[b"hello\n"], false),
        "2026-11-21T08:40:00.000000123Z stdout F hello\n"
    );
}

#[test]
fn lines_may_arrive_in_pieces_and_end_without_newline() {
    let out = lines(&[b"a", b"b\n\nc", b"d"], false);
    let texts: Vec<_> = out.lines().map(|l| l.split_once("stdout ").unwrap().1).collect();
    assert_eq!(texts, ["F ab", "F ", "F cd"]);
}

#[test]
fn long_lines_are_cut_at_16_kib() {
    let long = vec![b'x'; 40_000];
    let out = lines(&[&long[..10_000], &long[10_000..], b"\nnext\n"], false);
    let parts: Vec<_> = out.lines().map(|l| l.split_once("stdout ").unwrap().1).collect();
    assert_eq!(
        parts.iter().map(|p| p.len() - 2).collect::<Vec<_>>(),
        [16_384, 16_384, 40_000 - 32_768, 4]
    );
    assert_eq!(parts.iter().map(|p| &p[..1]).collect::<String>(), "PPFF");
    // Exactly the maximum is one whole line.
    let exact = lines(&[&[b'y'; 16_384], b"\n"], false);
    assert_eq!(exact.lines().count(), 1);
    assert!(exact.contains("stdout F y"));
}

#[test]
fn a_terminals_carriage_returns_go() {
    assert!(lines(&[b"a\r\n"], true).ends_with("F a\n"));
    assert!(lines(&[b"a\r\n"], false).ends_with("F a\r\n"));
}

#[test]
fn dates_hold_across_leap_years() {
    let mut out = Vec::new();
    for seconds in [951_782_400u64, 1_709_164_800, 4_107_542_400, 0] {
        Formatter::new("stderr", false).push(b"\n", seconds * 1_000_000_000, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let days: Vec<_> = text.lines().map(|l| &l[..10]).collect();
    assert_eq!(days, ["2000-02-29", "2024-02-29", "2100-03-01", "1970-01-01"]);
}

#[test]
fn rotation_bounds_the_disk_and_keeps_lines_whole() {
    let directory = directory();
    let path = directory.join("log");
    let mut file = RotatingFile::open(&path, 100, 3).unwrap();
    for n in 0..100 {
        file.write(format!("line number {n}\n").as_bytes());
    }
    drop(file);
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["log", "log.1", "log.2"]);
    let text = ["log.2", "log.1", "log"].map(|name| std::fs::read_to_string(directory.join(name)).unwrap());
    assert!(text.iter().all(|t| t.len() <= 100 && t.ends_with('\n')));
    let numbers: Vec<u32> = text
        .concat()
        .lines()
        .map(|l| l.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(*numbers.last().unwrap(), 99);
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "nothing is lost between files: {numbers:?}"
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn one_large_write_is_spread_over_files_and_a_giant_line_has_one_alone() {
    let directory = directory();
    let path = directory.join("log");
    let mut file = RotatingFile::open(&path, 50, 9).unwrap();
    let big = format!("{}\n{}\nshort\n", "a".repeat(20), "b".repeat(200));
    file.write(big.as_bytes());
    drop(file);
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(
        (read("log.2").len(), read("log.1").len(), read("log").as_str()),
        (21, 201, "short\n")
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_reopened_file_goes_on_where_it_was() {
    let directory = directory();
    let path = directory.join("log");
    RotatingFile::open(&path, 30, 2)
        .unwrap()
        .write(b"twenty bytes of text\n");
    RotatingFile::open(&path, 30, 2).unwrap().write(b"and ten more\n");
    assert_eq!(
        std::fs::read_to_string(directory.join("log.1")).unwrap(),
        "twenty bytes of text\n"
    );
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_disk_that_takes_nothing_drops_whole_lines_and_counts() {
    // /dev/full fails every write with ENOSPC.
    let mut file = RotatingFile::open(std::path::Path::new("/dev/full"), 1 << 20, 1).unwrap();
    file.write(b"one\ntwo\n");
    file.write(b"three\n");
    assert_eq!(file.dropped_lines(), 3);
}
