//! What a PUT of 16 MiB costs through the Swift store beside the same bytes through the bare HTTP
//! client: time, and processor time of this process, per object.
//!
//!     ESKER_TEST_SWIFT_AUTH=… ESKER_TEST_SWIFT_USER=… ESKER_TEST_SWIFT_KEY=… \
//!         cargo run --release -p swiftclient --example swift_put [ROUNDS]
//!
//! The ways take turns within one run: on a busy machine only their ratios mean something.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use swiftclient::{
    ObjectName, ObjectStore, Swift,
    http::{Body, HttpClient, HttpConfig},
    seam::Env,
    swift::SwiftConfig,
};

const LEN: usize = 16 << 20;
/// As the log gives it to a stream.
const PIECE: usize = 128 << 10;

/// Processor time of this process so far, user and system.
fn cpu() -> Duration {
    // SAFETY: a zeroed rusage is a valid one, and the pointer is to a live local.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let of = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// The bare client with a token, and the container's address.
struct Bare {
    http: HttpClient,
    token: String,
    container: String,
}

impl Bare {
    async fn open(url: &str, user: &str, key: &str) -> Result<Self, Box<dyn Error>> {
        let http = HttpClient::new(&HttpConfig::default())?;
        let ask = Request::get(url)
            .header("x-auth-user", user)
            .header("x-auth-key", key)
            .body(Body::Empty)?;
        let reply = http.call(ask, 1 << 16).await?;
        let header = |name: &str| -> Result<String, Box<dyn Error>> {
            Ok(reply.headers().get(name).ok_or("no token")?.to_str()?.to_owned())
        };
        let container = format!("{}/esker-speed", header("x-storage-url")?);
        let bare = Self { http, token: header("x-auth-token")?, container };
        bare.send(Method::PUT, &bare.container, Body::Empty).await?;
        Ok(bare)
    }

    async fn send(&self, method: Method, uri: &str, body: Body) -> Result<(), Box<dyn Error>> {
        let ask = Request::builder().method(method).uri(uri).header("x-auth-token", &self.token);
        let ask = if body.is_empty() { ask.header("content-length", 0) } else { ask };
        let reply = self.http.call(ask.body(body)?, 1 << 16).await?;
        if reply.status().is_success() { Ok(()) } else { Err(reply.status().as_str().into()) }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let get = |name: &str| std::env::var(format!("ESKER_TEST_SWIFT_{name}"));
    let (url, user, key) = (get("AUTH")?, get("USER")?, get("KEY")?);
    let rounds: u32 = std::env::args().nth(1).map_or(Ok(20), |n| n.parse())?;
    let lookup = |name: &str| match name {
        "ST_AUTH" => Some(url.clone()),
        "ST_USER" => Some(user.clone()),
        "ST_KEY" => Some(key.clone()),
        _ => None,
    };
    let env = Env::real();
    let store = Swift::new(&SwiftConfig::from_env(lookup, "esker-speed", "v")?, &env)?;
    let bare = Bare::open(&url, &user, &key).await?;
    let whole: Bytes = (0..LEN).map(|i| (i >> 3).to_le_bytes()[i % 3]).collect::<Vec<u8>>().into();
    let pieces: Vec<Bytes> = whole.chunks(PIECE).map(|p| whole.slice_ref(p)).collect();
    let mut spent = [(Duration::ZERO, Duration::ZERO); 3];
    // The first round makes containers and connections, and does not count.
    for round in 0..=rounds {
        for (way, spent) in (0..).zip(&mut spent) {
            let name = ObjectName::new(format!("seg/00000001/{:08x}", round * 3 + way));
            let name = name.ok_or("no name")?;
            let at = format!("{}/bare-{round}", bare.container);
            let (wall, busy) = (env.clock.monotonic(), cpu());
            match way {
                0 => bare.send(Method::PUT, &at, Body::Pieces(pieces.clone())).await?,
                1 => store.put_new(&name, pieces.clone()).await?,
                _ => {
                    let mut writer = store.put_stream(&name).await?;
                    for piece in &pieces {
                        writer.write(piece.clone()).await?;
                    }
                    writer.finish().await?;
                }
            }
            if round > 0 {
                spent.0 += env.clock.monotonic() - wall;
                spent.1 += cpu() - busy;
            }
            match way {
                0 => bare.send(Method::DELETE, &at, Body::Empty).await?,
                _ => drop(store.delete_many(&[name]).await?),
            }
        }
    }
    println!("{:<12} {:>9} {:>9} {:>9}", "16 MiB by", "ms", "cpu ms", "MiB/s");
    for (way, (wall, busy)) in ["bare PUT", "put_new", "put_stream"].iter().zip(spent) {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0 / f64::from(rounds);
        let rate = 16_000.0 / ms(wall);
        println!("{way:<12} {:>9.1} {:>9.1} {rate:>9.0}", ms(wall), ms(busy));
    }
    Ok(())
}
