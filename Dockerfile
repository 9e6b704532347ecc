# syntax=docker/dockerfile:1
# Tokenwire for production: one program in an image without a shell.
#
#   docker build -t tokenwire .
#   docker run --rm -p 8000:8000 -v tokenwire-data:/data tokenwire
#   docker run --rm -e REDIS_HOST=redis -e RABBITMQ_HOST=rabbitmq tokenwire worker
#
# No HEALTHCHECK, since nothing in here could ask: let the orchestrator call GET /health (restart when it fails) and
# GET /ready (send no traffic while it fails). A worker has no port; it ends with a failure when it cannot go on.

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# What a cache mount holds is not in the image, so the program is copied out of it in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package tokenwire \
    && install -D target/release/tokenwire /out/usr/local/bin/tokenwire \
    && install -d /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local/bin/tokenwire /usr/local/bin/tokenwire
# Distroless's `nonroot`. A new volume takes the owner of what it covers.
COPY --from=build --chown=65532:65532 /out/data /data
# The default data directory is `data` in the working directory. It is not set by name, because naming it would contradict
# the settings of Redis and RabbitMQ that `serve` may be given.
WORKDIR /
VOLUME /data
# All interfaces of the container; what reaches it from outside is decided by how its port is published.
ENV TOKENWIRE_LISTEN=0.0.0.0:8000
EXPOSE 8000
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tokenwire"]
CMD ["serve"]
