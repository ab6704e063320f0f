#!/usr/bin/env python3
"""Compiles a copy of the sources with its mutants, and prints the numbers of those that do not compile: see README.md.

    unviable.py ROOT [ARGUMENT OF CARGO CHECK …]
"""

import json
import pathlib
import re
import subprocess
import sys

NUMBER = re.compile(r"(?:^|\s)(\d+)u32 =>|now\(\) [=!]= (\d+)u32")
# So many lines a mutant takes at most.
NEAR = 40
# The compiler's code for a `match` that lacks an arm.
NOT_EXHAUSTIVE = "E0004"
ARM = re.compile(r"now\(\) != (\d+)u32")


def missed_arms(lines):
    """The numbers of the arms of the `match` in the first line that are guarded so that they can be away."""
    margin = len(lines[0]) - len(lines[0].lstrip())
    for line in lines[1:]:
        if line.startswith(" " * margin + "}"):
            break
        yield from map(int, ARM.findall(line))


def main():
    root, *arguments = sys.argv[1:]
    command = ["cargo", "check", "--message-format", "json", *arguments]
    checked = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True)
    unviable = set()
    for message in map(json.loads, checked.stdout.splitlines()):
        if message.get("reason") != "compiler-message" or message["message"]["level"] != "error":
            continue
        for span in message["message"]["spans"]:
            if not span["is_primary"]:
                continue
            lines = (pathlib.Path(root) / span["file_name"]).read_text().split("\n")
            if (message["message"]["code"] or {}).get("code") == NOT_EXHAUSTIVE:
                unviable.update(missed_arms(lines[span["line_start"] - 1 :]))
                continue
            before = lines[max(span["line_start"] - NEAR, 0) : span["line_start"]]
            numbers = [number for line in before for pair in NUMBER.findall(line) for number in pair if number]
            if not numbers:
                sys.exit(f"no mutant is near {span['file_name']}:{span['line_start']}: {message['message']['message']}")
            unviable.add(int(numbers[-1]))
    if checked.returncode != 0 and not unviable:
        sys.exit("it does not compile, and no mutant is the reason")
    print(*sorted(unviable), sep="\n")


main()
