# Twelve recipes, no logic. `make test` is what CI runs.

CARGO ?= cargo
HOST = $(shell $(CARGO) -vV | sed -n 's/^host: //p')
DEPS = memcached nutcracker libmemcached-tools libmemcached-dev python3-venv python3-dev \
       gcc make zlib1g-dev valgrind docker-compose \
       docker.io iptables iproute2 dnsmasq-base busybox-static mmdebstrap

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
DOCKER ?= docker

.PHONY: test deps check build unit it fuzz fuzz-differential deploy-check bench images e2e

test: deps check unit it fuzz deploy-check e2e

deps:
	tests/deps.sh $(DEPS)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

# The program as it is shipped: one file that needs no library. The target is named, as cargo would
# otherwise build its own helpers statically too, and fail.
build:
	RUSTFLAGS="-C target-feature=+crt-static" \
	  $(CARGO) build --release --package nuthatch --bin nuthatch --target $(HOST)
	install -D -s target/$(HOST)/release/nuthatch target/static/nuthatch

unit:
	$(CARGO) test --workspace --lib --bins --quiet
	$(CARGO) test -p nuthatch-core --tests --quiet
	$(CARGO) test --workspace --doc --quiet

it:
	$(CARGO) test -p nuthatch -p nuthatch-cache-api --tests --quiet
	$(CARGO) run --release --quiet -- demo --once

fuzz:
	fuzz/run 20

# 500,000 requests in each of two shapes; FUZZ_SEEDS, FUZZ_REQUESTS and FUZZ_FAULTS say otherwise.
fuzz-differential:
	$(CARGO) test --release -p nuthatch --test it differential_fuzz::a_long_run -- --ignored --nocapture

deploy-check: deps build
	tests/deploy/run

bench: build
	$(CARGO) build --release -p nuthatch-bench
	target/release/bench --out bench/results

# The images, with nothing but docker. IMAGE_FLAGS are further flags of docker build.
images:
	DOCKER_BUILDKIT=1 $(DOCKER) build $(IMAGE_FLAGS) --target nuthatch --tag nuthatch:$(VERSION) .
	DOCKER_BUILDKIT=1 $(DOCKER) build $(IMAGE_FLAGS) --target cache-api --tag nuthatch-cache-api:$(VERSION) .

e2e: deps
	tests/e2e/run
