//! A small web program to try Neargate with: answers every path with who it is, and logs each request.
//!
//! `web` serves on port 8080 (or `$PORT`); `web check` asks a running one whether it is well, for health checks;
//! `GET /crash` makes it exit with 1. It has no dependencies, so that a static build is an image by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(signum: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// As pid 1 of a container a program gets no default signal actions: without this, stopping takes the full time-out.
extern "C" fn stop(_: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { _exit(0) }
}

fn main() {
    let port = std::env::var("PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(8080);
    if std::env::args().nth(1).as_deref() == Some("check") {
        std::process::exit(if well(port) { 0 } else { 1 });
    }
    // SAFETY: the handler only calls an async-signal-safe function.
    unsafe {
        signal(SIGTERM, stop);
        signal(SIGINT, stop);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello from Neargate".into());
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(e) => {
            println!("cannot listen on port {port}: {e}");
            std::process::exit(1);
        }
    };
    println!("{host}: listening on port {port}");
    for stream in listener.incoming().flatten() {
        let (host, greeting) = (host.clone(), greeting.clone());
        std::thread::spawn(move || answer(stream, &host, &greeting));
    }
}

fn answer(mut stream: TcpStream, host: &str, greeting: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reader = BufReader::new((&stream).take(16 * 1024));
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() {
        return;
    }
    loop {
        let mut header = String::new();
        match reader.read_line(&mut header) {
            Ok(n) if n > 2 => {}
            _ => break,
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    println!("{host}: {}", request.trim_end());
    let body = format!("{greeting}, from task {host}\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()));
    if path == "/crash" {
        println!("{host}: crashing as asked");
        std::process::exit(1);
    }
}

fn well(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.contains(" 200 "))
    };
    ask().unwrap_or(false)
}
