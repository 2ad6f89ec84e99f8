//! A line before a host: what passes is kept, and it can be slow, and cut.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// See the module.
pub struct Line {
    /// Where it begins.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    passed: Mutex<Vec<u8>>,
    open: Mutex<Vec<TcpStream>>,
    milliseconds: AtomicU64,
}

impl Line {
    /// To the host that is there, over plain TCP.
    ///
    /// # Panics
    /// Where nobody may listen.
    pub fn to(url: &str) -> Self {
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared: Arc<Shared> = Arc::default();
        let all = shared.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // The host may be gone; then so is whoever dialled.
                let Ok(far) = TcpStream::connect(&host) else { continue };
                let ends = [&near, &far].map(|end| end.try_clone().unwrap());
                all.open.lock().unwrap().extend(ends);
                for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let all = all.clone();
                    thread::spawn(move || all.carry(from, to));
                }
            }
        });
        Self { url, shared }
    }

    /// Everything that passed, both ways.
    pub fn passed(&self) -> Vec<u8> {
        self.shared.passed.lock().unwrap().clone()
    }

    /// Ends every connection in the middle of whatever it carries.
    pub fn cut(&self) {
        for end in self.shared.open.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Holds every piece back for so long from now on.
    pub fn delay(&self, delay: Duration) {
        self.shared.milliseconds.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Shared {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = [0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            thread::sleep(Duration::from_millis(self.milliseconds.load(Ordering::Relaxed)));
            self.passed.lock().unwrap().extend_from_slice(&piece[..length]);
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
