# The sidecar's image: exactly what requirements.lock says, as a user that owns nothing, on a root file system that may be read-only.
# Any Debian-like base with Python 3.11 or newer will do. `scripts/pin-base-images` writes digests here and renews them. BUILDER is the same Python with pip,
# a C compiler and Python's headers: it compiles the hot path. With COMPILE=0 it may be BASE itself, and nothing is compiled.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=python:3.11-bookworm

FROM ${BUILDER} AS build
ARG COMPILE=1
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock build.lock ./
# Bytecode is made here: later nobody may write it.
RUN python3 -m venv --without-pip /opt/backstay \
 && python3 -m venv /build \
 && /build/bin/pip install --require-hashes --only-binary :all: -r build.lock \
 && /build/bin/pip --python /opt/backstay/bin/python \
      install --require-hashes --only-binary :all: --compile -r requirements.lock
COPY setup.py pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN BACKSTAY_COMPILE=${COMPILE} /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /build/bin/pip --python /opt/backstay/bin/python install --no-deps --no-index --compile /wheel/*.whl

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="backstay" \
      org.opencontainers.image.description="A sidecar in front of a session backend: it coalesces, retries, recovers and audits every request." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/backstay /opt/backstay
# The trail's directory exists in the image, so that a fresh volume mounted there belongs to the user.
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/backstay
ENV PATH=/opt/backstay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BACKSTAY_AUDIT__PATH=/var/lib/backstay/audit.jsonl
USER 10001:10001
WORKDIR /var/lib/backstay
VOLUME /var/lib/backstay
EXPOSE 8080 9901
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["backstay", "health"]
ENTRYPOINT ["backstay"]
CMD ["run"]
