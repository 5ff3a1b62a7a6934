#!/usr/bin/env bash
# A SLURM of one node on this machine, from Debian's packages and without systemd: to test the
# profile where there is no cluster.
#   one_node_slurm.sh install            Debian's packages (as root; does nothing where they are)
#   one_node_slurm.sh start FOLDER       configuration, state and logs go to FOLDER
#   one_node_slurm.sh stop FOLDER
# After `start`, `export SLURM_CONF=FOLDER/slurm.conf` makes sbatch and the rest find it.
set -euo pipefail

programs=(slurmctld slurmd munged sbatch srun squeue scontrol scancel)

fail() {
    printf 'one-node SLURM: %s\n' "$@" >&2
    exit 1
}

missing_programs() {
    local program
    hash -r
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null || printf '%s ' "$program"
    done
}

install_packages() {
    [[ -n $(missing_programs) ]] || return 0
    [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null ||
        fail "not on PATH: $(missing_programs)" "On Debian or Ubuntu: sudo apt-get install slurm-wlm munge"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    apt-get install -y -qq --no-install-recommends slurm-wlm munge
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

# Twice the cores, so that jobs overlap on the two cores of a small machine. Memory is watched
# every second and a job above its request is killed, as cgroups do on a cluster. A GPU that is
# none lets jobs that ask for one be submitted.
write_configuration() {
    local folder=$1 host user memory_mb
    host=$(hostname -s)
    user=$(id -un)
    memory_mb=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat >"$folder/slurm.conf" <<CONF
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=5
KillWait=5
MinJobAge=600
ReturnToService=2
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((2 * $(nproc))) RealMemory=$memory_mb Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=24:00:00 State=UP
CONF
    printf 'AutoDetect=off\nName=gpu File=/dev/zero\n' >"$folder/gres.conf"
}

start() {
    local folder=$1
    mkdir -p "$folder"/{state,spool}
    folder=$(cd "$folder" && pwd)
    [[ ! -e $folder/slurmctld.pid ]] || fail "$folder is in use: stop it first"
    # munge refuses keys and sockets that others could change.
    chmod 755 "$folder"
    write_configuration "$folder"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    export SLURM_CONF=$folder/slurm.conf
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    slurmctld -c
    slurmd -c
    for _ in $(seq 60); do
        [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] && break
        sleep 0.5
    done
    [[ $(sinfo --noheader --format=%T) == idle ]] ||
        fail "the node is not ready: $(sinfo --noheader --format='%T %E' 2>&1)" "see $folder/*.log"
    echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
    local folder daemon
    folder=$(cd "$1" && pwd)
    export SLURM_CONF=$folder/slurm.conf
    timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    sleep 1
    for daemon in slurmd slurmctld munged; do
        [[ ! -e $folder/$daemon.pid ]] || kill "$(<"$folder/$daemon.pid")" 2>/dev/null || true
    done
    for _ in $(seq 20); do
        compgen -G "$folder/*.pid" >/dev/null || return 0
        sleep 0.5
    done
}

case ${1:-} in
    install) install_packages ;;
    start | stop) "$1" "${2:?name a folder}" ;;
    *) sed -n 's/^#   //p' "$0" >&2 && exit 2 ;;
esac
