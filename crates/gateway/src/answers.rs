//! The balancer's own answers, worded and dressed as ALB's.
//!
//! Used by `http1` and `http2`. Source: "HTTP error codes" of the Application Load Balancers Guide.

use std::borrow::Cow;

pub const SERVER: &str = "awselb/2.0";

/// An answer of the balancer itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<Cow<'static, str>>,
    pub location: Option<Vec<u8>>,
    pub body: Cow<'static, [u8]>,
    /// Nothing more is taken over the connection.
    pub close: bool,
}

impl Answer {
    /// A page with the status and nothing else.
    pub fn page(status: u16) -> Answer {
        let line = match reason(status) {
            "" => status.to_string(),
            reason => format!("{status} {reason}"),
        };
        let body = format!(
            "<html>\r\n<head><title>{line}</title></head>\r\n<body>\r\n<center><h1>{line}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        Answer {
            status,
            content_type: Some("text/html".into()),
            location: None,
            body: body.into_bytes().into(),
            close: false,
        }
    }

    /// To a client that speaks HTTP without TLS where there is only HTTPS.
    pub fn plain_at_https() -> Answer {
        let line = "The plain HTTP request was sent to HTTPS port";
        let body = format!(
            "<html>\r\n<head><title>400 {line}</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>{line}</center>\r\n</body>\r\n</html>\r\n"
        );
        Answer {
            body: body.into_bytes().into(),
            ..Answer::last(400)
        }
    }

    /// As `page`, and nothing more is taken over the connection.
    pub fn last(status: u16) -> Answer {
        Answer {
            close: true,
            ..Answer::page(status)
        }
    }

    pub fn redirect(status: u16, location: Vec<u8>) -> Answer {
        Answer {
            location: Some(location),
            ..Answer::page(status)
        }
    }

    /// No balancer has the name that was asked for.
    pub fn nobody() -> Answer {
        let body = "No load balancer of this name listens on this port.\n\
                    Several share it and are told apart by the Host header, which must be a load balancer's DNS name.\n";
        Answer {
            content_type: Some("text/plain; charset=utf-8".into()),
            body: body.as_bytes().into(),
            ..Answer::page(404)
        }
    }
}

/// The words behind a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
