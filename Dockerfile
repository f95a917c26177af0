# Two images of static programs and nothing else: `nuthatch`, and `cache-api` with the sample programs.
# `make images` builds both.

ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# Without default features: the demo and its memcached are not shipped.
# FEATURES are cargo's: `--build-arg FEATURES=kubernetes` is for servers such as k8s+memcached:11211.
ARG FEATURES=""
# The target is named, as cargo would otherwise build its own helpers statically too, and fail. What
# it fetches and compiles stays in the builder's cache and is there for the next build.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    host=$(rustc --print host-tuple) && \
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-T,/src/crates/nuthatch/order.ld" \
    cargo build --release --locked --package nuthatch --package nuthatch-cache-api --bins \
      --no-default-features --features "$FEATURES" --target "$host" && \
    install -D -s -t /out "target/$host/release/nuthatch" \
    "target/$host/release/cache-api" "target/$host/release/cache-load"

# The sample: it has two programs, and whoever runs it says which.
FROM scratch AS cache-api
LABEL org.opencontainers.image.title="nuthatch-cache-api" \
      org.opencontainers.image.description="The sample API over a cache, and a load for it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /out/cache-api /out/cache-load /
EXPOSE 8000
USER 65532:65532
CMD ["/cache-api"]

FROM scratch AS nuthatch
LABEL org.opencontainers.image.title="nuthatch" \
      org.opencontainers.image.description="A sharding proxy for memcached, Redis and Valkey, the successor of twemproxy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /out/nuthatch /nuthatch
# All addresses, of IPv6 and IPv4. The user is a default: every other one but root does as well.
ENV ADMIN_LISTEN=*:9600
# memcached, Redis, statistics as twemproxy has them, health and metrics.
EXPOSE 11211 6379 22222 9600
USER 65532:65532
# Asks /ready at ADMIN_LISTEN. Kubernetes has its own probes and leaves this one out.
HEALTHCHECK --interval=10s --timeout=5s CMD ["/nuthatch", "ping"]
ENTRYPOINT ["/nuthatch"]
