//! One exchange with an ingress: a request as the case writes it, an answer as it came.
//!
//! Each has a connection of its own, in HTTP/1.1 or HTTP/2. What no HTTP library would write goes out as
//! [`raw`] bytes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take: also a long one, on a slow disk.
const LIMIT: Duration = Duration::from_secs(120);

/// How long the bytes of an answer may take to begin, or to go on; and then the end of the connection.
const RAW_LIMITS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// After so long without a byte there will be none, where nothing tells so.
const SILENCE: Duration = Duration::from_secs(2);

/// The version of HTTP in which requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: String,
    path: Bytes,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: &str, path: impl AsRef<[u8]>) -> Self {
        Self {
            method: method.to_owned(),
            path: Bytes::copy_from_slice(path.as_ref()),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn get(path: impl AsRef<[u8]>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: impl AsRef<[u8]>) -> Self {
        Self::new("POST", path)
    }

    /// The same to another path.
    pub(crate) fn to(mut self, path: impl AsRef<[u8]>) -> Self {
        self.path = Bytes::copy_from_slice(path.as_ref());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = Bytes::copy_from_slice(value.as_ref());
        self.headers.push((name.to_owned(), value));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn text(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.header("content-type", content_type).body(body)
    }

    pub(crate) fn json(self, value: impl Into<serde_json::Value>) -> Self {
        let text = value.into().to_string();
        self.text("application/json", text)
    }

    pub(crate) async fn send(self, to: SocketAddr, http: Http) -> Answer {
        self.try_send(to, http).await.unwrap()
    }

    /// The same to somebody who may cut the connection.
    pub(crate) async fn try_send(self, to: SocketAddr, http: Http) -> Result<Answer, hyper::Error> {
        let exchange = async {
            let stream = TcpStream::connect(to).await.unwrap();
            let response = self.exchange(stream, to, http).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            Ok::<_, hyper::Error>(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                // One whose length was said and that does not come: of HEAD.
                body: body.unwrap_or_default(),
            })
        };
        match tokio::time::timeout(LIMIT, exchange).await {
            Ok(answer) => answer,
            Err(_) => panic!("no answer within {LIMIT:?}"),
        }
    }

    async fn exchange(
        self,
        stream: TcpStream,
        to: SocketAddr,
        http: Http,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let path = PathAndQuery::from_maybe_shared(self.path).unwrap();
        let uri = match http {
            Http::One => http::Uri::from(path),
            Http::Two => (http::Uri::builder().scheme("http"))
                .authority(to.to_string())
                .path_and_query(path)
                .build()
                .unwrap(),
        };
        let mut request = Request::builder().method(&*self.method).uri(uri);
        if http == Http::One {
            request = request.header("host", "localhost");
        }
        for (name, value) in &self.headers {
            request = request.header(name, &**value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let io = TokioIo::new(stream);
        // Dropping the sender ends the connection once the answer is read.
        match http {
            Http::One => {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
            Http::Two => {
                let connecting = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
                let (mut sender, connection) = connecting.await?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
        }
    }
}

/// How a case names it: what goes out, short.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, shown(&self.path))?;
        for (name, value) in &self.headers {
            write!(f, " {name}={}", shown(value))?;
        }
        if !self.body.is_empty() {
            write!(f, " {}", shown(&self.body))?;
        }
        Ok(())
    }
}

/// Bytes in a report.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 2000;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    };
    if text.len() > MOST {
        let begin: String = text.chars().take(MOST).collect();
        return format!("{begin}… ({} bytes)", text.len());
    }
    text
}

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The id of the invocation that it is about.
    pub(crate) fn id(&self) -> String {
        let id = self.headers.get("x-restate-id").unwrap();
        id.to_str().unwrap().to_owned()
    }
}

/// Sends bytes as they are, and reads until the other side closes. If nobody has said that it will, it may
/// instead say nothing for a moment after its answer.
pub(crate) async fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let asked = announces_end(bytes);
    read(to, bytes, |answer| match is_whole(answer) {
        false => RAW_LIMITS.0,
        true if asked || announces_end(answer) => RAW_LIMITS.1,
        true => SILENCE,
    })
    .await
}

/// Sends bytes that are not answered until more of them come.
pub(crate) async fn raw_unanswered(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    read(to, bytes, |_| SILENCE).await
}

/// Whether an answer is there with its body.
fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = parts(answer) else {
        return false;
    };
    let length = |line: &str| {
        let length = line.strip_prefix("content-length: ")?;
        length.parse::<usize>().ok()
    };
    let length = head.lines().find_map(length);
    length.is_none_or(|length| body.len() >= length)
}

/// Whether this request or answer says that the connection ends with the answer.
fn announces_end(bytes: &[u8]) -> bool {
    let Some((head, _)) = parts(bytes) else {
        return false;
    };
    let first = head.lines().next().unwrap_or_default();
    first.ends_with(" HTTP/1.0") || head.contains("connection: close")
}

/// The head, and what follows it.
fn parts(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, body) = bytes.split_at(end);
    Some((String::from_utf8_lossy(head).into_owned(), body))
}

/// Sends bytes, and reads what comes. `patience`: how long more may take to come after this.
async fn read(to: SocketAddr, bytes: &[u8], patience: impl Fn(&[u8]) -> Duration) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer: Vec<u8> = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(patience(&answer), stream.read(&mut chunk));
        match read.await {
            Ok(Ok(read @ 1..)) => answer.extend_from_slice(&chunk[..read]),
            Ok(_) => break,
            Err(_) => {
                answer.extend_from_slice(b"<stays open>");
                break;
            }
        }
    }
    answer
}
