//! A signing HTTP client over one kept-alive connection: light enough not to be what is measured.

use crate::Result;
use neargate_core::Clock as _;
use neargate_core::clock::SystemClock;
use neargate_wire::Request;
use neargate_wire::sigv4::{Signer, sign};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

pub struct Client {
    address: String,
    access_key: String,
    secret: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: &str, access_key: &str, secret: &str) -> Client {
        Client {
            address: address.into(),
            access_key: access_key.into(),
            secret: secret.into(),
            stream: None,
        }
    }

    /// Calls an ECS operation.
    pub fn ecs(&mut self, operation: &str, input: &Value) -> Result<Value> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        self.json("ecs", &target, input)
    }

    /// Calls an operation of a JSON service by its whole target, e.g. `CertificateManager.ImportCertificate`.
    pub fn json(&mut self, service: &str, target: &str, input: &Value) -> Result<Value> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        self.post(service, &headers, &input.to_string())
            .and_then(|body| serde_json::from_str(&body).map_err(|e| e.to_string()))
    }

    /// Calls a query operation; the XML answer.
    pub fn query(&mut self, service: &str, form: &str) -> Result<String> {
        self.post(service, &[("content-type", "application/x-www-form-urlencoded")], form)
    }

    fn post(&mut self, service: &str, headers: &[(&str, &str)], body: &str) -> Result<String> {
        let mut all: Vec<(&str, &[u8])> = vec![("host", self.address.as_bytes())];
        all.extend(headers.iter().map(|(n, v)| (*n, v.as_bytes())));
        let request = Request {
            method: "POST",
            path: "/",
            query: "",
            headers: &all,
            body: body.as_bytes(),
        };
        let signer = Signer {
            access_key: &self.access_key,
            secret: &self.secret,
            region: "us-east-1",
            service,
            now: SystemClock.now(),
        };
        let signed = sign(&request, &signer);
        let mut text = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in &signed {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            self.stream = Some(BufReader::new(stream));
        }
        let answered = self.exchange(text.as_bytes());
        if answered.is_err() {
            self.stream = None;
        }
        let (status, body) = answered.map_err(|e| e.to_string())?;
        if status == 200 {
            Ok(body)
        } else {
            Err(format!("{status}: {body}"))
        }
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<(u16, String)> {
        let stream = self.stream.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        stream.get_mut().write_all(request)?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or(std::io::ErrorKind::InvalidData)?;
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line)? <= 2 {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
