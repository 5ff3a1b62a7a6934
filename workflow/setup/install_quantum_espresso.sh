#!/usr/bin/env bash
# See to it that pw.x, the programs that go with it and mpirun are on PATH.
# Does nothing when they are; installs Debian's packages when that is allowed; else says what to do.
# Uses shell built-ins until packages are installed, so that it can speak up even on a bare PATH.
set -euo pipefail

programs=(pw.x pp.x projwfc.x mpirun)

say() {
    printf '%s\n' "$@" >&2
}

missing_programs() {
    local program
    hash -r
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null || printf '%s ' "$program"
    done
}

can_install() {
    [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null
}

install_packages() {
    echo "set-up: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # A package index that cannot be refreshed may still be good enough: let the install decide.
    apt-get update -qq || say "set-up: apt-get update failed, trying with the index at hand"
    apt-get install -y -qq --no-install-recommends "$@"
}

# Debian's pw.x takes whatever libblas.so.3 the alternatives point to. The reference BLAS makes it
# about twice as slow as OpenBLAS; the serial build leaves the cores to MPI.
uses_reference_blas() {
    local pw blas
    pw=$(command -v pw.x)
    command -v ldd >/dev/null && command -v dpkg >/dev/null || return 1
    dpkg -S "$pw" >/dev/null 2>&1 || return 1
    blas=$(ldd "$pw" 2>/dev/null | sed -n 's/.*libblas\.so\.3 => \([^ ]*\).*/\1/p')
    [[ -n $blas && $(readlink -f "$blas") == */blas/libblas.so.* ]]
}

missing=$(missing_programs)
if [[ -n $missing ]] && can_install; then
    install_packages quantum-espresso openmpi-bin libopenblas0-serial ||
        say "set-up: apt-get could not install Quantum ESPRESSO, see above"
    missing=$(missing_programs)
fi

if [[ -n $missing ]]; then
    say "set-up: Quantum ESPRESSO is incomplete, not on PATH: $missing" \
        "Do one of these, then run the same command again:" \
        "  conda user:      conda install -c conda-forge qe" \
        "  cluster:         module load QuantumESPRESSO   (module avail names yours)" \
        "  Debian, Ubuntu:  sudo apt-get install quantum-espresso libopenblas0-serial"
    exit 1
fi

if uses_reference_blas; then
    if can_install; then
        install_packages libopenblas0-serial || true
    fi
    if uses_reference_blas; then
        say "set-up: pw.x runs with the reference BLAS, at about half speed." \
            "  sudo apt-get install libopenblas0-serial" \
            "  if it is installed: sudo update-alternatives --auto libblas.so.3-$(uname -m)-linux-gnu"
    fi
fi
