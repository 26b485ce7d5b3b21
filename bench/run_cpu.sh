#!/usr/bin/env bash
# The CPU figures of the README: machine, date, commit, then `qwill bench` for each size on each path of this machine.
# usage: bench/run_cpu.sh [PROGRAM]    THREADS (2), SIZES ("0.6b"), PATHS (all that the machine has)
set -euo pipefail
program=${1:-build/release/qwill}
threads=${THREADS:-2}

echo "date      $(date -u +%Y-%m-%dT%H:%MZ)"
echo "machine   $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors, $threads threads used"
echo "memory    $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
for size in ${SIZES:-0.6b}; do
  for path in ${PATHS:-amx avx512-bf16 avx512 avx2}; do
    "$program" bench "random:$size" --threads "$threads" --cpu-path "$path" --prompt-len 16 --gen-len 1 >/dev/null 2>&1 || continue
    echo
    echo "qwill bench random:$size --threads $threads --cpu-path $path"
    "$program" bench "random:$size" --threads "$threads" --cpu-path "$path"
  done
done
