# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin chroma-edge \
    && strip target/release/chroma-edge

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 chroma-edge \
    && useradd --uid 10001 --gid chroma-edge --no-create-home --home-dir /var/lib/chroma-edge --shell /usr/sbin/nologin chroma-edge \
    && install -d -o chroma-edge -g chroma-edge /var/lib/chroma-edge /var/lib/chroma-edge/data
COPY --from=build /src/target/release/chroma-edge /usr/local/bin/chroma-edge
USER chroma-edge
# The journal's default path is ./data/journal.db: mount a volume at /var/lib/chroma-edge/data.
WORKDIR /var/lib/chroma-edge
VOLUME /var/lib/chroma-edge/data
ENV PORT=8000
EXPOSE 8000
# Unhealthy while it serves nobody; an edge that lacks one server is not. The start may take the time that comparing existing
# content takes. It needs no token, and speaks HTTP to this port: with edge.tls, or another edge.listen, override it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=45s \
    CMD chroma-edge status --url "http://127.0.0.1:${PORT}" >/dev/null; test $? -lt 2
ENTRYPOINT ["chroma-edge"]
# Instances come from PRIMARY_URL and REPLICA_URL, or add: --conf FILE.
CMD ["serve"]
