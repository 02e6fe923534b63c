#!/usr/bin/env bash
# Installs Debian packages that are missing. usage: install.sh PACKAGE...
set -o errexit -o nounset -o pipefail
missing=()
for package; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0
echo "installing Debian packages: ${missing[*]}" >&2
((EUID == 0)) || { echo "not root: install them by hand" >&2; exit 1; }
# Some of the machine's package sources may be out of reach. Whether the packages can be had is what counts.
apt-get -qq update || echo 'not all package lists are up to date' >&2
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
