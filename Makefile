# Eight recipes, no logic. `make test` is what CI runs.

CARGO ?= cargo
DEPS = memcached nutcracker libmemcached-tools libmemcached-dev python3-venv python3-dev \
       gcc make zlib1g-dev valgrind

.PHONY: test deps check build unit it fuzz bench

test: deps check unit it fuzz

deps:
	tests/deps.sh $(DEPS)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

build:
	$(CARGO) build --release -p nuthatch

unit:
	$(CARGO) test --workspace --lib --bins --quiet
	$(CARGO) test -p nuthatch-core --tests --quiet
	$(CARGO) test --workspace --doc --quiet

it:
	$(CARGO) test -p nuthatch --tests --quiet
	$(CARGO) run --release --quiet -- demo --once

fuzz:
	fuzz/run 20

bench: build
	$(CARGO) build --release -p nuthatch-bench
	target/release/bench --out bench/results
