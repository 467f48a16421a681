# The container image, of the archives that `npm run dist` has made:
#   docker build --tag tsreplicate .
# It holds tsreplicate with its Node.js, the C and C++ libraries and a shell of Debian, and no more of it.
ARG DEBIAN=debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f

FROM ${DEBIAN} AS debian

FROM --platform=${BUILDPLATFORM} ${DEBIAN} AS files
ARG TARGETARCH
COPY --from=debian / /debian/
COPY archives/ /archives/
COPY packaging/image-root /
RUN case "$TARGETARCH" in amd64) name=x64 ;; *) name=$TARGETARCH ;; esac && /image-root /debian /archives/tsreplicate-*-linux-$name.tar.gz /image

FROM scratch
LABEL org.opencontainers.image.title="tsreplicate" \
  org.opencontainers.image.description="Streams a live SQLite database to another place within a second and restores it to any commit" \
  org.opencontainers.image.url="https://github.com/tsreplicate/tsreplicate" \
  org.opencontainers.image.source="https://github.com/tsreplicate/tsreplicate" \
  org.opencontainers.image.licenses="Apache-2.0"
COPY --from=files /image /
# As in the unit: memory stays flat.
ENV PATH=/usr/bin MALLOC_ARENA_MAX=2 MIMALLOC_PURGE_DELAY=0
# To use databases of another user: docker run --user.
USER 65532:65532
# Once every commit is stored, and as long as that is so.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1m CMD ["tsreplicate", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tsreplicate"]
CMD ["replicate"]
