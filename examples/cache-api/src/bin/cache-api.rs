//! `cache-api`: a REST API over memcached or Redis, until SIGTERM or SIGINT.
//!
//! The rule: a request that was taken is answered, also at the end, but the end comes within
//! [`DRAIN_MAX`].

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use cache_api::api;
use cache_api::cache::Cache;
use cache_api::settings::{ApiSettings, variable};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cache-api: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = ApiSettings::read(variable)?;
    let asked_to_end = asked_to_end()?;
    let listener = settings
        .listen
        .open()
        .and_then(TcpListener::from_std)
        .map_err(|error| format!("can't listen on {}: {error}", settings.listen))?;
    let address = listener.local_addr()?;
    eprintln!("cache-api: listens on {address}, with the cache at {}", settings.cache);

    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, api::router(Cache::new(settings.cache)))
        .with_graceful_shutdown(async { drop(stopped.await) });
    let mut server = pin!(server.into_future());
    tokio::select! {
        result = &mut server => result?,
        () = asked_to_end => {
            drop(stop);
            match timeout(DRAIN_MAX, server).await {
                Ok(result) => result?,
                Err(_) => eprintln!("cache-api: some clients were cut off after {DRAIN_MAX:?}"),
            }
        }
    }
    eprintln!("cache-api: ended");
    Ok(())
}

/// Comes with the first SIGTERM or SIGINT. As process 1 of a container these would have no effect
/// if nobody waited for them.
fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

/// How long requests may take to end after the signal.
const DRAIN_MAX: Duration = Duration::from_secs(5);
