#!/usr/bin/env bash
# A small Ceph cluster of its own on loopback, under one folder: a monitor, an OSD, a file system, and an MDS if it is wanted. For tests and
# comparisons: whatever has to hang can be made to hang. No systemd, no cephx, no privilege but that to run Ceph's daemons.
#
#     ci/ceph/cluster.sh start DIR [--owner PID]   monitor, OSD, pools, file system; with an owner everything ends when that process has gone
#     ci/ceph/cluster.sh up DIR NAME..             starts daemons: mon.a, osd.0, mds.a, mds.b
#     ci/ceph/cluster.sh freeze|thaw DIR NAME..    SIGSTOP, SIGCONT
#     ci/ceph/cluster.sh kill DIR NAME..           SIGKILL, and waits until it has gone
#     ci/ceph/cluster.sh term DIR NAME..           SIGTERM, and does not wait
#     ci/ceph/cluster.sh pid DIR NAME              the daemon's process, if it runs
#     ci/ceph/cluster.sh active DIR                waits until an MDS is active
#     ci/ceph/cluster.sh ceph DIR ARG..            Ceph's own command line
#     ci/ceph/cluster.sh destroy DIR               ends everything that was started, and removes the folder
#
# Debian 12: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mds ceph-common
# The metadata pool is `meta`, the file system `fs`; the configuration for clients is DIR/ceph.conf. Several clusters can run at a time: the
# monitor's port is a free one, and the other daemons take what is free.
set -u
usage() { sed -n '2,17p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb=$1 dir=$2
shift 2
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
conf=$dir/ceph.conf
export PYTHONWARNINGS=ignore
say() { echo "cluster.sh: $*" >&2; }
die() { say "$*"; exit 1; }
ceph_cli() { timeout 60 ceph --conf "$conf" --connect-timeout 30 "$@"; }

# The process of a daemon: only if it runs, and runs on this folder, so that a number that was given anew is not taken for it.
pid_of() {
    local pid
    pid=$(cat "$dir/pid/$1" 2>/dev/null) && [ -n "$pid" ] || return 1
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF "$conf" || return 1
    case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) in Z | X | '') return 1 ;; esac
    echo "$pid"
}

# Waits for a condition: until SECONDS COMMAND..
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
gone() { ! pid_of "$1" >/dev/null; }

run_daemon() { # NAME: in the background, its output in a file
    local kind=${1%.*} id=${1#*.}
    gone "$1" || return 0
    mkdir -p "$dir/$1"
    rm -f "$dir/run/$1.asok"
    setsid "ceph-$kind" -f -i "$id" --conf "$conf" </dev/null >>"$dir/log/$1.out" 2>&1 &
    echo $! >"$dir/pid/$1"
    until_true 5 pid_of "$1" >/dev/null || die "$1 does not run: see $dir/log/$1.out"
}

free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + (RANDOM % 5000) * 2))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null || { echo "$port"; return; }
    done
    die "no free port"
}

configure() {
    local port fsid
    port=$(free_port) fsid=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$dir"/{pid,log,run,mon.a,osd.0}
    : >"$dir/keyring"
    echo "[v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]" >"$dir/mon.addr"
    echo "$fsid" >"$dir/fsid"
    cat >"$conf" <<END
[global]
fsid = $fsid
mon_host = $(cat "$dir/mon.addr")
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
keyring = $dir/keyring
run_dir = $dir/run
crash_dir = $dir/log
log_file = $dir/log/\$name.log
admin_socket = $dir/run/\$type.\$id.asok
pid_file =
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
# An OSD that comes back may be read at once.
osd_pool_default_read_lease_ratio = 0.02
mon_allow_pool_size_one = true
mon_data_avail_warn = 2
mon_data_avail_crit = 1
[client]
admin_socket =
log_file = $dir/log/client.log
[mon]
mon_data = $dir/mon.\$id
[osd]
osd_data = $dir/osd.\$id
bluestore_block_size = 8589934592
bluestore_cache_autotune = false
bluestore_cache_size = 134217728
osd_memory_target = 939524096
[mds]
mds_data = $dir/mds.\$id
mds_bal_fragment_size_max = 200000
${CEPH_CLUSTER_CONF:-}
END
}

make_daemons() {
    local log=$dir/log/make.out uuid
    monmaptool --create --fsid "$(cat "$dir/fsid")" --addv a "$(cat "$dir/mon.addr")" "$dir/monmap" >>"$log" 2>&1 \
        && ceph-mon --mkfs -i a --conf "$conf" --monmap "$dir/monmap" --keyring "$dir/keyring" >>"$log" 2>&1 || die "no monitor: see $log"
    run_daemon mon.a
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph-osd --mkfs -i 0 --conf "$conf" --osd-uuid "$uuid" >>"$log" 2>&1 || die "no OSD: see $log"
    ceph_cli osd new "$uuid" 0 >>"$log" 2>&1 || die "the monitor does not answer: see $log"
    run_daemon osd.0
    { ceph_cli osd pool create meta 8 && ceph_cli osd pool create data 8 && ceph_cli fs new fs meta data --force; } >>"$log" 2>&1 \
        || die "no pools: see $log"
    until_true 60 osd_is_up || die "the OSD does not come up: see $dir/log"
}
osd_is_up() { ceph_cli osd stat 2>/dev/null | grep -q ' 1 up'; }
is_active() { ceph_cli mds stat 2>/dev/null | grep -q 'up:active'; }

end_all() {
    local name
    for name in $(ls "$dir/pid" 2>/dev/null); do
        kill -KILL "$(pid_of "$name")" 2>/dev/null
    done
    for name in $(ls "$dir/pid" 2>/dev/null); do
        until_true 20 gone "$name" || say "$name is still there"
    done
}

# Ends the cluster when its owner has gone, however it went.
guard() {
    local owner=$1 begun
    begun=$(cut -d' ' -f22 "/proc/$owner/stat" 2>/dev/null)
    (
        cd / && exec </dev/null >/dev/null 2>&1
        while [ -e "$conf" ] && [ "$(cut -d' ' -f22 "/proc/$owner/stat" 2>/dev/null)" = "$begun" ]; do sleep 1; done
        [ ! -e "$conf" ] || { end_all; remove; }
    ) &
}
remove() { [ ! -e "$conf" ] || rm -rf "$dir"; }

each() { # COMMAND NAME..: for each daemon that runs
    local command=$1 name pid
    shift
    for name; do
        pid=$(pid_of "$name") || die "$name does not run"
        $command "$pid"
    done
}

case $verb in
    start)
        [ ! -e "$conf" ] || die "$dir has a cluster already"
        trap 'status=$?; [ $status = 0 ] || end_all' EXIT
        configure
        [ "${1:-}" != --owner ] || guard "${2:?a process}"
        make_daemons
        ;;
    up) for name; do run_daemon "$name"; done ;;
    freeze) each 'kill -STOP' "$@" ;;
    thaw) each 'kill -CONT' "$@" ;;
    term) each 'kill -TERM' "$@" ;;
    kill)
        for name; do
            pid=$(pid_of "$name") || continue
            kill -KILL "$pid"
            until_true 20 gone "$name" || die "$name is still there"
        done
        ;;
    pid) pid_of "${1:?a daemon}" ;;
    active) until_true 60 is_active || die "no MDS is active after 60 s" ;;
    ceph) ceph_cli "$@" ;;
    destroy) end_all; remove ;;
    *) usage ;;
esac
