//! The HTTP side: three paths, and JSON in every answer.
//!
//! The rule: a failure says whose it is. What the client asked wrongly is a 4xx, a cache that does
//! not answer is a 503, and either has a `detail` that a person can act on.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::cache::{Cache, CacheError, Key, KeyError};

/// What is stored, and what comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The name of the item.
    pub key: String,
    /// Any text.
    pub value: String,
}

/// An answer that has nothing else to say.
#[derive(Debug, Serialize)]
struct Status {
    status: &'static str,
}

/// The API over `cache`.
pub fn router(cache: Cache) -> Router {
    Router::new()
        .route("/items/", post(store))
        .route("/items/{key}", get(fetch))
        .route("/health", get(health))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(within_time))
        .with_state(cache)
}

async fn store(
    State(cache): State<Cache>,
    item: Result<Json<Item>, JsonRejection>,
) -> Result<Json<Status>, Problem> {
    let Json(item) = item?;
    cache.set(&Key::parse(&item.key)?, &item.value).await?;
    Ok(Json(Status { status: "success" }))
}

async fn fetch(
    State(cache): State<Cache>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Json<Item>, Problem> {
    let Path(key) = key?;
    match cache.get(&Key::parse(&key)?).await? {
        Some(value) => Ok(Json(Item { key, value })),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "Key not found")),
    }
}

/// Whether this program serves. The cache is not asked: an application that is taken out of service
/// because its cache is away is down where it could have been slow.
async fn health() -> Json<Status> {
    Json(Status { status: "healthy" })
}

/// Ends a request whose body does not come.
async fn within_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("the request took longer than {REQUEST_TIME_MAX:?}");
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
        }
    }
}

/// The answer to a request that failed.
#[derive(Debug, Serialize)]
struct Problem {
    #[serde(skip)]
    status: StatusCode,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        let status = match error {
            CacheError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            CacheError::NotText => StatusCode::INTERNAL_SERVER_ERROR,
            CacheError::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Bytes of a request's body. memcached takes values up to 1 MiB unless told otherwise, and some
/// characters take more room in JSON.
const BODY_MAX: usize = 2 << 20;

/// As long as a whole request may take; the cache has less (`cache.rs`).
const REQUEST_TIME_MAX: Duration = Duration::from_secs(6);
