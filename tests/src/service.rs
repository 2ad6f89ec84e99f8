//! A service of ours, for what no real one does: it answers as a test says, and keeps every request that it received.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and target, as in the request line.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Which connection it came over; the first has 1.
    pub connection: usize,
}

impl Received {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// A service on loopback.
pub struct Service {
    /// Where it listens.
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    accepted: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Service {
    /// Starts one that answers each request with the bytes that `answer` gives: a whole HTTP message.
    pub fn start(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::writing(move |request, stream| stream.write_all(&answer(request)))
    }

    /// Starts one that writes what it likes, as long as it likes. With an error it hangs up.
    pub fn writing(answer: impl Fn(&Received, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Self { port, received: Arc::default(), accepted: Arc::default(), ended: Arc::default() };
        let (kept, answer) = (service.received.clone(), Arc::new(answer));
        let (accepted, ended) = (service.accepted.clone(), service.ended.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let (kept, answer, ended) = (kept.clone(), answer.clone(), ended.clone());
                thread::spawn(move || {
                    serve(stream, connection, &kept, &*answer);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        service
    }

    /// One that says who it is to whoever asks.
    pub fn plain() -> Self {
        Self::start(|request| ok(&format!("hello from {}", request.line)))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections it accepted so far, and how many of them are at their end.
    pub fn connections(&self) -> (usize, usize) {
        (self.accepted.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }

    /// Everything it received so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Over which connections those requests came whose line has these words.
    pub fn connections_of(&self, words: &str) -> Vec<usize> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|request| request.line.contains(words)).map(|request| request.connection).collect()
    }
}

/// An answer of status 200 with this body.
pub fn ok(body: &str) -> Vec<u8> {
    answer(200, &[], body)
}

/// An answer with these headers and this body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    kept: &Mutex<Vec<Received>>,
    answer: &dyn Fn(&Received, &mut TcpStream) -> io::Result<()>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = receive(&mut reader, connection) {
        kept.lock().unwrap().push(request.clone());
        // Whoever asked may have gone.
        if answer(&request, &mut stream).is_err() {
            return;
        }
    }
}

fn receive(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Received { line: line.trim_end().to_owned(), headers, body, connection })
}
