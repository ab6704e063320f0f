#!/usr/bin/python3
"""ceph-mds and the example `mds-rados`, stopped and started side by side: one cluster, one run, in turn, the same tree and journal.

    ci/ceph/compare.py --ours target/release/examples/mds-rados [--theirs-runs 5] [--ours-runs 50] [--cap 60] [--journal 16] [ROW ..]

The claim is about the stop, and never 'a faster MDS': ours is read-only, has one rank, gives its clients no capabilities and talks to no monitor of
its own; ceph-mds writes, and its restart is a matter of cluster maps. The last column of the table is what the project asks of ours.

Needs Ceph's daemons and python3-cephfs (Debian's python3). Ends whatever it has started. Exit status 3: ours has missed a bar; 1: it has hung, or something failed.
"""

import argparse, contextlib, errno, json, os, select, signal, socket, subprocess, sys, tempfile, time

import cephfs

HERE = os.path.dirname(os.path.abspath(__file__))
POOL = "meta"

# Row: what is done, the bar for ours in ms, and what is known of the Ceph release at hand.
ROWS = {
    "healthy": ("SIGTERM to exit, healthy and idle", 25),
    "replay-frozen": ("SIGTERM to exit, in replay, OSD frozen", 25),
    "replay-killed": ("SIGTERM to exit, in replay, OSD killed", 25),
    "replay-no-mon": ("SIGTERM to exit, in replay, OSD and monitor killed", 25),
    "admin": ("SIGTERM to exit, active, an admin command waits for a frozen OSD", 25),
    "returns": ("SIGTERM to exit, in replay, OSD killed; it returns 10 s later", 25),
    "last": ("SIGTERM to exit, active, OSD and monitor stopped before", 25),
    "start": ("start to active", 150),
    "restart": ("SIGTERM to active again", 200),
    "kill": ("kill -9 to active again", 200),
}


class Cluster:
    def __init__(self, folder):
        self.dir = os.path.join(folder, "cluster")
        self.conf = os.path.join(self.dir, "ceph.conf")
        self.script("start", "--owner", str(os.getpid()))

    def script(self, verb, *args):
        subprocess.run([f"{HERE}/cluster.sh", verb, self.dir, *args], check=True, timeout=600)

    def ceph(self, *args):
        command = ["ceph", "--conf", self.conf, "--connect-timeout", "20", *args]
        env = {**os.environ, "PYTHONWARNINGS": "ignore"}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=60).stdout

    def pid(self, name):
        done = subprocess.run([f"{HERE}/cluster.sh", "pid", self.dir, name], capture_output=True, text=True, timeout=60)
        return int(done.stdout) if done.returncode == 0 else None

    def state(self):
        try:
            return json.loads(self.ceph("fs", "dump", "-f", "json"))["filesystems"][0]["mdsmap"]["info"].values()
        except (subprocess.SubprocessError, IndexError):
            return []

    def is_in(self, name, but=()):
        """Whether a ceph-mds of which the monitor still hears is in that state, other than those of earlier lives."""
        return any(info["state"] == name and "laggy_since" not in info and info["gid"] not in but for info in self.state())

    def renew(self):
        """Every daemon but the MDS well again: what was frozen or killed starts anew."""
        self.script("kill", "mds.a")
        self.script("well")


def exit_of(pid, seconds):
    """Seconds until the process has ended; None: it has not."""
    begun = time.monotonic()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0.0
    try:
        ready, _, _ = select.select([fd], [], [], seconds)
        return time.monotonic() - begun if ready else None
    finally:
        os.close(fd)


def term(pid, seconds):
    os.kill(pid, signal.SIGTERM)
    return exit_of(pid, seconds)


class Theirs:
    """ceph-mds, and its client."""

    # Clients that were not heard.
    given_up = 0
    # Starts that came to nothing.
    lost = 0

    def __init__(self, cluster, cap):
        self.cluster, self.cap = cluster, cap

    def begin(self):
        self.cluster.script("up", "mds.a")

    def revive(self, started, state):
        """When it was started, which is now if that start came to nothing. ceph-mds 16.2.15 was seen to crash while it starts, when a client that knew the old one's address
        asked before it could say who may ask (a null pointer in ProtocolV2::handle_auth_request): its time runs on, as if something supervised it."""
        ended = self.cluster.pid("mds.a") is None
        if not ended and (time.monotonic() - started < 60 or self.cluster.is_in(state)):
            return started
        self.cluster.script("log", "mds.a")
        self.lost += 1
        what = "it has ended" if ended else f"it is not in {state} after 60 s"
        if self.lost > 5:
            raise RuntimeError(f"ceph-mds does not start, for the sixth time in this run: {what}")
        print(f"ceph-mds: {what}; it is started again", file=sys.stderr, flush=True)
        self.end()
        self.begin()
        return time.monotonic()

    def replay(self):
        """Started, and in replay, which does not end."""
        earlier = {info["gid"] for info in self.cluster.state()}
        self.begin()
        started = time.monotonic()
        while True:
            there = self.cluster.is_in("up:replay", but=earlier)
            # If it is, it asks for its first object now.
            time.sleep(1 if there else 0.05)
            begun, started = started, self.revive(started, "up:replay")
            if there and begun == started:
                return

    def read(self, begun):
        """Seconds from `begun` until a client has read what is right."""
        started = time.monotonic()
        while True:
            if time.monotonic() - begun > 300:
                self.cluster.script("log", "mds.a")
                raise RuntimeError("no client can read from ceph-mds")
            fs = cephfs.LibCephFS(conffile=self.cluster.conf)
            try:
                # One that asks while a new ceph-mds takes over from one that has gone may not be heard ("ignoring msg from not-open session" in its log), and
                # would wait for five minutes: it is given up after 5 s (seen: 35 s), and another one asks.
                fs.conf_set("client_mount_timeout", "5")
                fs.mount()
                found = fs.stat("/tree/dir07/file003").st_size
                took = time.monotonic() - begun
                fs.unmount()
            except cephfs.Error as error:
                self.given_up += error.args[:1] == (errno.ETIMEDOUT,)
                started = self.revive(started, "up:active")
                time.sleep(0.02)
                continue
            finally:
                fs.shutdown()
            assert found == 3, found
            return took

    def active(self):
        begun = time.monotonic()
        self.begin()
        return self.read(begun)

    def pid(self):
        pid = self.cluster.pid("mds.a")
        if pid is None:
            self.cluster.script("log", "mds.a")
            raise RuntimeError("ceph-mds has ended by itself")
        return pid

    @contextlib.contextmanager
    def asleep(self):
        """It takes no processor meanwhile: one whose OSD was killed takes up to a whole one."""
        pid = self.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def end(self):
        self.cluster.script("kill", "mds.a")


class Ours:
    """mds-rados, and its client."""

    # Every one that was begun: to be ended however this ends.
    children = []
    # What they ended with, if it was not 0: a stop that found something that had not ended.
    statuses = []
    # Seconds from SIGKILL to the end: what the machine takes for it.
    deaths = []

    def __init__(self, program, cluster, folder, ino):
        self.program, self.cluster, self.ino = program, cluster, ino
        self.socket = os.path.join(folder, "mds.sock")
        self.child = None

    def another(self, n):
        """One more of it, with a socket of its own."""
        other = Ours(self.program, self.cluster, os.path.dirname(self.socket), self.ino)
        other.socket += str(n)
        return other

    def begin(self):
        pool = f"rados:{self.cluster.conf}:{POOL}"
        self.child = subprocess.Popen([self.program, "serve", "--pool", pool, "--socket", self.socket])
        self.children.append(self.child)

    def connect(self):
        end = time.monotonic() + 30
        while True:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(self.socket)
                return client
            except OSError:
                client.close()
                if time.monotonic() > end or self.child.poll() is not None:
                    raise RuntimeError("mds-rados makes no socket")
                time.sleep(0.001)

    def ask(self, request, answer=True):
        client = self.connect()
        client.sendall(json.dumps(request).encode() + b"\n")
        if not answer:
            return client
        client.settimeout(30)
        with client, client.makefile() as lines:
            return json.loads(lines.readline())

    def active(self):
        begun = time.monotonic()
        self.begin()
        reply = self.ask({"op": "lookup", "parent": self.ino, "name": "file003"})
        took = time.monotonic() - begun
        assert reply["ok"]["size"] == 3, reply
        return took

    def waiting(self):
        """Started, and waiting for storage that does not answer: a request of a client is not answered either."""
        self.begin()
        client = self.ask({"op": "getattr", "ino": 1}, answer=False)
        client.settimeout(0.1)
        try:
            raise RuntimeError(f"it should wait for storage: {client.recv(100)}")
        except TimeoutError:
            return client

    def term(self, seconds=30):
        took = term(self.child.pid, seconds)
        if took is None:
            self.child.kill()
        status = self.child.wait()
        if took is not None and status != 0:
            self.statuses.append(status)
        return took

    def kill(self):
        self.child.kill()
        self.deaths.append(exit_of(self.child.pid, 60) or 60.0)
        self.child.wait()


def make(cluster, megabytes):
    """A tree that is in its objects, and a journal of that size on top of it. The inode of a directory for lookups."""
    cluster.script("up", "mds.a")
    cluster.script("active")
    fs = cephfs.LibCephFS(conffile=cluster.conf)
    fs.mount()
    fs.mkdir("/tree", 0o755)
    for d in range(20):
        fs.mkdir(f"/tree/dir{d:02}", 0o755)
        for n in range(100):
            fd = fs.open(f"/tree/dir{d:02}/file{n:03}", "w", 0o644)
            if n == 3:
                fs.write(fd, b"abc", 0)
            fs.close(fd)
    fs.sync_fs()
    cluster.ceph("tell", "mds.a", "flush", "journal")
    ino = fs.statx("/tree/dir07", cephfs.CEPH_STATX_INO, 0)["ino"]
    size, n = 0, 0
    while size < megabytes * 2**20:
        for _ in range(500):
            n += 1
            fs.chmod(f"/tree/dir{n % 20:02}/file{n // 20 % 100:03}", 0o600 + n % 64)
        fs.sync_fs()
        log = json.loads(cluster.ceph("tell", "mds.a", "perf", "dump", "mds_log"))["mds_log"]
        size = log["wrpos"] - log["expos"]
    fs.unmount()
    fs.shutdown()
    return ino, size


class Comparison:
    def __init__(self, options, folder):
        self.options = options
        self.cluster = Cluster(folder)
        self.version = self.cluster.ceph("version").split()[2]
        ino, self.journal = make(self.cluster, options.journal)
        self.theirs = Theirs(self.cluster, options.cap)
        self.ours = Ours(os.path.abspath(options.ours), self.cluster, folder, ino)
        self.times = {row: ([], []) for row in options.rows}
        self.cluster.script("kill", "mds.a")

    def replay(self, row):
        """Theirs and ours stopped in replay, while the OSD does not answer: ours first, because theirs stays."""
        cluster, (theirs, ours) = self.cluster, self.times[row]
        cluster.script("freeze" if row == "replay-frozen" else "kill", "osd.0")
        if self.with_theirs:
            self.theirs.replay()
        with self.theirs.asleep() if self.with_theirs else contextlib.nullcontext():
            self.turns_in_replay(row, ours)
        if self.with_theirs:
            # Awake, and back at what it was about.
            time.sleep(2)
            pid, begun = self.theirs.pid(), time.monotonic()
            os.kill(pid, signal.SIGTERM)
            theirs.append(self.watch(row, pid, begun))
        cluster.renew()

    def turns_in_replay(self, row, times):
        """Those of ours."""
        if row != "replay-no-mon":
            for _ in range(self.ours_runs):
                client = self.ours.waiting()
                times.append(self.ours.term())
                client.close()
            return
        # Ours cannot come so far without a monitor: so all of them come first.
        crowd = self.crowd()
        clients = [one.waiting() for one in crowd]
        self.cluster.script("kill", "mon.a")
        times.extend(one.term() for one in crowd)
        for client in clients:
            client.close()

    def crowd(self):
        return [self.ours.another(n) for n in range(self.ours_runs)]

    def last(self, row):
        """OSD and monitor are told to end, and then the two MDS: a crowd of ours, since a cluster takes long to start."""
        cluster, (theirs, ours) = self.cluster, self.times[row]
        if self.with_theirs:
            self.theirs.active()
        crowd = self.crowd()
        for one in crowd:
            one.active()
        for name in ("osd.0", "mon.a"):
            if term(cluster.pid(name), 30) is None:
                cluster.script("kill", name)
        if self.with_theirs:
            theirs.append(term(self.theirs.pid(), self.options.cap))
        ours.extend(one.term() for one in crowd)
        cluster.renew()

    def watch(self, row, pid, begun):
        """What becomes of a ceph-mds that was told to stop: seconds until its end, None, or when it was active again."""
        cluster, returned = self.cluster, False
        fd = os.pidfd_open(pid)
        try:
            while time.monotonic() - begun < self.options.cap:
                if select.select([fd], [], [], 0.05)[0]:
                    return time.monotonic() - begun
                if row == "returns" and not returned and time.monotonic() - begun > 10:
                    cluster.script("begin", "osd.0")
                    returned = True
                if returned and any(info["state"] == "up:active" for info in cluster.state()):
                    return ("lost", time.monotonic() - begun)
            return None
        finally:
            os.close(fd)

    def run(self, row):
        their_times, our_times = self.times[row]
        if row in ("replay-frozen", "replay-killed", "replay-no-mon", "returns"):
            return self.replay(row)
        if row == "last":
            return self.last(row)
        if self.with_theirs:
            self.run_theirs(row, their_times)
        self.turns(row, our_times)

    def turns(self, row, times):
        """Those of ours."""
        for _ in range(self.ours_runs):
            self.run_ours(row, times)

    def run_theirs(self, row, times):
        cluster, theirs, cap = self.cluster, self.theirs, self.options.cap
        started = theirs.active()
        if row == "start":
            times.append(started)
        elif row == "healthy":
            # Its client has just gone.
            time.sleep(1)
            times.append(term(theirs.pid(), cap))
        elif row == "restart":
            time.sleep(1)
            begun = time.monotonic()
            if term(theirs.pid(), cap) is None:
                theirs.end()
            theirs.begin()
            times.append(theirs.read(begun))
        elif row == "kill":
            time.sleep(1)
            begun = time.monotonic()
            theirs.end()
            theirs.begin()
            times.append(theirs.read(begun))
        elif row == "admin":
            cluster.script("freeze", "osd.0")
            command = ["ceph", "--conf", cluster.conf, "daemon", f"{cluster.dir}/run/mds.a.asok", "flush", "journal"]
            waits = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(2)
            times.append(term(theirs.pid(), cap))
            waits.kill()
            waits.wait()
            cluster.renew()
        theirs.end()

    def run_ours(self, row, times):
        cluster, ours = self.cluster, self.ours
        started = ours.active()
        if row == "start":
            times.append(started)
            ours.term()
        elif row == "healthy":
            times.append(ours.term())
        elif row == "restart":
            begun = time.monotonic()
            ours.term()
            ours.active()
            times.append(time.monotonic() - begun)
            ours.term()
        elif row == "kill":
            begun = time.monotonic()
            ours.kill()
            ours.active()
            times.append(time.monotonic() - begun)
            ours.term()
        elif row == "admin":
            cluster.script("freeze", "osd.0")
            command = ours.ask({"op": "flush"}, answer=False)
            command.settimeout(0.1)
            try:
                raise RuntimeError(f"the command should wait: {command.recv(100)}")
            except TimeoutError:
                pass
            times.append(ours.term())
            cluster.script("thaw", "osd.0")

    def all(self):
        rounds = max(1, self.options.theirs_runs)
        self.with_theirs = self.options.theirs_runs > 0
        for number in range(rounds):
            left = self.options.ours_runs
            self.ours_runs = left * (number + 1) // rounds - left * number // rounds
            for row in self.options.rows:
                if self.options.before:
                    subprocess.run(self.options.before, shell=True, check=True)
                begun = time.monotonic()
                self.run(row)
                print(f"round {number + 1} of {rounds}: {row}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    def table(self):
        cap, missed = self.options.cap, []
        print(f"Ceph {self.version}, one monitor, one OSD, loopback, {os.cpu_count()} cores; journal of {self.journal / 2**20:.1f} MiB; "
              f"{time.strftime('%Y-%m-%d', time.gmtime())}; load {os.getloadavg()[2]:.1f}")
        print("\n| what | ceph-mds, s: min / median / max | ours, ms: median / p99 / max | ours must be |\n|---|---|---|---|")
        for row in self.options.rows:
            what, bar = ROWS[row]
            theirs, ours = self.times[row]
            print(f"| {what} | {spread(theirs, cap)} | {ours_spread(ours)} | p99 < {bar} |")
            worst = percentile([1e9 if took is None else took for took in ours], 99) if ours else 0
            if worst * 1000 >= bar:
                missed.append(row)
        if deaths := self.ours.deaths:
            print(f"\nOurs by SIGKILL, to its end, ms: {ours_spread(deaths)}. So much of each stop is the machine's.")
        if self.theirs.given_up:
            print(f"\nClients of ceph-mds that were not heard and given up: {self.theirs.given_up}; their time is in its figures.")
        if self.theirs.lost:
            print(f"\nStarts of ceph-mds that came to nothing, and were made again: {self.theirs.lost}; their time is in its figures.")
        if missed:
            print(f"\nours has missed: {', '.join(missed)}")
        if self.ours.statuses:
            print(f"\nours has ended with another status than 0: {self.ours.statuses}")
        hung = any(took is None for _, ours in self.times.values() for took in ours)
        return 1 if hung or self.ours.statuses else 3 if missed else 0


def percentile(times, percent):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, -(-len(ordered) * percent // 100) - 1)]


def spread(times, cap):
    ended = [took for took in times if isinstance(took, float)]
    hung, lost = sum(took is None for took in times), [took[1] for took in times if isinstance(took, tuple)]
    parts = []
    if ended:
        parts.append(f"{min(ended):.1f} / {percentile(ended, 50):.1f} / {max(ended):.1f}, {len(ended)} of {len(times)}")
    if hung:
        parts.append(f"**> {cap} s (cap), {hung} of {len(times)}**")
    if lost:
        parts.append(f"**stop lost, active again after {min(lost):.0f} to {max(lost):.0f} s, {len(lost)} of {len(times)}**")
    return "; ".join(parts) or "–"


def ours_spread(times):
    ended = [took * 1000 for took in times if took is not None]
    hung = len(times) - len(ended)
    text = f"{percentile(ended, 50):.1f} / {percentile(ended, 99):.1f} / {max(ended):.1f}, {len(ended)} runs" if ended else "–"
    return text + (f"; **hung, {hung} of {len(times)}**" if hung else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ours", required=True, help="the program mds-rados")
    parser.add_argument("--theirs-runs", type=int, default=5)
    parser.add_argument("--ours-runs", type=int, default=50)
    parser.add_argument("--cap", type=int, default=60, help="seconds that a stop of ceph-mds is waited for")
    parser.add_argument("--before", metavar="COMMAND", help="run before each row: to wait until the machine is quiet, say")
    parser.add_argument("--journal", type=float, default=16, help="MiB")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="all, if none is named")
    options = parser.parse_args()
    options.rows = options.rows or list(ROWS)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    # So that what was started is ended then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="unwedge-compare") as folder:
        comparison = None
        try:
            comparison = Comparison(options, folder)
            comparison.all()
            status = comparison.table()
        finally:
            for child in Ours.children:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            if os.path.exists(os.path.join(folder, "cluster")):
                subprocess.run([f"{HERE}/cluster.sh", "destroy", os.path.join(folder, "cluster")])
    sys.exit(status)


if __name__ == "__main__":
    main()
