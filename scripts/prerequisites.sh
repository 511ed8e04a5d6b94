# What a bare Debian 12 lacks: Debian packages, uv, the locked Python environment. Each function installs what is
# missing and returns at once when nothing is. Source this file with the checkout as the working directory.
# shellcheck shell=bash

readonly UV=.uv/bin/uv VENV=.venv
readonly POLICY=/usr/sbin/policy-rc.d

# Python comes from the system; a download would be one more thing to trust.
export UV_PYTHON_DOWNLOADS=never

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

# need_debian_packages FILE...: have every package installed that these files name, one a line.
need_debian_packages() {
    local -a missing
    mapfile -t missing < <(missing_debian_packages "$@")
    if ((${#missing[@]} == 0)); then return; fi
    if ! command -v apt-get >/dev/null || ((EUID != 0)); then
        die "missing packages: ${missing[*]}" "run this as root on Debian, or install them first"
    fi
    say "installing Debian packages: ${missing[*]}"
    quietly refresh_debian_index
    quietly install_without_starting "${missing[@]}"
}

# need_debian_index: have apt know what can be downloaded: today's versions, since replaced ones are deleted.
need_debian_index() {
    local today
    today=$(find /var/lib/apt/lists -maxdepth 1 -name '*InRelease' -cmin -1440 2>/dev/null)
    if [[ -n $today ]]; then return; fi
    refresh_debian_index >/dev/null 2>&1 || say "apt-get update failed; going on with the packages known so far"
}

# need_uv: have uv at its locked version in .uv.
need_uv() {
    local lock=requirements-build.lock python
    if is_installed .uv "$lock"; then return; fi
    say "installing uv"
    python=$(find_python)
    rm -rf .uv
    quietly "$python" -m venv .uv
    quietly .uv/bin/python -m pip install --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock"
    mark_installed .uv "$lock"
}

# need_venv LOCK: have .venv hold this lock file's packages and the project itself, editable.
need_venv() {
    local lock=$1 python
    if is_installed "$VENV" "$lock"; then return; fi
    # The development environment contains the one that the daemon runs in.
    if [[ $lock == requirements.lock ]] && is_installed "$VENV" requirements-dev.lock; then return; fi
    say "installing the Python packages of $lock"
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        python=$(find_python)
        "$UV" venv --quiet --clear --python "$python" "$VENV"
    fi
    rm -f "$VENV/installed"
    uv_pip sync --require-hashes "$lock"
    uv_pip install --no-deps --editable .
    mark_installed "$VENV" "$lock"
}

# What follows serves the functions above.

# Packages that must be built get their build tools from a lock file as well.
uv_pip() {
    local command=$1
    shift
    "$UV" pip "$command" --quiet --python "$VENV" \
        --build-constraints requirements-build.lock --require-build-hashes "$@"
}

missing_debian_packages() {
    comm -23 <(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@" | sort -u) <(
        dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' | sort -u
    )
}

refresh_debian_index() {
    apt-get -o DPkg::Lock::Timeout=300 update
}

# Servers are installed for the tests to start their own from: the package's own must not start. dpkg asks
# policy-rc.d before it starts one; whatever stood there before is put back. One at a time, or a second run would
# take the first one's policy for the machine's own.
install_without_starting() (
    flock 9
    had=$(mktemp)
    if [[ -e $POLICY ]]; then cp -p "$POLICY" "$had"; else rm -f "$had"; fi
    trap 'if [[ -e $had ]]; then mv "$had" "$POLICY"; else rm -f "$POLICY"; fi' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY" && chmod 755 "$POLICY" || exit
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --no-install-recommends -y "$@" 9>&-
) 9>/run/lock/sandboxd-packages

find_python() {
    local python
    for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$python"
            return
        fi
    done
    die "no Python 3.11 or newer found; on Debian 12: apt-get install python3 python3-venv"
}

# An environment is as old as the files it was made from, and bound to its place.
fingerprint() { { cat "$1" requirements-build.lock pyproject.toml && pwd -P; } | sha256sum; }

is_installed() {
    [[ -x $1/bin/python && -e $1/installed && $(<"$1/installed") == "$(fingerprint "$2")" ]]
}

mark_installed() { fingerprint "$2" >"$1/installed"; }

# Run a command and show what it printed only when it failed.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || cat "$log" >&2
    rm -f "$log"
    ((status == 0)) || die "failed: $*"
}
