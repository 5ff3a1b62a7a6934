#!/usr/bin/env bash
# A SLURM of one node on this machine, from Debian's packages and without systemd: to test the
# profile where there is no cluster.
#   one_node_slurm.sh install            Debian's packages (as root; does nothing where they are)
#   one_node_slurm.sh start FOLDER       state and logs go to FOLDER, configuration to /etc/slurm
#   one_node_slurm.sh stop FOLDER
# Does not touch a machine that has a SLURM of its own. SLURM_CONF would do instead of /etc/slurm,
# but Snakemake's jobs take away all variables of SLURM.
set -euo pipefail

configuration=/etc/slurm
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
    cat >"$configuration/slurm.conf" <<CONF
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
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((2 * $(nproc --all))) RealMemory=$memory_mb Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=24:00:00 State=UP
CONF
    printf 'AutoDetect=off\nName=gpu File=/dev/zero\n' >"$configuration/gres.conf"
}

start() {
    local folder=$1
    mkdir -p "$folder"/{state,spool}
    folder=$(cd "$folder" && pwd)
    [[ ! -e $configuration/slurm.conf ]] ||
        fail "$configuration/slurm.conf is there already: this machine has a SLURM"
    [[ -w $configuration ]] || fail "$configuration cannot be written: root is needed"
    # munge refuses keys and sockets that others could change.
    chmod 755 "$folder"
    write_configuration "$folder"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
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
}

stop() {
    local folder daemon
    folder=$(cd "$1" && pwd)
    grep -q "StateSaveLocation=$folder/" "$configuration/slurm.conf" ||
        fail "the SLURM of this machine is not the one of $folder"
    timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    sleep 1
    for daemon in slurmd slurmctld munged; do
        [[ ! -e $folder/$daemon.pid ]] || kill "$(<"$folder/$daemon.pid")" 2>/dev/null || true
    done
    for _ in $(seq 20); do
        compgen -G "$folder/*.pid" >/dev/null || break
        sleep 0.5
    done
    rm -f "$configuration"/{slurm,gres}.conf
}

case ${1:-} in
    install) install_packages ;;
    start | stop) "$1" "${2:?name a folder}" ;;
    *) sed -n 's/^#   //p' "$0" >&2 && exit 2 ;;
esac
