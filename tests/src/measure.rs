//! What benchmarks share: a service in a process of its own, rounds, medians, and what a process has used.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::Query, routing::get};
use serde_json::{Value, json};

use crate::Attache;

/// What the weather connector reads, in a process of its own, on one thread.
pub struct Forecasts {
    process: Child,
    /// `HOST:PORT`.
    pub authority: String,
}

const IS_SERVICE: &str = "ATTACHE_BENCH_SERVICE";

impl Forecasts {
    /// Begins a benchmark: in the service's process it serves and does not come back, in the other one it starts that.
    pub fn start() -> Self {
        if env::var_os(IS_SERVICE).is_some() {
            serve();
        }
        let (process, authority) = again_with(IS_SERVICE, "1");
        Self { process, authority }
    }
}

impl Drop for Forecasts {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this benchmark once more, with a variable that says as what, and gives the line that it prints first.
pub fn again_with(variable: &str, value: &str) -> (Child, String) {
    let mut process =
        Command::new(env::current_exe().unwrap()).env(variable, value).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (process, line.trim().to_owned())
}

/// 1 KB to whoever asks; for the city `slow` after 5 ms, for `waiting` after 3 s.
fn serve() -> ! {
    async fn forecast(Query(query): Query<Vec<(String, String)>>) -> Json<Value> {
        let city = query.into_iter().find(|(name, _)| name == "city").map(|(_, city)| city).unwrap_or_default();
        match city.as_str() {
            "slow" => tokio::time::sleep(Duration::from_millis(5)).await,
            "waiting" => tokio::time::sleep(Duration::from_secs(3)).await,
            _ => {}
        }
        Json(json!({ "city": city, "summary": "x".repeat(940), "celsius": 7.5, "note": null }))
    }
    let me = get(|| async { Json(json!({ "name": "bench" })) });
    serve_on_loopback(Router::new().route("/v1/forecast", get(forecast)).route("/v1/me", me))
}

/// Serves on one thread, once it has printed where.
pub fn serve_on_loopback(app: Router) -> ! {
    serve_on(tokio::runtime::Builder::new_current_thread(), app)
}

/// The same, on a runtime of that kind.
pub fn serve_on(mut runtime: tokio::runtime::Builder, app: Router) -> ! {
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        print_first(&listener.local_addr().unwrap().to_string());
        axum::serve(listener, app).await.unwrap();
    });
    unreachable!("a server ends with its process")
}

#[allow(clippy::print_stdout)]
fn print_first(line: &str) {
    println!("{line}");
}

/// What a round gave.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// How many a second.
    pub per_second: f64,
    /// The time of one at the median.
    pub p50: Duration,
    /// The same at the 99th percentile.
    pub p99: Duration,
    /// CPU time for one.
    pub cpu: Duration,
}

/// So many tasks do the same over and over, for so long. Whose CPU time is told is whose clock is given.
pub async fn round<F: Future<Output = ()> + Send>(
    concurrency: usize,
    length: Duration,
    cpu_time: impl Fn() -> Duration,
    once: impl Fn() -> F + Clone + Send + 'static,
) -> Round {
    let (began, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let once = once.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < length {
                    let one = Instant::now();
                    once().await;
                    times.push(one.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort_unstable();
    let (elapsed, cpu) = (began.elapsed(), cpu_time().saturating_sub(cpu));
    let count = times.len();
    Round {
        per_second: count as f64 / elapsed.as_secs_f64(),
        p50: times[count / 2],
        p99: times[count * 99 / 100],
        cpu: cpu / u32::try_from(count).unwrap(),
    }
}

/// What each of these requests gives, in rounds that take turns, since a machine is busy with other things now and then: the
/// shorter they are, the more alike is what disturbs those of one turn. Who begins differs from turn to turn, and the first
/// warms up. Each request is named with the process that answers it, whose CPU time is told.
///
/// # Panics
/// Where one is not answered with 200.
pub async fn beside<const N: usize>(
    concurrency: usize,
    turns: usize,
    length: Duration,
    requests: [(reqwest::RequestBuilder, u32); N],
) -> [Vec<Round>; N] {
    let mut measured = [const { Vec::new() }; N];
    for turn in 0..=turns {
        for number in (0..N).map(|it| (it + turn) % N) {
            let (request, process) = &requests[number];
            let request = Arc::new(request.try_clone().unwrap());
            let once = move || {
                let request = request.try_clone().unwrap();
                async move {
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), reqwest::StatusCode::OK);
                    answer.bytes().await.unwrap();
                }
            };
            let one = round(concurrency, length, || cpu_time_of(*process), once).await;
            if turn > 0 {
                measured[number].push(one);
            }
        }
    }
    measured
}

impl Round {
    /// Each number at the median of these rounds.
    pub fn middle(rounds: &[Self]) -> Self {
        Self {
            per_second: median(rounds.iter().map(|it| it.per_second)),
            p50: median(rounds.iter().map(|it| it.p50)),
            p99: median(rounds.iter().map(|it| it.p99)),
            cpu: median(rounds.iter().map(|it| it.cpu)),
        }
    }

    /// How many a second one does for each of the other, turn by turn: at the first quartile, the median and the third.
    pub fn ratios(one: &[Self], other: &[Self]) -> [f64; 3] {
        let mut ratios: Vec<f64> =
            one.iter().zip(other).map(|(one, other)| one.per_second / other.per_second).collect();
        ratios.sort_by(f64::total_cmp);
        [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4])
    }
}

/// A request with an operation's input.
pub fn with_input(request: reqwest::RequestBuilder, input: &Value) -> reqwest::RequestBuilder {
    request.header("content-type", "application/json").body(input.to_string())
}

/// Starts a host, and gives its URL.
///
/// # Panics
/// Where it does not start.
pub fn started(attache: &Attache) -> (Child, String) {
    let mut process = attache.command(&["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("http"), "the host did not start");
    (process, url.trim().to_owned())
}

/// User and system time of this process (clock_gettime(2)).
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The same of another process, to 10 ms (proc_pid_stat(5), fields 14 and 15).
fn cpu_time_of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(')').unwrap();
    let ticks = behind_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_secs(ticks.sum()) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
}

/// Bytes of memory that a process has; this one unless named.
pub fn resident(process: Option<u32>) -> usize {
    let process = process.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

/// The one in the middle.
pub fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> T {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}
