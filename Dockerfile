# Two images of static programs and nothing else: `nuthatch`, and `cache-api` with the sample programs.
# `make images` builds both, for this machine. With buildx, they are for other machines, too:
# `docker buildx build --platform linux/amd64,linux/arm64 --target nuthatch .` compiles for each on this
# machine, without an emulator.

ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm

FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# Without default features: the demo and its memcached are not shipped.
# FEATURES are cargo's: `--build-arg FEATURES=kubernetes` is for servers such as k8s+memcached:11211.
ARG FEATURES=""
# amd64 or arm64: what the images are for. If this machine is not, the compiler makes programs for another
# one, which takes a fraction of the time that an emulated compiler takes.
ARG TARGETARCH
# The target is named, as cargo would otherwise build its own helpers statically too, and fail. What
# it fetches and compiles stays in the builder's cache and is there for the next build.
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    case "$TARGETARCH" in \
      amd64) machine=x86_64 cargo_machine=X86_64 gcc=gcc-x86-64-linux-gnu ;; \
      arm64) machine=aarch64 cargo_machine=AARCH64 gcc=gcc-aarch64-linux-gnu ;; \
      *) echo "no images for $TARGETARCH" >&2; exit 1 ;; \
    esac && \
    target=$machine-unknown-linux-gnu && tools=$machine-linux-gnu && \
    if [ "$target" != "$(rustc --print host-tuple)" ]; then \
      apt-get update && \
      apt-get install -y --no-install-recommends "$gcc" "libc6-dev-$TARGETARCH-cross" && \
      rustup target add "$target" && \
      export "CARGO_TARGET_${cargo_machine}_UNKNOWN_LINUX_GNU_LINKER=$tools-gcc"; \
    fi && \
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-T,/src/crates/nuthatch/order.ld" \
    cargo build --release --locked --package nuthatch --package nuthatch-cache-api --bins \
      --no-default-features --features "$FEATURES" --target "$target" && \
    install -D -s --strip-program="$tools-strip" -t /out "target/$target/release/nuthatch" \
    "target/$target/release/cache-api" "target/$target/release/cache-load"

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
