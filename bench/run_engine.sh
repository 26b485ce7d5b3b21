#!/usr/bin/env bash
# The engine under load, every figure of docs/performance.md, "The engine under load":
#     bench/run_engine.sh [cuda|cpu] [build/release/bench]
# cuda: 8B on one card (6 minutes on an H100); cpu: 0.6B, eight sequences against one, and the scheduler's own time.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
bench=${2:-build/release/bench}

date -u +"%Y-%m-%d %H:%M UTC"
run() { echo; echo "\$ bench_engine $*"; "$bench/bench_engine" "$@"; }
if [ "$device" = cuda ]; then
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  # A batch: prompts get whole steps, and as many sequences run as a large card takes.
  batch=(--device cuda --max-seqs 1024 --mixed-chunk 2048)
  trace=(--trace bench/traces/chat-1000.txt)
  run random:8b offline "${batch[@]}" --prompts 192 --prompt-len 1024 --gen-len 1024
  run random:8b offline "${batch[@]}" "${trace[@]}"
  run random:8b offline "${batch[@]}" "${trace[@]}" --dtype fp8
  run random:8b offline "${batch[@]}" "${trace[@]}" --dtype int4
  run random:8b arrivals --device cuda
  run random:8b prefix --device cuda
else
  nproc
  for sequences in 1 8; do
    run random:0.6b offline --device cpu --threads 2 --max-seqs $sequences --prompts $sequences --prompt-len 32 --gen-len 64
  done
  echo
  "$bench/bench_scheduler"
fi
