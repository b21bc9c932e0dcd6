//! Kafka's frames, for requests that the client has no function for, and for a broker of our own.

use std::io;

use durably::test_server::KafkaBroker;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::Result;

/// Writes what goes over the wire, and lies in batches.
#[derive(Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn i8(&mut self, number: i8) -> &mut Self {
        self.all(&number.to_be_bytes())
    }

    pub(crate) fn i16(&mut self, number: i16) -> &mut Self {
        self.all(&number.to_be_bytes())
    }

    pub(crate) fn i32(&mut self, number: i32) -> &mut Self {
        self.all(&number.to_be_bytes())
    }

    pub(crate) fn i64(&mut self, number: i64) -> &mut Self {
        self.all(&number.to_be_bytes())
    }

    pub(crate) fn varint(&mut self, number: i64) -> &mut Self {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        while rest > 0x7f {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.i16(text.len() as i16).all(text.as_bytes())
    }

    pub(crate) fn all(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) async fn send(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut message = Self::default();
        message.i32(self.0.len() as i32).all(&self.0);
        stream.write_all(&message.0).await
    }
}

pub(crate) async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; stream.read_i32().await? as usize];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Makes a request of a broker, which answers with an error code at this place, and must not refuse.
pub(crate) async fn ask(broker: &KafkaBroker, request: &Bytes, code_at: usize) -> Result {
    let mut stream = TcpStream::connect(broker.bootstrap_servers()).await?;
    request.send(&mut stream).await?;
    let answer = receive(&mut stream).await?;
    assert_eq!(
        answer[code_at..code_at + 2],
        [0, 0],
        "the broker has refused: {answer:?}"
    );
    Ok(())
}
