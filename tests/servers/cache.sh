# Read by the other scripts here: where servers are kept that no Debian package holds, and how they come there.
# READSIDE_SERVER_CACHE is the place.

# As root servers run as another user, who has to be able to read the cache: root's home will not do.
if [ -n "${READSIDE_SERVER_CACHE:-}" ]; then
  cache=$READSIDE_SERVER_CACHE
elif [ "$(id -u)" = 0 ]; then
  cache=/var/tmp/readside
else
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/readside
fi

plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

maven() {
  mvn -q -B -Dstyle.color=never "$@" >&2
}

# The Debian packages without which Maven does not run.
maven_missing() {
  command -v mvn >/dev/null || echo maven
  local major=0
  if command -v java >/dev/null; then
    major=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p')
  fi
  [ "${major%%.*}" -ge 17 ] || echo default-jre-headless
}

# Runs `FETCH... HOME` unless the cache has NAME. It makes HOME in one step, so that an interrupted one leaves none.
once() { # NAME WHAT FETCH...
  local home=$cache/$1 what=$2 packages
  shift 2
  [ ! -e "$home" ] || return 0
  packages=$(missing | tr '\n' ' ')
  [ -z "$packages" ] || {
    echo "$(basename "$0"): not installed; run: apt-get install $packages" >&2
    exit 2
  }
  mkdir -p "$cache"
  # Two runs at once: the second waits and finds it there.
  exec 9>"$cache/.lock"
  flock 9
  if [ ! -e "$home" ]; then
    echo "$(basename "$0"): fetching $what into $cache" >&2
    "$@" "$home"
  fi
  exec 9>&-
}
