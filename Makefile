# Recipes, no logic. `make test` is what CI runs, `make fast` what needs nothing but cargo.

CARGO ?= cargo
HOST = $(shell $(CARGO) -vV | sed -n 's/^host: //p')
DEPS = memcached nutcracker redis-server redis-tools libmemcached-tools libmemcached-dev \
       python3-venv python3-dev gcc make zlib1g-dev valgrind docker-compose \
       docker.io iptables iproute2 dnsmasq-base busybox-static mmdebstrap

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
DOCKER ?= docker
SOAK_ROUNDS ?= 20

# Tests with real programs wait for timeouts most of the time, so two cores have time for five at once.
WAITING = --test-threads=5

.PHONY: test fast deps check build it soak chaos fuzz fuzz-differential hit-rate timeline deploy-check bench order images builds e2e-images e2e

test: deps check it fuzz builds deploy-check e2e

# Without root, packages or servers: what a change needs before each commit. The one test that is left
# out asks a running proxy for 317,520 decisions, which the core's tests check in a second.
fast:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	$(CARGO) test --quiet -- --skip every_key_goes_where_nutcracker_sends_it

deps:
	tests/deps.sh $(DEPS)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --features nuthatch/kubernetes --all-targets -- -D warnings
	$(CARGO) clippy --manifest-path fuzz/Cargo.toml -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

# The program as it is shipped: one file that needs no library, without the demo and its memcached.
# The target is named, as cargo would otherwise build its own helpers statically too, and fail.
build: crates/nuthatch/src/main.rs
	RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-T,$(CURDIR)/crates/nuthatch/order.ld" \
	  $(CARGO) build --release --package nuthatch --bin nuthatch --no-default-features --target $(HOST)
	install -D -s target/$(HOST)/release/nuthatch target/static/nuthatch

# cargo does not know that the linker reads this list.
crates/nuthatch/src/main.rs: crates/nuthatch/order.ld
	touch $@

# `--workspace`, as a selection of packages has other features, for which cargo builds dependencies again.
it:
	$(CARGO) test --workspace --tests --quiet -- --include-ignored $(WAITING) --skip a_long_run --skip program_that_
	$(CARGO) test --workspace --doc --quiet
	tests/valkey.sh $(CARGO) test --workspace --test it --quiet redis_ -- --include-ignored $(WAITING) \
	  --skip a_long_run --skip redis_clients --skip redis_transcripts
	$(CARGO) test --workspace --features nuthatch/kubernetes --lib --test it --quiet kubernetes -- \
	  --include-ignored $(WAITING)
	$(CARGO) test -p nuthatch --no-default-features --test cli --quiet
	$(CARGO) run --quiet -- demo --once

# What is random, with seeds of this moment, SOAK_ROUNDS of them for each plan of the simulation. The
# other recipes have fixed seeds. A failure prints its seed.
soak: deps
	SIM_FRESH=$(SOAK_ROUNDS) $(CARGO) test -p nuthatch-core --test it --quiet sim::
	PROPTEST_RNG_SEED=$$(date +%s) $(CARGO) test -p nuthatch-core --test it --quiet split:: ring::
	NUTHATCH_SEED=$$(date +%s) $(CARGO) test -p nuthatch --test it --quiet -- --include-ignored \
	  differential:: isolation:: chaos::whatever
	RELOADS=1000 $(CARGO) test -p nuthatch --test it --quiet -- --include-ignored reload::reloads_under_load

# A million requests while servers and networks fail in every way; CHAOS_REQUESTS and CHAOS_SEED say otherwise.
chaos: deps
	$(CARGO) test -p nuthatch --test it chaos::a_long_run -- --ignored --nocapture

fuzz:
	fuzz/run 5

# 500,000 requests in each of two shapes; FUZZ_SEEDS, FUZZ_REQUESTS and FUZZ_FAULTS say otherwise.
fuzz-differential:
	$(CARGO) test --release -p nuthatch --test it differential_fuzz::a_long_run -- --ignored --nocapture

# Five minutes: measures and draws the curves of docs/migrate.md, docs/hit-rate/hit-rate.csv and .svg.
hit-rate:
	$(CARGO) test -p nuthatch --test it hit_rate::a_long_run -- --ignored --nocapture

# A minute: measures and draws what clients see when a server fails, for docs/failures.md.
timeline:
	$(CARGO) test -p nuthatch --test it timeline::a_long_run -- --ignored --nocapture

# After large changes: which functions lie beside each other in the program, so that less of it is resident.
order: build
	bench/order.py target/$(HOST)/release/nuthatch

# The program and the images at once: each linker takes minutes and uses one core.
builds:
	$(MAKE) --jobs 2 build e2e-images

deploy-check: deps build
	tests/deploy/run

bench: build
	$(CARGO) build --release -p nuthatch-bench
	target/release/bench --out bench/results

# The images, with nothing but docker. IMAGE_FLAGS are further flags of docker build, such as
# --build-arg FEATURES=kubernetes.
images:
	DOCKER_BUILDKIT=1 $(DOCKER) build $(IMAGE_FLAGS) --target nuthatch --tag nuthatch:$(VERSION) .
	DOCKER_BUILDKIT=1 $(DOCKER) build $(IMAGE_FLAGS) --target cache-api --tag nuthatch-cache-api:$(VERSION) .

e2e-images: deps
	tests/e2e/run images

e2e: deps
	tests/e2e/run
