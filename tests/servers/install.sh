#!/usr/bin/env bash
# What tests and demo need beside Rust: PostgreSQL, Redis, a search server and what these need; the tests
# (without the argument `demo`) also a browser and Prometheus.
# Root on Debian gets what is missing; everybody else is told the command. Exit 2: something is missing.
set -euo pipefail
cd "$(dirname "$0")"

has() {
  command -v "$1" >/dev/null
}

if ! has cargo; then
  echo "Rust is missing; see https://rustup.rs (components: rustfmt, clippy)" >&2
  exit 2
fi

packages=()
has cc || packages+=(gcc libc6-dev)
has setpriv || packages+=(util-linux)
if [ -z "${READSIDE_TEST_PG_BIN:-}" ] && ! has initdb && ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
  packages+=(postgresql)
fi
has redis-server || packages+=(redis-server)
if [ "${1:-}" != demo ]; then
  has chromedriver || packages+=(chromium chromium-driver)
  has promtool || packages+=(prometheus)
  for package in $(./postgres.sh missing); do
    packages+=("$package")
  done
fi
for package in $(./search.sh missing); do
  packages+=("$package")
done

if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! has apt-get; then
    echo "Missing; run: sudo apt-get install ${packages[*]}" >&2
    exit 2
  fi
  echo "Installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update || echo "apt-get update failed; going on with the lists that are there" >&2
  apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
fi
./search.sh install
