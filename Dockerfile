# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/chroma-edge chroma-edge
COPY --from=build /src/target/release/chroma-edge /usr/local/bin/chroma-edge
USER chroma-edge
# The journal's default path is ./data/journal.db: mount a volume at /var/lib/chroma-edge/data.
WORKDIR /var/lib/chroma-edge
RUN mkdir data
VOLUME /var/lib/chroma-edge/data
ENV PORT=8000
EXPOSE 8000
# Unhealthy while no Chroma server can be reached. The start may take the time that comparing existing content takes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=45s \
    CMD curl --fail --silent --output /dev/null "http://127.0.0.1:${PORT}/health"
ENTRYPOINT ["chroma-edge"]
# Instances come from PRIMARY_URL and REPLICA_URL, or add: --conf FILE.
CMD ["serve"]
