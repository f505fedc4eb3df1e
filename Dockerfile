# One image for nodes (python -m mqtt_broker) and for the operator (python -m mqtt_operator): image/contents.yaml says what it
# holds. For both architectures, without emulation: everything that runs while it is built is of the builder's own.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag stoa:dev .

FROM --platform=$BUILDPLATFORM ghcr.io/astral-sh/uv:0.13.0@sha256:cdc6093146eb3ff6a40107b38f008b789e050e77ad87865e381d9917da55a168 AS uv

FROM --platform=$BUILDPLATFORM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS build
ARG TARGETARCH=amd64
# Where wheels come from, if not from the public index.
ARG UV_DEFAULT_INDEX
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never \
    PACKAGES=/opt/stoa/lib/python3.11/site-packages
WORKDIR /src

# The locked wheels, for the Python of the last stage. Of sources nothing is built, and nothing without its hash is taken.
COPY pyproject.toml uv.lock ./
RUN uv export --quiet --frozen --no-default-groups --extra operator --no-emit-project --output-file locked.txt && \
    case "$TARGETARCH" in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) exit 1 ;; esac && \
    uv pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement locked.txt \
        --python-version 3.11.2 --python-platform "$machine-manylinux_2_28" --target "$PACKAGES" && \
    rm -rf "${PACKAGES:?}/bin"

COPY README.md LICENSE ./
COPY image/build-constraints.txt image/
COPY crds crds
COPY broker broker
COPY operator operator
RUN uv build --quiet --wheel --require-hashes --build-constraints image/build-constraints.txt --out-dir wheel && \
    uv pip install --quiet --no-deps --python-version 3.11.2 --target "$PACKAGES" wheel/*.whl && \
    rm -rf "${PACKAGES:?}/bin"

# A virtual environment around them, compiled here because nobody can write there later.
COPY --chmod=755 image/stoa /opt/stoa/bin/stoa
COPY image/pyvenv.cfg /opt/stoa/pyvenv.cfg
RUN ln -s /usr/bin/python3.11 /opt/stoa/bin/python && \
    python -m compileall -q --invalidation-mode unchecked-hash /opt/stoa && \
    mkdir -p /links/usr/lib/ssl && \
    ln -s /etc/ssl/certs/ca-certificates.crt /links/usr/lib/ssl/cert.pem

FROM gcr.io/distroless/python3-debian12:nonroot@sha256:7d1042ce588ab97019fe95c24ffca7bc5a82ccdac572511d5e09bda4435c89c5
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stoa" \
      org.opencontainers.image.description="A secure, clustered MQTT broker, and the operator that runs it on Kubernetes." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /links/ /
COPY --from=build /opt/stoa /opt/stoa
ENV PATH=/opt/stoa/bin:/usr/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/opt/stoa/bin/python"]
