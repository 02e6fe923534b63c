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
# Some package sources of the machine may be unreachable. Only the installation of the packages must succeed.
apt-get -qq update || echo 'not all package lists are up to date' >&2
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
