# PostgreSQL for nodes that cannot pull the official image: the same programs in the same places, and the same user. Without LLVM,
# which is as large as all the rest and compiles long queries only.
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE}
RUN useradd --uid 999 --user-group --home-dir /var/lib/postgresql postgres \
 && apt-get update -qq \
 && mkdir -p /etc/postgresql-common \
 && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-17 >/dev/null \
 && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/locale /usr/share/man /usr/lib/*/libLLVM*
ENV PATH=/usr/lib/postgresql/17/bin:$PATH
USER 999:999
