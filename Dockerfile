# The image has the controller, tcpdump, and the tools that `kubectl exec` and `kubectl cp` need. All are static; there is no shell.
#   docker build --tag packet-capture:dev .
# For amd64 and arm64: nothing below names an architecture.

FROM docker.io/library/rust:1.95-bookworm AS controller
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$(uname -m)-unknown-linux-musl"
# The crate `ring` compiles C code.
ENV TARGET_CC=musl-gcc
WORKDIR /src
# The dependencies are built for an empty crate, in a layer of their own: a change in src/ rebuilds only our own crate.
COPY Cargo.toml Cargo.lock ./
COPY plugin/Cargo.toml plugin/
RUN mkdir src plugin/src && touch src/lib.rs plugin/src/lib.rs && echo 'fn main() {}' | tee src/main.rs >plugin/src/main.rs \
 && cargo build --release --locked --target "$(uname -m)-unknown-linux-musl"
COPY src src
# Cargo compares file times, and these files may be older than the empty crate's.
RUN find src -exec touch {} + && cargo build --release --locked --target "$(uname -m)-unknown-linux-musl" \
 && cp target/*-linux-musl/release/packet-capture /packet-capture

FROM docker.io/library/debian:bookworm AS tcpdump
RUN sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources \
 && apt-get update && apt-get install -y --no-install-recommends bison busybox-static flex gcc libc6-dev make musl-tools xz-utils
WORKDIR /src
# Upstream's source as Debian ships it, without Debian's patches: with those a tcpdump that is built without --with-user dies
# with "Couldn't find user '(null)'" as soon as it is given -w.
RUN apt-get source --tar-only libpcap tcpdump \
 && for name in libpcap tcpdump; do mkdir "$name" && tar -xf "$name"_*.orig.tar.*z -C "$name" --strip-components=1 || exit; done
# musl does not include the kernel's headers.
RUN mkdir include && ln -s /usr/include/linux /usr/include/asm-generic "/usr/include/$(uname -m)-linux-gnu/asm" include/
ENV CC="musl-gcc -isystem /src/include"
RUN cd libpcap && ./configure --disable-shared --disable-usb --disable-netmap --disable-bluetooth --disable-dbus --disable-rdma \
      --without-libnl CFLAGS=-Os && make -j "$(nproc)" libpcap.a
# Without --with-user tcpdump stays root, and then needs CAP_NET_RAW and no other capability.
RUN cd tcpdump && ./configure --without-crypto --without-cap-ng --without-smi CFLAGS=-Os LDFLAGS='-static -s' && make -j "$(nproc)" tcpdump \
 && ./tcpdump --version
# busybox runs the tool that it is named after: here one file has three names, and none of them is a shell's.
RUN mkdir -p /files/bin && cp /bin/busybox /files/bin/ls && ln -s ls /files/bin/cat && ln -s ls /files/bin/tar

FROM gcr.io/distroless/static-debian12
LABEL org.opencontainers.image.title=packet-capture \
      org.opencontainers.image.description="Captures a pod's packets with tcpdump while the pod carries an annotation" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause AND GPL-2.0-only"
COPY --from=tcpdump /files /
COPY --from=tcpdump /src/tcpdump/tcpdump /usr/bin/tcpdump
COPY --from=controller /packet-capture /usr/bin/packet-capture
ENTRYPOINT ["/usr/bin/packet-capture"]
