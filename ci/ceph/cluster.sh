#!/usr/bin/env bash
# A small Ceph cluster of its own on loopback, under one folder: a monitor, an OSD, a file system, and an MDS if it is wanted. For tests and
# comparisons: whatever has to hang can be made to hang. No systemd, no cephx, no privilege but that to run Ceph's daemons.
#
#     ci/ceph/cluster.sh start DIR [--owner PID]   monitor, OSD, pools, file system; with an owner everything ends when that process has gone
#     ci/ceph/cluster.sh up DIR NAME..             starts daemons: mon.a, osd.0, mds.a, mds.b; of monitor and OSD it waits until they do their work
#     ci/ceph/cluster.sh begin DIR NAME..          starts daemons, and does not wait
#     ci/ceph/cluster.sh freeze|thaw DIR NAME..    SIGSTOP, SIGCONT; after the monitor's it waits until there is a quorum
#     ci/ceph/cluster.sh well DIR                  whatever was done to monitor and OSD: makes them answer, with an OSD that starts anew
#     ci/ceph/cluster.sh kill DIR NAME..           SIGKILL, and waits until it has gone
#     ci/ceph/cluster.sh term DIR NAME..           SIGTERM, and does not wait
#     ci/ceph/cluster.sh pid DIR NAME              the daemon's process, if it runs
#     ci/ceph/cluster.sh active DIR                waits until an MDS is active
#     ci/ceph/cluster.sh log DIR NAME..            the end of what daemons have said
#     ci/ceph/cluster.sh ceph DIR ARG..            Ceph's own command line
#     ci/ceph/cluster.sh destroy DIR               ends everything that was started, and removes the folder
#
# Debian 12: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mds ceph-common
# The metadata pool is `meta`, the file system `fs`; the configuration for clients is DIR/ceph.conf. Several clusters can run at a time: the
# monitor's port is a free one, and the other daemons take what is free.
set -u
usage() { sed -n '2,21p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
verb=$1 dir=$2
shift 2
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
conf=$dir/ceph.conf
export PYTHONWARNINGS=ignore
say() { echo "cluster.sh: $*" >&2; }
die() { say "$*"; exit 1; }
# Never longer than so many seconds, and says so: bounded SECONDS COMMAND..
bounded() {
    local status=0
    timeout --kill-after=5 "$@" || status=$?
    case $status in 124 | 137) say "no answer in $1 s: ${*:2}" ;; esac
    return $status
}
ceph_cli() { bounded 60 ceph --conf "$conf" --connect-timeout 30 "$@"; }

# The process of a daemon: only if it runs, and runs on this folder, so that a number that was given anew is not taken for it.
pid_of() {
    local pid
    pid=$(cat "$dir/pid/$1" 2>/dev/null) && [ -n "$pid" ] || return 1
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF "$conf" || return 1
    ! is_zombie "$pid" || return 1
    echo "$pid"
}
is_zombie() { case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) in Z | X | '') ;; *) return 1 ;; esac; }

# Whether a process has let go of all it had. One that was killed is a zombie as soon as its first thread has ended: with the others it keeps its files for
# a while, and an OSD's locks with them, so that another OSD on the same folder would end at once.
is_over() { is_another "$1" || { is_zombie "$1" && [ "$(ls "/proc/$1/task" 2>/dev/null | wc -l)" -le 1 ]; }; }
is_another() {
    local words
    words=$({ tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null) && [ -n "$words" ] && ! grep -qxF "$conf" <<<"$words"
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

# The end of what a daemon has said.
say_log() { # NAME
    local file
    for file in "$dir/log/$1.out" "$dir/log/$1.log"; do
        [ ! -s "$file" ] || { say "the end of $file:" && tail -n 25 "$file" | cut -c -400 >&2; }
    done
    df -h "$dir" >&2
}

run_daemon() { # NAME: in the background, its output in a file
    local kind=${1%.*} id=${1#*.} old
    gone "$1" || return 0
    old=$(cat "$dir/pid/$1" 2>/dev/null)
    [ -z "$old" ] || until_true 60 is_over "$old" || say "$1 was killed, but is not over after 60 s"
    mkdir -p "$dir/$1"
    rm -f "$dir/run/$1.asok"
    setsid "ceph-$kind" -f -i "$id" --conf "$conf" </dev/null >>"$dir/log/$1.out" 2>&1 &
    echo $! >"$dir/pid/$1"
    until_true 30 has_begun "$1" "$!" || { say_log "$1"; die "$1 does not run"; }
}
# It is Ceph's program by now, or has ended already.
has_begun() { pid_of "$1" >/dev/null || is_zombie "$2"; }

# Starts a monitor or an OSD, waits until it does its work, and starts it again should it end meanwhile; one that is there but does nothing is left so.
up_daemon() { # NAME
    local try end
    case $1 in mon.*) set -- "$1" has_quorum ;; osd.*) set -- "$1" is_active_osd ;; *) run_daemon "$1" && return ;; esac
    for try in 1 2 3 4 5; do
        run_daemon "$1"
        end=$((SECONDS + 90))
        while ! gone "$1"; do
            ! "$2" "$1" || return 0
            [ $SECONDS -lt $end ] || { say_log "$1"; die "$1 runs, but does not do its work after 90 s"; }
            sleep 0.1
        done
        say "$1 has ended while it started, attempt $try of 5: $(grep -v '^$' "$dir/log/$1.out" | tail -n 1 | cut -c -400)"
        sleep "$try"
    done
    say_log "$1"
    die "$1 does not stay"
}

# What a daemon answers on its admin socket, which was removed before it started: so it is not another's answer.
asks() { # NAME COMMAND
    timeout --kill-after=5 10 /usr/bin/python3 - "$dir/run/$1.asok" "$2" <<'END' 2>/dev/null
import socket, struct, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(b'{"prefix": "%s", "format": "json"}\0' % sys.argv[2].encode())
    file = s.makefile("rb")
    print(file.read(struct.unpack(">I", file.read(4))[0]).decode())
END
}
# An OSD calls itself active once a map of the monitor's says that this very process is up.
is_active_osd() { asks "$1" status | grep -q '"state": *"active"'; }
has_quorum() { asks "$1" mon_status | grep -q '"state": *"leader"'; }

# Each placement group of the metadata pool answers a client that comes now.
answers() { timeout --kill-after=5 15 rados --conf "$conf" --pool meta ls >/dev/null 2>&1; }

# Monitor and OSD answer afterwards, whatever they were before.
make_well() {
    local name
    for name in mon.a osd.0; do gone "$name" || kill -CONT "$(pid_of "$name")"; done
    has_quorum mon.a || until_true 10 has_quorum mon.a || kill_daemon mon.a
    up_daemon mon.a
    kill_daemon osd.0
    up_daemon osd.0
    until_true 60 answers || { say_log mon.a; say_log osd.0; ceph_cli -s >&2; die "the pool does not answer"; }
}

kill_daemon() { # NAME
    local pid
    pid=$(pid_of "$1") || return 0
    kill -KILL "$pid"
    until_true 60 is_over "$pid" || die "$1 was killed, but is not over after 60 s"
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
# An OSD that comes back may be read soon. A lease that is much shorter than this second is not renewed in time on a busy machine: an OSD was seen to wait for it for
# ever then.
osd_pool_default_read_lease_ratio = 0.05
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
# Who was frozen for long takes its own threads for stuck when it goes on, and would end itself.
osd_op_thread_timeout = 3600
osd_op_thread_suicide_timeout = 0
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
    up_daemon mon.a
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph-osd --mkfs -i 0 --conf "$conf" --osd-uuid "$uuid" >>"$log" 2>&1 || die "no OSD: see $log"
    ceph_cli osd new "$uuid" 0 >>"$log" 2>&1 || die "the monitor does not answer: see $log"
    up_daemon osd.0
    { ceph_cli osd pool create meta 8 && ceph_cli osd pool create data 8 && ceph_cli fs new fs meta data --force; } >>"$log" 2>&1 \
        || die "no pools: see $log"
    until_true 60 answers || { say_log osd.0; die "the pool does not answer"; }
}
is_active() { ceph_cli mds stat 2>/dev/null | grep -q 'up:active'; }

end_all() {
    local name pid
    for name in $(ls "$dir/pid" 2>/dev/null); do
        pid=$(pid_of "$name") && kill -KILL "$pid"
    done
    for name in $(ls "$dir/pid" 2>/dev/null); do
        until_true 60 gone "$name" || say "$name is still there"
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

# A thread that is told to stop does so when it has a processor next: on a busy machine it answers meanwhile.
is_frozen() { ! cut -d')' -f2 "/proc/$(pid_of "$1")"/task/*/stat 2>/dev/null | grep -qv '^ T'; }

each() { # COMMAND NAME..: for each daemon that runs
    local command=$1 name pid
    shift
    for name; do
        pid=$(pid_of "$name") || { say_log "$name"; die "$name does not run"; }
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
    up) for name; do up_daemon "$name"; done ;;
    begin) for name; do run_daemon "$name"; done ;;
    well) make_well ;;
    freeze)
        each 'kill -STOP' "$@"
        for name; do until_true 60 is_frozen "$name" || die "$name was stopped, but some of it runs after 60 s"; done
        ;;
    thaw)
        each 'kill -CONT' "$@"
        case " $* " in *' mon.a '*) until_true 60 has_quorum mon.a || { say_log mon.a; die "no quorum after 60 s"; } ;; esac
        ;;
    term) each 'kill -TERM' "$@" ;;
    kill) for name; do kill_daemon "$name"; done ;;
    pid) pid_of "${1:?a daemon}" ;;
    active) until_true 120 is_active || { say_log mds.a; ceph_cli -s >&2; die "no MDS is active after 120 s"; } ;;
    log) for name; do say_log "$name"; done ;;
    ceph) ceph_cli "$@" ;;
    destroy) end_all; remove ;;
    *) usage ;;
esac
