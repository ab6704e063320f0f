#!/usr/bin/env python3
"""Runs test binaries against the mutants of a build: see README.md.

    run.py LIST.json NUMBERS.txt RESULTS.txt [--within SECONDS] [--trusted] BINARY [ARGUMENT …] [-- BINARY [ARGUMENT …]] …

NUMBERS.txt has the numbers of the mutants that are compiled in. RESULTS.txt gets a line for each: `caught`, `hung` (no test ended for SECONDS, 20 unless said otherwise) or `missed`, the
mutant's name, and the test that caught it; mutants that it has already are not run again. The binaries are run in their order until one fails.
They must pass without a mutant, which is looked at first, unless it says --trusted.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time


def runs(command, number, within):
    """How a binary's tests end: None if all passed."""
    environment = dict(os.environ, UNWEDGE_MUTANT=str(number), RUST_BACKTRACE="0")
    child = subprocess.Popen(
        [*command, "--test-threads", "4"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    seen, text, last = selectors.DefaultSelector(), "", time.monotonic()
    seen.register(child.stdout, selectors.EVENT_READ)
    try:
        while True:
            if not seen.select(timeout=max(0.0, last + within - time.monotonic())):
                return "hung", "nothing ended"
            read = os.read(child.stdout.fileno(), 65536).decode(errors="replace")
            if not read:
                break
            text, last = text + read, time.monotonic()
            if failed := re.search(r"^test (\S+)[^\n]* \.\.\. FAILED", text, re.M):
                return "caught", failed[1]
        if child.wait(timeout=within) != 0:
            return "caught", f"status {child.returncode}"
        return None
    except subprocess.TimeoutExpired:
        return "hung", "at its end"
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        child.stdout.close()


def main():
    listed, numbers, results, *rest = sys.argv[1:]
    within, trusted = 20.0, False
    if rest[0] == "--within":
        within, rest = float(rest[1]), rest[2:]
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
            result = None
            for command in commands:
                if result := runs(command, number, within):
                    break
            how, what = result or ("missed", "")
            out.write(f"{how}\t{name}\t{what}\n")


main()
