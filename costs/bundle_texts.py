"""The texts in a bundle: what to do with it, and the script that does it."""

README = """\
Kernels of the model {model} for {target}, to be timed on that board.

    ./run.sh > results.json

needs a shell with cat and echo, about {memory} MiB of free memory, and no other programs that take the
processor's time. It runs {parts} programs {rounds} times each, on one thread, and tells its progress on
stderr. Give the board a fixed clock if you can (the governor `performance`), and cooling. On a board whose
cores differ, pin the programs to one that the network will run on:

    RUN="taskset -c 3" ./run.sh > results.json

Bring results.json back to the machine that made this bundle, and there, with the same model:

    secateur profile MODEL --target {target} --results results.json --board "WHAT IT IS" -o {target}.json
    secateur compile MODEL --target {target} --costs {target}.json
"""

SCRIPT = """\
#!/bin/sh
# Times every kernel of this bundle: results on stdout, progress on stderr. RUN may name a command that runs
# the programs, such as "taskset -c 3".
set -eu
cd "$(dirname "$0")"
cat header.json
round=1
while [ "$round" -le {rounds} ]; do
    for part in part-*; do
        echo "round $round of {rounds}: $part of {parts}" >&2
        ${{RUN:-}} "./$part" --json --iterations 1 --warmup 0
    done
    round=$((round + 1))
done
echo '{{"end": true}}'
"""
