# shellcheck shell=bash
# Builds images without a registry: substitutes for the base images of the Dockerfile, under the same names, and Kind's node image from Debian
# packages and Go modules. Sourced by cluster.sh, after engine.sh.

BINARIES=$CACHE/binaries-$(hash_of "$KIND $KUBERNETES $(cat "$HERE"/no-docker/module/{go.mod,go.sum,coredns/main.go})")
DEBIAN=$CACHE/debian-$(hash_of "bookworm $(dpkg --print-architecture)")
NODE_IMAGE_LOCAL=localhost/kind-node:$(hash_of "$BINARIES $BUSYBOX $(cat "$HERE"/no-docker/node/*)")
RUST=1.95
IMAGE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Builds all programs of a node in one build, including those of kubeadm's images.
build_binaries() ( # FOLDER
  version=k8s.io/component-base/version
  say "building Kind $KIND and Kubernetes $KUBERNETES from source, about 10 minutes on 2 cores; log: $LOGS/go"
  cd "$HERE/no-docker/module" || exit
  export CGO_ENABLED=0
  exec >"$LOGS/go" 2>&1
  GOFLAGS='' GOBIN=$1 go install -trimpath -ldflags '-s -w' "sigs.k8s.io/kind@$KIND"
  GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -o "$1/" -ldflags "-s -w -X $version.gitVersion=$KUBERNETES
      -X $version.gitMajor=$(cut -d. -f1 <<<"${KUBERNETES#v}") -X $version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES")" \
    ./coredns go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube{adm,ctl,let,-proxy,-apiserver,-controller-manager,-scheduler}
  mv "$1/server" "$1/etcd"
)

binaries() {
  command -v go >/dev/null || die 'Go is missing: Kind and Kubernetes are built from source here'
  cached "$BINARIES" 'Kind and Kubernetes' build_binaries
}

have_image() { docker image inspect "$1" &>/dev/null; } # NAME

# Each substitute has a second name with a hash of its sources. If the sources change, the substitute is built again.
base_images() { # [with-rust]
  local debian rust
  debian=localhost/debian:$(hash_of "$DEBIAN")
  cached "$DEBIAN" 'Debian 12 (debootstrap)' debootstrap_debian
  have_image "$debian" || step debian:bookworm import_debian "$debian"
  have_image gcr.io/distroless/static-debian12 || step gcr.io/distroless/static-debian12 import_distroless
  [[ ${1:-} == with-rust ]] || return 0
  command -v rustc >/dev/null || die 'Rust is missing: the substitute for the image rust is made from the installed Rust'
  rust=localhost/rust:$(hash_of "$debian $(rust rustc --version)")
  have_image "$rust" || step "rust:$RUST-bookworm" build_rust "$rust"
}

debootstrap_debian() { # FOLDER
  local root=$1/root uri
  debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$LOGS/debootstrap" 2>&1 || die_with_log debootstrap
  # The newer format of sources, with updates, as in the official image.
  uri=$(awk '$1 == "deb" {print $2; exit}' "$root/etc/apt/sources.list")
  rm "$root/etc/apt/sources.list"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n' \
    "$uri" 'bookworm bookworm-updates' "$uri-security" bookworm-security >"$root/etc/apt/sources.list.d/debian.sources"
  # If the host uses a proxy with its own certificate, builds need this certificate too.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
  tar -C "$root" -cf "$1/root.tar" .
  rm -rf --one-file-system "$root"
}

import_debian() { # NAME
  docker import --change "ENV PATH=$IMAGE_PATH" --change 'CMD ["bash"]' "$DEBIAN/root.tar" "$1" >/dev/null
  docker tag "$1" debian:bookworm
}

import_distroless() {
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/etc/ssl/certs "$root"/{root,home/nonroot,tmp}
  chmod 1777 "$root/tmp"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin >"$root/etc/passwd"
  printf '%s\n' root:x:0: nobody:x:65534: >"$root/etc/group"
  tar -C "$root" -c . | docker import --change "ENV PATH=$IMAGE_PATH" - gcr.io/distroless/static-debian12 >/dev/null
  rm -rf "$root"
}

# Runs a command with the host's toolchain of version $RUST if it is installed, otherwise with the default toolchain.
rust() { rustup run "$RUST.0" "$@" 2>/dev/null || "$@"; } # COMMAND...

build_rust() { # NAME
  local context toolchain
  context=$(mktemp -d "$CACHE/making-XXXXXX")
  toolchain=$(rust rustc --print sysroot)
  mkdir -p "$context/rustup/toolchains" "$context/cargo/bin"
  cp -a "$toolchain" "$context/rustup/toolchains/"
  rm -rf "$context/rustup/toolchains/${toolchain##*/}/share/doc"
  cp -L "$(command -v rustup)" "$context/cargo/bin/rustup"
  ln -s rustup "$context/cargo/bin/cargo"
  ln -s rustup "$context/cargo/bin/rustc"
  cat >"$context/Dockerfile" <<DOCKERFILE
FROM debian:bookworm
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$IMAGE_PATH
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY rustup /usr/local/rustup
COPY cargo /usr/local/cargo
RUN rustup default ${toolchain##*/} && cargo --version
DOCKERFILE
  quietly rust docker build --network host --tag "$1" --tag "rust:$RUST-bookworm" "$context"
  rm -rf "$context"
}

node_image() {
  have_image "$NODE_IMAGE_LOCAL" || step 'node image' build_node_image
}

build_node_image() {
  local context name target
  context=$(mktemp -d "$CACHE/making-XXXXXX")
  mkdir "$context/bin" "$context/images"
  ln "$BINARIES"/* "$context/bin/"
  cp "$HERE"/no-docker/node/* "$context/"
  for target in control-plane services pause busybox; do
    quietly "image-$target" docker build --network host --target "$target" --tag "localhost/$target" "$context"
  done

  # Each image that kubeadm needs is another name of an image built here. A worker needs only the services.
  local control_plane=() services=("$BUSYBOX") pause_image=''
  docker tag localhost/busybox "$BUSYBOX"
  while read -r name; do
    case $name in
      */kube-proxy:* | */coredns:*) target=services services+=("$name") ;;
      */pause:*) target=pause services+=("$name") pause_image=$name ;;
      *) target=control-plane control_plane+=("$name") ;;
    esac
    docker tag "localhost/$target" "$name"
  done < <("$BINARIES/kubeadm" config images list --kubernetes-version "$KUBERNETES")
  docker save --output "$context/images/control-plane.tar" "${control_plane[@]}"
  docker save --output "$context/images/services.tar" "${services[@]}"

  quietly node-image docker build --network host --target node --build-arg "KUBERNETES=$KUBERNETES" --build-arg "PAUSE_IMAGE=$pause_image" \
    --tag "$NODE_IMAGE_LOCAL" "$context"
  rm -rf "$context"
  # Removes older node images that no cluster uses.
  docker images --format '{{.Repository}}:{{.Tag}}' localhost/kind-node | grep --invert-match --line-regexp --fixed-strings "$NODE_IMAGE_LOCAL" |
    xargs --no-run-if-empty docker rmi &>/dev/null || true
}
