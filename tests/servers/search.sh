#!/usr/bin/env bash
# A real search server for tests and for the demo, from Maven Central alone.
#
#   search.sh install         fetch and unpack it once into the cache
#   search.sh run DIR PORT    become a single node on 127.0.0.1:PORT that keeps everything in DIR
#   search.sh missing         names the Debian packages that it still needs (nothing when none)
#
# SEARCH=os2 (OpenSearch 2.19, the default) or es8 (Elasticsearch 8.19). Needs mvn and Java 17.
# SEARCH_HEAP (512m) is the size of the heap, READSIDE_SERVER_CACHE the place of the cache.
set -euo pipefail

kind=${SEARCH:-os2}
. "$(dirname "$0")/cache.sh"

# What is published for integration tests holds the bare server. Each `module` line adds one that an
# ordinary installation has: its name, its class, the artifacts it is made of.
case $kind in
os2)
  name=opensearch variable=OPENSEARCH version=2.19.6
  artifact=org.opensearch.distribution.integ-test-zip:opensearch:$version:zip
  modules="
    mapper-extras org.opensearch.index.mapper.MapperExtrasPlugin org.opensearch.plugin:mapper-extras-client:$version
    analysis-common org.opensearch.analysis.common.CommonAnalysisPlugin org.opensearch.plugin:analysis-common:$version
    lang-painless org.opensearch.painless.PainlessPlugin org.opensearch.plugin:lang-painless:$version org.opensearch.plugin:opensearch-scripting-painless-spi:$version org.antlr:antlr4-runtime:4.13.1 org.ow2.asm:asm:9.7 org.ow2.asm:asm-util:9.7 org.ow2.asm:asm-tree:9.7 org.ow2.asm:asm-commons:9.7 org.ow2.asm:asm-analysis:9.7"
  ;;
es8)
  name=elasticsearch variable=ES version=8.19.21
  artifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$version:zip
  modules=
  ;;
*)
  echo "search.sh: SEARCH=$kind is unknown; use os2 or es8" >&2
  exit 2
  ;;
esac

home=$cache/$kind-$version

java_home() {
  dirname "$(dirname "$(readlink -f "$(command -v java)")")"
}

missing() {
  maven_missing
}

install() {
  once "$kind-$version" "$name $version" fetch
}

fetch() { # HOME
  local work=$1.partial
  rm -rf "$work"
  maven "$plugin:unpack" -Dartifact="$artifact" -DoutputDirectory="$work" \
    -Dmdep.unpack.includes="$name-$version/**" -Dproject.basedir="$cache"
  [ -z "$modules" ] || add_modules "$work" "$work/$name-$version/modules"
  chmod -R a+rX "$work"
  chmod a+x "$work/$name-$version/bin/"*
  mv "$work/$name-$version" "$1"
  rm -rf "$work"
}

add_modules() { # WORK MODULES_DIR
  local module class artifacts coordinate group id number items=
  while read -r module class artifacts; do
    [ -n "$module" ] || continue
    mkdir -p "$2/$module"
    cat >"$2/$module/plugin-descriptor.properties" <<EOF
name=$module
description=$module
version=$version
classname=$class
java.version=11
$name.version=$version
EOF
    for coordinate in $artifacts; do
      IFS=: read -r group id number <<<"$coordinate"
      items+="<artifactItem><groupId>$group</groupId><artifactId>$id</artifactId>"
      items+="<version>$number</version><outputDirectory>$2/$module</outputDirectory></artifactItem>"
    done
  done <<<"$modules"
  # One Maven run for all of them.
  cat >"$1/pom.xml" <<EOF
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>readside</groupId><artifactId>search-modules</artifactId><version>1</version><packaging>pom</packaging>
  <build><plugins><plugin>
    <artifactId>maven-dependency-plugin</artifactId>
    <configuration><artifactItems>$items</artifactItems></configuration>
  </plugin></plugins></build>
</project>
EOF
  maven -f "$1/pom.xml" "$plugin:copy"
  # The script language compiles classes at run time, and the analyzers let it use them.
  echo 'grant { permission java.lang.RuntimePermission "createClassLoader"; permission java.lang.RuntimePermission "getClassLoader"; };' \
    >"$2/lang-painless/plugin-security.policy"
  echo extended.plugins=lang-painless >>"$2/analysis-common/plugin-descriptor.properties"
}

run() { # DIR PORT
  local dir heap=${SEARCH_HEAP:-512m}
  dir=$(realpath -m "$1")
  install
  mkdir -p "$dir"/{config/jvm.options.d,data,logs,tmp}
  cp "$home/config/log4j2.properties" "$dir/config/"
  # Without the lines that write below the installation, and the module that this Java lacks.
  sed -E '/gc\.log|ErrorFile|HeapDumpPath|jdk\.incubator\.vector/d' "$home/config/jvm.options" >"$dir/config/jvm.options"
  cat >"$dir/config/$name.yml" <<EOF
path.data: $dir/data
path.logs: $dir/logs
network.host: 127.0.0.1
http.port: $2
transport.port: 0
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
EOF
  [ "$kind" != es8 ] || echo "xpack.security.enabled: false" >>"$dir/config/$name.yml"
  rm -f "$dir/pid"
  # The server refuses root. What kills us has to kill it too, also after the change of user.
  local become=(setpriv --pdeathsig KILL)
  if [ "$(id -u)" = 0 ]; then
    chown -R 65534:65534 "$dir"
    become+=(--reuid 65534 --regid 65534 --clear-groups)
  fi
  cd "$dir"
  exec env HOME="$dir" "${variable}_PATH_CONF=$dir/config" "${variable}_JAVA_HOME=$(java_home)" \
    "${variable}_TMPDIR=$dir/tmp" "${variable}_JAVA_OPTS=-Xms$heap -Xmx$heap -XX:-AlwaysPreTouch" \
    "${become[@]}" -- "$home/bin/$name" -p "$dir/pid"
}

case ${1:-} in
install | missing) "$1" ;;
run) run "$2" "$3" ;;
*)
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
