# syntax=docker/dockerfile:1
# The image gallery-api: API, worker and every other command of Gallery; PostgreSQL, Valkey and the object store are
# elsewhere. docs/deployment.md says how it is run.
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# Everything is checked against its hash here (pyvips comes as source, and becomes a wheel), and nothing is fetched later.
COPY requirements.lock ./
RUN python -m pip wheel --require-hashes --no-deps --wheel-dir wheels -r requirements.lock
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/build/wheels

COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY src src
RUN python -m venv tools \
    && tools/bin/pip install hatchling editables \
    && tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels .

# Of those wheels, only what Gallery itself needs: no embedded servers, no build tools.
RUN python -m venv /opt/gallery \
    && /opt/gallery/bin/pip install gallery-api \
    && /opt/gallery/bin/pip uninstall --yes pip
COPY deploy/healthcheck.py /opt/gallery/healthcheck.py


FROM python:${PYTHON}
LABEL org.opencontainers.image.title="gallery-api" \
      org.opencontainers.image.description="The image backend behind an app" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 gallery \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent gallery
COPY --from=build /opt/gallery /opt/gallery

# The root file system may be read-only: uploads and pictures under work lie in /tmp, which may be a tmpfs.
ENV PATH=/opt/gallery/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GALLERY_HOST=0.0.0.0 \
    GALLERY_SERVE__DRAIN=5
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s CMD ["python", "/opt/gallery/healthcheck.py"]
# WORKER_MODE=true makes it a worker.
CMD ["gallery", "serve"]
