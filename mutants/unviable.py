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
            before = lines[max(span["line_start"] - NEAR, 0) : span["line_start"]]
            numbers = [number for line in before for pair in NUMBER.findall(line) for number in pair if number]
            if not numbers:
                sys.exit(f"no mutant is near {span['file_name']}:{span['line_start']}: {message['message']['message']}")
            unviable.add(int(numbers[-1]))
    if checked.returncode != 0 and not unviable:
        sys.exit("it does not compile, and no mutant is the reason")
    print(*sorted(unviable), sep="\n")


main()
