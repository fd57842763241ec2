# Berth itself in a container, for engines whose socket is handed in:
#
#   docker build -t berth .
#   docker run -d --name berth -p 127.0.0.1:3001:3001 -v /var/run/docker.sock:/var/run/docker.sock -v berth:/var/lib/berth berth
#
# Any Debian with Python 3.11 or later will do as BASE, e.g. --build-arg BASE=berth/base:bookworm (what
# `berth images build` makes where nothing can be pulled). Behind a proxy that signs for other hosts, put
# its CA bundle into .ci/ca/ca.crt; it serves the installation only.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*

FROM python AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
COPY .ci/ca/ /tmp/ca/
COPY pyproject.toml README.md LICENSE* /src/
COPY rapid /src/rapid
COPY runtime /src/runtime
COPY images /src/images
RUN if [ -s /tmp/ca/ca.crt ]; then export PIP_CERT=/tmp/ca/ca.crt; fi; \
    python3 -m venv /opt/berth \
 && /opt/berth/bin/pip install --no-cache-dir --disable-pip-version-check /src \
 && /opt/berth/bin/pip uninstall --yes --quiet pip

FROM python
COPY --from=build /opt/berth /opt/berth
ENV PATH=/opt/berth/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    BERTH_HOST=0.0.0.0 BERTH_PORT=3001 BERTH_DATA_DIR=/var/lib/berth
VOLUME /var/lib/berth
EXPOSE 3001
# Healthy is who can run functions, not only who answers. (Exit status 2 is reserved by the engine.)
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD berth doctor --ready || exit 1
ENTRYPOINT ["berth"]
CMD ["up"]
