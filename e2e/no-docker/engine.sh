# shellcheck shell=bash
# Starts a Docker engine from Debian packages, and removes it completely. Sourced by cluster.sh.
# The engine does not change the host's firewall and sysctls, so its containers reach each other but not the outside.

ENGINE_PACKAGES='docker.io containerd runc tini libdevmapper1.02.1'
ENGINE_FILES=$CACHE/engine-$(hash_of "$ENGINE_PACKAGES $(dpkg --print-architecture)")
ENGINE_DATA=$CACHE/docker
RUN=/run/$OURS-e2e
# All processes of the engine are below this control group. With it they are found even if the engine is dead.
GROUP=$OURS-e2e
BRIDGE=$OURS

host_packages() {
  local package missing=()
  for package in ca-certificates debian-archive-keyring debootstrap iproute2 iptables procps; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  if ((${#missing[@]})); then
    step "Debian packages: ${missing[*]}" apt_install "${missing[@]}"
  fi
}

apt_install() { # PACKAGE...
  # Some package sources may be unreachable. Only the installation of the packages must succeed.
  apt-get -qq update >"$LOGS/apt" 2>&1 || true
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >>"$LOGS/apt" 2>&1 || die_with_log apt
}

# The packages are unpacked, not installed, because installed packages would start services.
unpack_engine() { # FOLDER
  local deb
  mkdir "$1/debs"
  # shellcheck disable=SC2086 # several packages
  (cd "$1/debs" && { apt-get -qq download $ENGINE_PACKAGES || { apt-get -qq update; apt-get -qq download $ENGINE_PACKAGES; }; }) \
    >"$LOGS/engine-packages" 2>&1 || die_with_log engine-packages
  for deb in "$1"/debs/*.deb; do
    dpkg -x "$deb" "$1"
  done
  rm -r "$1/debs"
}

engine_answers() { timeout 10 docker version &>/dev/null; }

start_engine() {
  host_packages
  cached "$ENGINE_FILES" "engine packages" unpack_engine
  engine_answers && return
  sweep
  step engine run_engine
}

run_engine() {
  if ! try_engine; then
    say 'the engine does not start with the data of an earlier engine: deleting the data, all images are built again'
    sweep
    rm -rf --one-file-system "$ENGINE_DATA"
    try_engine || die_with_log dockerd
  fi
  # Docker restarts the nodes of an earlier engine, but these nodes do not work any more.
  remove_containers
}

remove_containers() { docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null; }

try_engine() {
  local library pid options=()
  mkdir -p "$RUN" "$ENGINE_DATA"
  if ! has_cap_sys_resource; then
    # `docker run --privileged` requests every capability. The wrapper removes the capability that the host lacks.
    install -m 755 "$HERE/no-docker/runc.sh" "$RUN/runc"
    options+=(--add-runtime "lesser=$RUN/runc" --default-runtime lesser)
  fi
  library=$(dirname "$(find "$ENGINE_FILES" -name 'libdevmapper.so.*' -print -quit)")
  LD_LIBRARY_PATH=$library setsid nohup dockerd --host "$DOCKER_HOST" --data-root "$ENGINE_DATA" --exec-root "$RUN/exec" \
    --pidfile "$RUN/dockerd.pid" --oom-score-adjust 0 --cgroup-parent "/$GROUP" \
    --bridge none --iptables=false --ip-forward=false --userland-proxy-path "$ENGINE_FILES/usr/sbin/docker-proxy" \
    --init-path "$ENGINE_FILES/usr/bin/tini-static" "${options[@]}" {LOCK}>&- >"$LOGS/dockerd" 2>&1 </dev/null &
  pid=$!
  for ((i = 0; i < 120; i++)); do
    if engine_answers; then
      return
    fi
    [[ -e /proc/$pid ]] || return 1
    sleep 0.5
  done
  return 1
}

has_cap_sys_resource() {
  local bits
  bits=$(awk '$1 == "CapEff:" {print $2}' /proc/self/status)
  ((16#$bits >> 24 & 1))
}

# Kind uses an existing network named kind. This script creates it, so that the bridge has a known name and can be removed later.
kind_network() {
  docker network inspect kind &>/dev/null ||
    docker network create kind --ipv6 --subnet fc00:f853:ccd:e793::/64 --opt com.docker.network.bridge.name="$BRIDGE" \
      --opt com.docker.network.driver.mtu=1500 >/dev/null
}

stop_engine() {
  if engine_answers; then
    remove_containers
    docker network ls --quiet --filter type=custom | xargs --no-run-if-empty docker network rm >/dev/null
    kill "$(<"$RUN/dockerd.pid")"
    for ((i = 0; i < 60; i++)); do
      [[ -e $RUN/dockerd.pid ]] || break
      sleep 0.5
    done
  fi
  sweep
}

# Removes what a killed engine leaves: processes, mounts, the bridge, control groups. The information comes from the kernel, not from the engine.
sweep() {
  local pid target
  for ((i = 0; i < 50; i++)); do
    our_processes >"$CACHE/pids"
    [[ -s $CACHE/pids ]] || break
    while read -r pid; do
      kill -KILL "$pid" 2>/dev/null || true
    done <"$CACHE/pids"
    sleep 0.2
  done
  rm -f "$CACHE/pids"
  mounts_below "$RUN" "$ENGINE_DATA" | while read -r target; do
    umount "$target" 2>/dev/null || umount --lazy "$target"
  done
  if ip link show "$BRIDGE" &>/dev/null; then ip link delete "$BRIDGE"; fi
  find /sys/fs/cgroup -depth -type d -path "*/$GROUP*" -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "$RUN"
}

our_processes() {
  local process
  for process in /proc/[0-9]*; do
    if [[ $(readlink "$process/exe") == "$CACHE"/engine-* ]] || grep --quiet --no-messages ":/$GROUP" "$process/cgroup"; then
      echo "${process#/proc/}"
    fi
  done
}

mounts_below() { # FOLDER...: the mounts on and inside the folder, the innermost first
  local folder target
  for folder; do
    while read -r _ _ _ _ target _; do
      printf -v target %b "$target" # mountinfo writes a space as \040
      [[ $target/ != "$folder"/* ]] || echo "$target"
    done </proc/self/mountinfo
  done | sort --reverse
}
