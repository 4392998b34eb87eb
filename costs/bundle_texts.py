"""The texts in a bundle: what to do with it, and the script that does it."""

README = """\
Kernels of the model {model} for {target}, to be timed on that board.

    ./run.sh > results.json

needs a shell with cat and echo, about {memory} MiB of free memory{driver}, and no other programs that take
the {chip}'s time. It runs {parts} programs {rounds} times each{thread}, and tells its progress on stderr.
{advice}

Bring results.json back to the machine that made this bundle, and there, with the same model:

    secateur profile MODEL --target {target} --results results.json --board "WHAT IT IS" -o {target}.json
    secateur compile MODEL --target {target} --costs {target}.json
"""

ON_PROCESSORS = {
    "driver": "",
    "chip": "processor",
    "thread": ", on one thread",
    "advice": """\
Give the board a fixed clock if you can (the governor `performance`), and cooling. On a board whose cores
differ, pin the programs to one that the network will run on:

    RUN="taskset -c 3" ./run.sh > results.json""",
}

ON_GPUS = {
    "driver": " beside\nwhat the GPU's driver takes, that driver (libcuda.so.1) and libc",
    "chip": "GPU",
    "thread": "",
    "advice": """\
The driver compiles each program's kernels when it first starts, which takes a while. Fix the clocks, and
give the board cooling: on a Jetson

    sudo nvpmodel -m 0 && sudo jetson_clocks

elsewhere `nvidia-smi --lock-gpu-clocks`.""",
}

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
        ${{RUN:-}} "./$part" --json --iterations 1 --warmup {warmup}
    done
    round=$((round + 1))
done
echo '{{"end": true}}'
"""
