//! A broker of a few lines, with one topic: it says what it is told to. And batches as they go over the wire.

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use durably::local::KafkaSource;
use tokio::net::{TcpListener, TcpStream};

use crate::wire::{Bytes, receive};

/// Reads a request.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *field
    }

    fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.next())
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.next())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.next())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.next())
    }

    fn pass_text(&mut self) {
        let length = self.i16().max(0) as usize;
        self.0 = &self.0[length..];
    }
}

/// What the checksum of a batch is: CRC-32C.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0x82f6_3b78
            } else {
                sum >> 1
            };
        }
    }
    !sum
}

/// Values of a thousand each have a key.
pub(super) fn key(value: u64) -> String {
    format!("key {}", value / 1_000)
}

/// Records as they come together.
pub(super) struct Batch {
    first: i64,
    last: i64,
    timestamp: i64,
    pub(super) bytes: Vec<u8>,
}

impl Batch {
    /// The second record of one that is garbled has a header without a value: null, which few clients can write, and
    /// ours cannot read.
    pub(super) fn new(first: i64, values: Range<u64>, at: SystemTime, is_garbled: bool) -> Self {
        let timestamp = at.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let count = (values.end - values.start) as i32;
        let mut body = Bytes::default();
        body.i16(0).i32(count - 1); // not compressed; the last offset
        body.i64(timestamp).i64(timestamp); // of the first and of the last
        body.i64(-1).i16(-1).i32(-1).i32(count); // of no known producer
        for (place, value) in (0..).zip(values) {
            let (key, value) = (key(value), value.to_string());
            let mut record = Bytes::default();
            record.i8(0).varint(0).varint(place); // nothing special; when; which
            for bytes in [key.as_bytes(), value.as_bytes()] {
                record.varint(bytes.len() as i64).all(bytes);
            }
            if is_garbled && place == 1 {
                record.varint(1).varint(4).all(b"null").varint(-1);
            } else {
                record.varint(0);
            }
            body.varint(record.0.len() as i64).all(&record.0);
        }
        let mut bytes = Bytes::default();
        bytes.i64(first).i32(4 + 1 + 4 + body.0.len() as i32);
        bytes.i32(0).i8(2); // the leader's epoch; the format
        bytes.all(&checksum(&body.0).to_be_bytes()).all(&body.0);
        Self {
            first,
            last: first + i64::from(count) - 1,
            timestamp,
            bytes: bytes.0,
        }
    }
}

/// A partition.
#[derive(Default)]
pub(super) struct Log {
    batches: Vec<Batch>,
    /// What is before is gone.
    pub(super) begin: i64,
    /// A transaction has begun there, and not ended.
    pub(super) open_from: Option<i64>,
    pub(super) has_no_leader: bool,
}

/// What is answered to a fetch.
struct Found {
    error: i16,
    end: i64,
    stable: i64,
    records: Vec<u8>,
}

impl Found {
    /// The topic was deleted.
    fn nothing() -> Self {
        Self {
            error: 3,
            end: -1,
            stable: -1,
            records: Vec::new(),
        }
    }
}

impl Log {
    pub(super) fn with(mut self, values: Range<u64>, at: SystemTime) -> Self {
        self.add_from(values, at);
        self
    }

    pub(super) fn add(&mut self, values: Range<u64>) {
        self.add_from(values, SystemTime::now());
    }

    fn add_from(&mut self, values: Range<u64>, at: SystemTime) {
        let batch = Batch::new(self.end(), values, at, false);
        self.batches.push(batch);
    }

    pub(super) fn add_garbled(&mut self, values: Range<u64>) {
        let batch = Batch::new(self.end(), values, SystemTime::now(), true);
        self.batches.push(batch);
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.last + 1)
    }

    /// The end of what is sent to those who want to read what is committed.
    fn stable(&self) -> i64 {
        self.open_from.unwrap_or(self.end())
    }

    fn offset_at(&self, timestamp: i64) -> i64 {
        match timestamp {
            -2 => self.begin,
            -1 => self.stable(),
            moment => {
                let mut batches = self.batches.iter();
                let found = batches.find(|batch| batch.timestamp >= moment);
                found.map_or(-1, |batch| batch.first)
            }
        }
    }

    /// One batch at least, and others as far as they fit.
    fn read(&self, offset: i64, bytes: usize) -> Found {
        let (end, stable) = (self.end(), self.stable());
        let is_there = (self.begin..=end).contains(&offset);
        let mut records = Vec::new();
        let batches = self.batches.iter().filter(|_| is_there);
        for batch in batches.filter(|batch| batch.last >= offset && batch.first < stable) {
            if !records.is_empty() && records.len() + batch.bytes.len() > bytes {
                break;
            }
            records.extend_from_slice(&batch.bytes);
        }
        Found {
            error: i16::from(!is_there), // out of range
            end,
            stable,
            records,
        }
    }
}

/// A broker with one topic, which is not listed as long as it has no partitions.
#[derive(Clone)]
pub(super) struct Scripted {
    topic: &'static str,
    address: SocketAddr,
    logs: Arc<Mutex<Vec<Log>>>,
    /// How often the topic was asked for by its name while it was not there: a broker may make one then.
    pub(super) sought: Arc<Mutex<u32>>,
    /// How many bytes each fetch has asked for, and how many milliseconds the broker was to wait.
    pub(super) fetches: Arc<Mutex<Vec<(i32, i32)>>>,
}

impl Scripted {
    pub(super) async fn start(
        topic: &'static str,
        logs: impl IntoIterator<Item = Log>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let broker = Self {
            topic,
            address: listener.local_addr()?,
            logs: Arc::new(Mutex::new(logs.into_iter().collect())),
            sought: Arc::default(),
            fetches: Arc::default(),
        };
        let serving = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        Ok(broker)
    }

    pub(super) fn logs(&self) -> MutexGuard<'_, Vec<Log>> {
        self.logs.lock().unwrap()
    }

    pub(super) fn source(&self) -> KafkaSource {
        KafkaSource::new(self.address.to_string(), self.topic, "Totals/add")
    }

    /// Answers what comes over a connection, until it ends.
    async fn serve(self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let request = receive(&mut stream).await?;
            let mut fields = Fields(&request);
            let (what, _, correlation) = (fields.i16(), fields.i16(), fields.i32());
            fields.pass_text(); // the client's id
            let mut answer = Bytes::default();
            answer.i32(correlation);
            match what {
                1 => self.fetch(&mut fields, &mut answer).await,
                2 => self.offsets(&mut fields, &mut answer),
                3 => self.metadata(&mut fields, &mut answer),
                18 => Self::versions(&mut answer),
                other => return Err(io::Error::other(format!("request {other}"))),
            }
            answer.send(&mut stream).await?;
        }
    }

    /// ApiVersions, version 3.
    fn versions(answer: &mut Bytes) {
        answer.i16(0).i8(1 + 3);
        for (what, version) in [(1, 4), (2, 1), (3, 1)] {
            answer.i16(what).i16(version).i16(version).i8(0);
        }
        answer.i32(0).i8(0);
    }

    /// Metadata, version 1: of all topics, or of this one.
    fn metadata(&self, fields: &mut Fields<'_>, answer: &mut Bytes) {
        let is_of_all = fields.i32() < 0;
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        answer.i32(1).i32(7).text(&host).i32(port.into()).i16(-1); // one broker, in no rack
        answer.i32(7); // in control
        let logs = self.logs();
        if logs.is_empty() {
            *self.sought.lock().unwrap() += u32::from(!is_of_all);
            answer.i32(0);
            return;
        }
        answer.i32(1).i16(0).text(self.topic).i8(0);
        answer.i32(logs.len() as i32);
        for (number, log) in (0..).zip(&*logs) {
            let (error, leader) = if log.has_no_leader { (5, -1) } else { (0, 7) };
            answer.i16(error).i32(number).i32(leader).i32(0).i32(0); // no replicas
        }
    }

    /// ListOffsets, version 1.
    fn offsets(&self, fields: &mut Fields<'_>, answer: &mut Bytes) {
        fields.next::<8>(); // who asks; one topic
        fields.pass_text();
        fields.i32(); // one partition
        let (number, timestamp) = (fields.i32(), fields.i64());
        let offset = self.logs()[number as usize].offset_at(timestamp);
        answer.i32(1).text(self.topic).i32(1);
        answer.i32(number).i16(0).i64(-1).i64(offset);
    }

    /// Fetch, version 4.
    async fn fetch(&self, fields: &mut Fields<'_>, answer: &mut Bytes) {
        fields.i32(); // who asks
        let wait = fields.i32();
        fields.next::<8>(); // the least, and the most of all topics
        fields.i8(); // only what is committed
        fields.i32(); // one topic
        fields.pass_text();
        fields.i32(); // one partition
        let (number, offset, bytes) = (fields.i32(), fields.i64(), fields.i32());
        self.fetches.lock().unwrap().push((bytes, wait));
        let until = Instant::now() + Duration::from_millis(wait as u64);
        let found = loop {
            let found = match self.logs().get(number as usize) {
                Some(log) => log.read(offset, bytes as usize),
                None => Found::nothing(),
            };
            if found.error != 0 || !found.records.is_empty() || Instant::now() >= until {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        answer.i32(0).i32(1).text(self.topic).i32(1);
        answer.i32(number).i16(found.error);
        answer.i64(found.end).i64(found.stable).i32(0);
        answer.i32(found.records.len() as i32).all(&found.records);
    }
}
