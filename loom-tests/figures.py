#!/usr/bin/env python3
"""Runs every model, twin and shuttle body once, and writes what was seen into the tables of README.md.

    loom-tests/figures.py            runs them, and writes
    loom-tests/figures.py --check    runs them, and says which executions differ (seconds are no part of that)

The table of the models and that of the twins are made anew; those of the catalogue and of shuttle keep their words and get their figures. A model that no table
has, and a row whose model did not run, are errors.
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
README = HERE / "README.md"

MODEL = re.compile(r"^(?:test .* \.\.\. )?model (\w+) law (.+) bound (\w+) executions (\d+) seconds ([\d.]+|-)$", re.M)
TWIN = re.compile(r"^(?:test .* \.\.\. )?twin (\w+) fails with (.*)$", re.M)
SHUTTLE = re.compile(r"^(?:test .* \.\.\. )?shuttle (\w+) law (.+) seed \d+ schedules (\d+) seconds ([\d.]+)$", re.M)
# A twin that looks at itself from outside, and prints no line.
SILENT = ("checker", "twin_that_hangs_says_who_waits", "deadlock, and its error output names who waits for what")
TOOK = re.compile(r"finished in ([\d.]+)s")


def run(package, test):
    """What a test target prints, and how long its tests took."""
    command = ["cargo", "test", "-p", package, "--test", test, "--", "--nocapture"]
    print("runs", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout[-4000:] + done.stderr[-4000:])
    return done.stdout, float(TOOK.findall(done.stdout)[-1])


def file_of(name):
    """The file of the models in which a name stands."""
    for path in sorted((HERE / "tests" / "models").rglob("*.rs")):
        if re.search(rf'(fn {name}\b|"{name}"|model {name} |twin!\({name},)', path.read_text()):
            return path.relative_to(HERE / "tests" / "models").with_suffix("").as_posix()
    sys.exit(f"no file of the models has {name}")


def failure(text):
    """A failure, in the words of the tables."""
    if said := re.fullmatch(r'Panic\("(.*)"\)', text):
        return f"panic: “{said[1]}”"
    kind, _, who = text.partition(": ")
    return {"Deadlock": "deadlock", "LostWakeUp": "lost wake-up"}[kind] + (f": {who}" if who else "")


def rows_of_models(output):
    seen = sorted((file_of(m[0]), *m) for m in MODEL.findall(output))
    return [
        f"| `{file}`: {name} | {law} | {bound} | {int(executions):,} | {seconds} |"
        for file, name, law, bound, executions, seconds in seen
    ]


def rows_of_twins(output):
    printed = (twin for twin in TWIN.findall(output) if not twin[0].startswith("mutant_"))
    seen = sorted([SILENT, *((file_of(name), name, failure(how)) for name, how in printed)])
    return [f"| `{file}`: {name} | {how} |" for file, name, how in seen]


def replace_table(text, header, rows):
    """Puts these rows under a table's header."""
    head, rule, rest = re.split(rf"(^{re.escape(header)}\n\|[-|]+\|\n)", text, maxsplit=1, flags=re.M)
    after = re.sub(r"\A(\|.*\n)*", "", rest)
    return head + rule + "".join(row + "\n" for row in rows) + after


def with_figures_of_the_catalogue(text, output):
    models = {name: (bound, f"{int(n):,}") for name, _, bound, n, _ in MODEL.findall(output)}

    def figures(row):
        cells = row[0].split(" | ")
        names = re.findall(r"`([cx]\d+_\w+)`", cells[3])
        if names:
            found = [models.pop(name) for name in names]
            cells[4], cells[5] = ("<br>".join(column) for column in zip(*found))
        return " | ".join(cells)

    text = re.sub(r"^\| (?:\d+|x\d) \| .* \| .* \| .* \| .* \| .* \| .* \|$", figures, text, flags=re.M)
    if models:
        sys.exit(f"the catalogue's table does not have {', '.join(models)}")
    return text


def with_figures_of_shuttle(text, output):
    # (The models of the example and of librados's operations run there too, and have their rows in the table of the models.)
    seen = (row for row in SHUTTLE.findall(output) if not row[0].startswith(("mds_", "rados_")))
    for name, law, schedules, seconds in seen:
        row = rf"^\| {name} \| .* \| (\d+) \| .* \| .* \|$"
        text, found = re.subn(row, rf"| {name} | {law} | \1 | {int(schedules):,} | {seconds} |", text, flags=re.M)
        if found != 1:
            sys.exit(f"shuttle's table does not have {name}")
    return text


def main():
    models, took = run("unwedge-loom", "models")
    catalogue, catalogue_took = run("unwedge-loom", "catalogue")
    shuttle, shuttle_took = run("unwedge-shuttle", "many")
    before = README.read_text()
    text = replace_table(before, "| model | law | bound | executions | seconds |", rows_of_models(models))
    text = replace_table(text, "| twin | fails with |", rows_of_twins(models))
    text = with_figures_of_the_catalogue(text, catalogue)
    text = with_figures_of_shuttle(text, shuttle)
    text, found = re.subn(
        r"One run of `models` took\s+\d+ s, one of `catalogue` \d+ s(, one of shuttle's \d+ s)?\.",
        f"One run of `models` took\n{took:.0f} s, one of `catalogue` {catalogue_took:.0f} s, one of shuttle's {shuttle_took:.0f} s.",
        text,
    )
    if found != 1:
        sys.exit("README.md does not say how long a run takes")
    if "--check" in sys.argv:
        executions = lambda text: set(re.findall(r"^(\| `?\w+`?: \w+ \| .* \| .* \| [\d,]+) \|", text, re.M))
        for row in sorted(executions(before) ^ executions(text)):
            print("differs:", row)
        sys.exit(executions(before) != executions(text))
    README.write_text(text)


main()
