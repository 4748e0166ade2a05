# syntax=docker/dockerfile:1
# The image gallery-api: API, worker and every other command of Gallery, without PostgreSQL, Valkey and an object store.
# docs/deployment.md describes its use.
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# Every package is checked against its hash here, and none is fetched later. All are wheels, so that no compiler is needed,
# except pyvips, which is built as pure Python without one.
COPY requirements-build.lock requirements-server.lock ./
RUN python -m venv tools \
    && tools/bin/pip install --require-hashes --no-deps --only-binary=:all: -r requirements-build.lock \
    && tools/bin/pip wheel --require-hashes --no-deps --only-binary=:all: --no-binary=pyvips --no-build-isolation \
        --wheel-dir wheels -r requirements-server.lock
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/build/wheels

COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY src src
COPY clients/python/src clients/python/src
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && python -m venv --without-pip /opt/gallery \
    && tools/bin/pip --python /opt/gallery/bin/python install gallery-api
# Parts of wheels that Gallery never loads: some 65 MB. A path that no longer exists ends the build, to be checked.
RUN packages="$(echo /opt/gallery/lib/python3*/site-packages)" \
    && rm -r "$packages"/node_modules "$packages"/zstandard/_cffi.*.so \
    && find "$packages"/faker/providers -mindepth 2 -maxdepth 2 -type d -name '[a-z][a-z]_[A-Z][A-Z]' ! -name en_US -exec rm -r {} + \
    && find "$packages"/botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'ss*' ! -name sts -exec rm -r {} +
COPY deploy/healthcheck.py /opt/gallery/healthcheck.py


FROM python:${PYTHON}
LABEL org.opencontainers.image.title="gallery-api" \
      org.opencontainers.image.description="The image backend behind an app" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 gallery \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent gallery
COPY --from=build /opt/gallery /opt/gallery

# The root file system may be read-only: uploads and pictures in progress are in /tmp, which may be a tmpfs.
ENV PATH=/opt/gallery/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GALLERY_HOST=0.0.0.0 \
    GALLERY_SERVE__DRAIN=5
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["python", "/opt/gallery/healthcheck.py"]
# WORKER_MODE=true makes it a worker.
CMD ["gallery", "serve"]
