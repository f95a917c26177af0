//! A client of memcached: the three commands that the API needs, on one connection.
//!
//! The rule: an answer that did not come as a whole may come instead of the next one, so the connection
//! is broken until an answer is read to its end.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpStream, UnixStream};

use crate::connection::Failure;
use crate::settings::Address;

/// A connection, over TCP or a unix socket.
pub(crate) struct Memcached {
    stream: BufStream<Box<dyn Stream>>,
    is_broken: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl Memcached {
    /// Connects. All addresses of a name are tried, those of IPv6 and of IPv4.
    pub(crate) async fn open(address: &Address) -> Result<Self, Failure> {
        let stream =
            connect(address).await.map_err(|error| Failure::Other(format!("connect: {error}")))?;
        Ok(Self { stream: BufStream::new(stream), is_broken: false })
    }

    /// Whether an answer did not come as a whole.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The value of a key, `None` if there is none.
    pub(crate) async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let line = self.ask(&[b"get ", key.as_bytes(), END_OF_LINE]).await?;
        if line == "END" {
            self.is_broken = false;
            return Ok(None);
        }
        // VALUE key flags bytes
        let length = line.strip_prefix("VALUE ").and_then(|words| words.split(' ').nth(2));
        let Some(length) = length.and_then(|length| length.parse().ok()) else {
            return Err(self.refusal(line));
        };
        let mut value = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut value).await?;
        if !self.line().await?.is_empty() || self.line().await? != "END" {
            return Err(Failure::Other("a value is longer than its length".to_owned()));
        }
        self.is_broken = false;
        Ok(Some(value))
    }

    /// Keeps a value, for as long as the server has room for it.
    pub(crate) async fn set(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let head = format!("set {key} 0 0 {}\r\n", value.len());
        let line = self.ask(&[head.as_bytes(), value.as_bytes(), END_OF_LINE]).await?;
        if line != "STORED" {
            return Err(self.refusal(line));
        }
        self.is_broken = false;
        Ok(())
    }

    /// Asks for a sign of life.
    pub(crate) async fn version(&mut self) -> Result<(), Failure> {
        let line = self.ask(&[b"version", END_OF_LINE]).await?;
        if !line.starts_with("VERSION ") {
            return Err(self.refusal(line));
        }
        self.is_broken = false;
        Ok(())
    }

    /// Sends a request and reads the first line of its answer.
    async fn ask(&mut self, request: &[&[u8]]) -> Result<String, Failure> {
        self.is_broken = true;
        for part in request {
            self.stream.write_all(part).await?;
        }
        self.stream.flush().await?;
        self.line().await
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(END_OF_LINE) {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
        }
    }

    /// The server's own words for what it did not do. After those of others nothing is certain.
    fn refusal(&mut self, line: String) -> Failure {
        match line.strip_prefix("SERVER_ERROR ") {
            Some(words) => {
                self.is_broken = false;
                if words == TOO_LARGE { Failure::TooLarge } else { Failure::Other(words.into()) }
            }
            None => Failure::Other(line),
        }
    }
}

async fn connect(address: &Address) -> io::Result<Box<dyn Stream>> {
    match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

const END_OF_LINE: &[u8] = b"\r\n";

/// As long as a line of an answer may be: far longer than those of memcached are.
const LINE_MAX: u64 = 4096;

/// memcached's words for a value beyond its `-I`.
const TOO_LARGE: &str = "object too large for cache";
