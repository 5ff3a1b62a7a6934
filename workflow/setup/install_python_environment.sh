#!/usr/bin/env bash
# Make .venv from envs/requirements.lock and let it import workflow/heteroforge.
# Does nothing when the lock has not changed since the last time, so that every `make` can call it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

lock=envs/requirements.lock
venv=.venv

fail() {
    printf 'set-up: %s\n' "$@" >&2
    exit 1
}

# The stamp's name holds the lock's checksum: another lock (an update, another branch) is another
# stamp, while a new date on the same content installs nothing.
stamp="$venv/.installed-$(cksum <"$lock" | tr ' ' -)"

usable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local candidate
    # 3.11 first: DGL 1.1.3 has no build for 3.12, where the models fall back to plain torch.
    for candidate in ${PYTHON:-python3.11 python3 python3.12}; do
        if command -v "$candidate" >/dev/null && usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    local python
    python=$(find_python) || fail \
        "Python 3.11 or 3.12 is needed; found: $("${PYTHON:-python3}" --version 2>&1 || echo none)." \
        "Install one (apt install python3.11, conda create -n py311 python=3.11, uv python install 3.11)" \
        "and name it: make PYTHON=/path/to/python3.11 ..."
    # Debian and Ubuntu ship Python without the part that makes virtual environments.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
            echo "set-up: installing python3-venv"
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -qq
            apt-get install -y -qq "$(basename "$(readlink -f "$python")")-venv"
        else
            fail "$python cannot make virtual environments (no ensurepip)." \
                "On Debian or Ubuntu: sudo apt install python3-venv"
        fi
    fi
    echo "set-up: making $venv with $python"
    "$python" -m venv --clear "$venv"
}

# The stamp alone does not tell that the Python below the environment is still there.
if [[ ! -e $stamp ]] || ! usable "$venv/bin/python"; then
    # A virtual environment whose Python is gone or too old is made anew, not repaired.
    usable "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    echo "set-up: installing Python packages from $lock (once, some minutes)"
    "$venv/bin/python" -m pip install --disable-pip-version-check -r "$lock" ||
        fail "pip could not install $lock: see above; run the same command again to go on."
    rm -f "$venv"/.installed-*
    touch "$stamp"
fi

# A .pth file makes `import heteroforge` work in scripts, tests and `python -m`, without a build.
# Written on every run where it differs, so that a moved or copied project folder heals itself.
site_packages=$(echo "$venv"/lib/python3.*/site-packages)
path_file="$site_packages/heteroforge.pth"
if [[ "$(cat "$path_file" 2>/dev/null || true)" != "$PWD/workflow" ]]; then
    printf '%s\n' "$PWD/workflow" >"$path_file"
fi
