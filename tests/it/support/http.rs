//! The part of HTTP/1.1 that the scripted API server needs.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

/// The next request: method, target, body.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<(String, String, Vec<u8>)> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            first = line.to_owned();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ').map(str::to_owned);
    Ok((words.next().unwrap_or_default(), words.next().unwrap_or_default(), body))
}

/// Sends a complete answer.
pub fn respond(connection: &TcpStream, code: u16, body: &str) -> io::Result<()> {
    respond_with(connection, code, &Bulky { text: body, bulk: "" })
}

/// Sends a complete answer with bulk in the body.
pub fn respond_with(mut connection: &TcpStream, code: u16, body: &Bulky) -> io::Result<()> {
    let head = format!("HTTP/1.1 {code} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    connection.write_all(format!("{head}\r\nRetry-After: 1\r\n\r\n").as_bytes())?;
    body.write_to(connection)
}

/// The placeholder in a pod for the bulk that a client gets.
pub const BULK: &str = "\"the bulk\"";

/// A text with placeholders for the bulk. The bulk is inserted while the text is sent, so a page of many large pods is never in memory.
pub struct Bulky<'a> {
    pub text: &'a str,
    pub bulk: &'a str,
}

impl Bulky<'_> {
    pub fn len(&self) -> usize {
        let places = self.text.matches(BULK).count();
        self.text.len() - places * BULK.len() + places * self.bulk.len()
    }

    pub fn write_to(&self, mut to: &TcpStream) -> io::Result<()> {
        for (number, part) in self.text.split(BULK).enumerate() {
            if number > 0 {
                to.write_all(self.bulk.as_bytes())?;
            }
            to.write_all(part.as_bytes())?;
        }
        Ok(())
    }
}

/// The object that goes with an HTTP status.
pub fn status(code: u16) -> Value {
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "pods is forbidden: User \"it\" cannot list resource \"pods\""),
        404 => ("NotFound", "namespaces \"default\" not found"),
        410 => ("Expired", "too old resource version: 1 (2)"),
        429 => ("TooManyRequests", "too many requests"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        _ => ("InternalError", "something went wrong"),
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}
