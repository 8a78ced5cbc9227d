# Every target bootstraps what it needs: uv when it is on the machine, otherwise uv from the package index in .uv/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --quiet
# Python comes from the machine: nothing is downloaded but packages.
export UV_PYTHON_DOWNLOADS := never

.PHONY: help up test lint format proto e2e image bench k6 clean

help: ## what there is
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv

.venv/.synced: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --quiet --all-extras
	touch $@

proto: .venv/.synced ## regenerate broker/api from proto/
	$(RUN) python -m grpc_tools.protoc -Ibroker/api=proto/broker --python_out=. --pyi_out=. \
	  --include_imports --descriptor_set_out=broker/api/broker.pb broker/api/broker.proto
