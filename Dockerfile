# syntax=docker/dockerfile:1
# The relay in a small image: a root file system of Debian, one binary, the certificate authorities.
#
#   docker build -t finkare-relay .
#   docker run -p 127.0.0.1:8080:8080 -v relay-data:/data finkare-relay

FROM rust:1.95-bookworm AS build
WORKDIR /src

# Dependencies first, in layers of their own: they change only with the manifests, and take minutes.
# cargo builds them for an empty program of the same name and shape.
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/
COPY crates/books-simulator/Cargo.toml crates/books-simulator/
COPY crates/finkare/Cargo.toml crates/finkare/
COPY crates/finkare-simulator/Cargo.toml crates/finkare-simulator/
COPY crates/outgoing/Cargo.toml crates/outgoing/
RUN mkdir -p src bench/src crates/books-simulator/src crates/finkare/src crates/finkare-simulator/src \
        crates/outgoing/src \
 && echo 'fn main() {}' | tee src/main.rs > bench/src/main.rs \
 && touch src/lib.rs crates/books-simulator/src/lib.rs crates/finkare/src/lib.rs crates/finkare-simulator/src/lib.rs crates/outgoing/src/lib.rs \
 && cargo build --release --locked --package finkare-relay

# The sources. cargo compares times, and those of a checkout may be older than the empty program's:
# hence the clean, which forgets what was empty and keeps the dependencies.
COPY . .
RUN cargo clean --release --locked --package finkare-relay --package finkare --package finkare-simulator \
    --package finkare-outgoing --package books-simulator \
 && cargo build --release --locked --package finkare-relay

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="finkare-relay" \
      org.opencontainers.image.description="Receives Finkare's webhooks, keeps each event once, relays it until it has arrived" \
      org.opencontainers.image.licenses="Apache-2.0"

# Sinks are called over TLS; the authorities that we trust are the system's.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*

# A number instead of a name: Kubernetes' runAsNonRoot can check it, and no passwd entry is needed.
RUN install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /src/target/release/finkare-relay /usr/local/bin/
COPY LICENSE /usr/share/doc/finkare-relay/
USER 10001:10001

# The database, and the secrets that are generated where none are given. A relay.toml here is read, too.
VOLUME /data
WORKDIR /data
ENV RELAY_LISTEN=0.0.0.0:8080 \
    DATABASE_URL=sqlite:///data/relay.db
# The admin listener stays on the container's loopback. Whoever opens it with RELAY_ADMIN_LISTEN sets a
# RELAY_ADMIN_TOKEN as well; without one the relay refuses callers from elsewhere.
EXPOSE 8080

# Asks /healthz of the public listener; there is no curl in the image. Not /readyz: what is unhealthy is killed by Swarm,
# ECS and Nomad, and a restart repairs no database.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["finkare-relay", "health"]
# Stops accepting, finishes what is under way, exits.
STOPSIGNAL SIGTERM
ENTRYPOINT ["finkare-relay"]
CMD ["serve"]
