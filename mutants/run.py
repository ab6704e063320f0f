#!/usr/bin/env python3
"""Runs test binaries against the mutants of a build: see README.md.

    run.py LIST.json NUMBERS.txt RESULTS.txt [--within SECONDS] [--for SECONDS] [--trusted] BINARY [ARGUMENT …] [-- BINARY [ARGUMENT …]] …

NUMBERS.txt has the numbers of the mutants that are compiled in. RESULTS.txt gets a line for each: `caught`, `hung` (no test ended while all its threads slept for SECONDS, or used that much CPU: 10 unless said otherwise) or `missed`, the
mutant's name, and the test that caught it; mutants that it has already are not run again. The binaries are run in their order until one fails.
They must pass without a mutant, which is looked at first, unless it says --trusted. After --for SECONDS no further mutant is begun (status 3: some are left).
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time

# How often it is looked whether a process sleeps, in seconds.
LOOK = 0.5


def spent(pid):
    """How much CPU a process has used, in seconds, and whether all its threads sleep."""
    ticks, asleep = 0, True
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            fields = open(f"/proc/{pid}/task/{task}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        asleep &= fields[0] == "S"
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), asleep


def runs(command, number, within):
    """How a binary's tests end: None if all passed."""
    environment = dict(os.environ, UNWEDGE_MUTANT=str(number), RUST_BACKTRACE="0")
    child = subprocess.Popen(
        [*command, "--test-threads", "4"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        process_group=0,
    )
    text, used_before, quiet = "", 0.0, 0.0
    try:
        while True:
            # A machine that is busy with other things makes nobody late: what counts is sleep and CPU, since a test has ended.
            readable, _, _ = select.select([child.stdout], [], [], LOOK)
            if not readable:
                used, asleep = spent(child.pid)
                quiet = quiet + LOOK if asleep else 0.0
                if quiet >= within or used - used_before >= within:
                    return "hung", "all of it sleeps" if asleep else "it runs on"
                continue
            read = os.read(child.stdout.fileno(), 65536).decode(errors="replace")
            if not read:
                break
            text, quiet, used_before = text + read, 0.0, spent(child.pid)[0]
            if failed := re.search(r"^test (\S+)[^\n]* \.\.\. FAILED", text, re.M):
                return "caught", failed[1]
        if child.wait(timeout=600) != 0:
            return "caught", f"status {child.returncode}"
        return None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        child.stdout.close()


def main():
    listed, numbers, results, *rest = sys.argv[1:]
    within, until, trusted = 10.0, float("inf"), False
    if rest[0] == "--within":
        within, rest = float(rest[1]), rest[2:]
    if rest[0] == "--for":
        until, rest = time.monotonic() + float(rest[1]), rest[2:]
    if rest[0] == "--trusted":
        trusted, rest = True, rest[1:]
    commands = [[]]
    for word in rest:
        commands.append([]) if word == "--" else commands[-1].append(word)
    mutants = json.load(open(listed))
    known = set()
    if os.path.exists(results):
        known = {line.split("\t")[1] for line in open(results)}
    if trusted:
        print("not looking whether the tests pass without a mutant")
    else:
        assert all(runs(command, 0, 600) is None for command in commands), "the tests fail without a mutant"
    with open(results, "a", buffering=1) as out:
        for number in map(int, open(numbers).read().split()):
            name = mutants[number - 1]["name"]
            if name in known:
                continue
            if time.monotonic() > until:
                sys.exit(3)
            result = None
            for command in commands:
                if result := runs(command, number, within):
                    break
            how, what = result or ("missed", "")
            out.write(f"{how}\t{name}\t{what}\n")


main()
