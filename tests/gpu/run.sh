#!/usr/bin/env bash
# Everything that is checked on a GPU, in one call: `./dev gpu-test`, or this script beside built programs.
#
#   tests/gpu/run.sh [--bin build/release] [--models .deps/models] [--ocr .deps/ocr] [--out FOLDER] [--parts LIST]
#                    [--networks LIST] [--tools LIST] [--shards N] [--limit SECONDS]
#
# Parts, in this order (a comma between; all by default):
#   device     streams, events, pools, recordings, a dying device; engines: recorded = launched bit by bit, contexts at
#              once on their own streams, hazards, 1,000 loads with flat memory, out of memory, foreign plan, dead device
#   ops        every line of tests/ops on every CUDA tactic, against the reference
#   models     networks in fp32 and fp16 against the CPU, recorded = launched, hazard checker (tests/gpu/models.py)
#   sanitizer  compute-sanitizer memcheck, racecheck, initcheck, synccheck (--tools) over one line of tests/ops in N
#              (--shards, 12 by default; 1: all) and over one inference of a small network
# One line each: passed or FAILED, seconds, counts; exit code 124 of a part: not done within --limit (half an hour by
# default). Logs go to --out. Exit code: how many parts failed; 99 where there is no GPU.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$root/build/release models=$root/.deps/models ocr=$root/.deps/ocr out='' parts=device,ops,models,sanitizer
networks='' tools=memcheck,racecheck,initcheck,synccheck shards=12 limit=1800
while [ $# -gt 0 ]; do
  case $1 in
    --bin | --models | --ocr | --out | --parts | --networks | --shards | --limit | --tools)
      [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 98; }
      printf -v "${1#--}" %s "$2"; shift 2 ;;
    *) echo "unknown argument '$1'; the head of this file explains them" >&2; exit 98 ;;
  esac
done
out=${out:-$(mktemp -d)}
mkdir -p "$out"
cli=$bin/headrace
python=$root/.deps/venv/bin/python; [ -x "$python" ] || python=python3
filter='Gpu*.*:*/cuda_*:*/checked_cuda_*'
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || { echo "no GPU: nothing was run" >&2; exit 99; }
failed=0

# part NAME COMMAND...: runs it with its output in a log, and tells in one line how it went.
part() {
  local name=$1 begin=$SECONDS code; shift
  timeout "$limit" "$@" >"$out/$name.log" 2>&1; code=$?
  grep -q '^\[  PASSED  \] 0 tests' "$out/$name.log" && [ $code = 0 ] && code=97  # all were skipped
  local counts; counts=$(grep -aE '^\[  (PASSED|SKIPPED) +\] [0-9]+ test|^\[  FAILED  \] [0-9]+ test|^models:|ERROR SUMMARY|RACECHECK SUMMARY' "$out/$name.log" |
    sed -E 's/^\[ +| +\]//g; s/=+ //' | sort -u | head -4 | paste -sd';')
  [ $code = 0 ] && printf 'passed  %-24s %4d s  %s\n' "$name" $((SECONDS - begin)) "$counts"
  [ $code = 0 ] && return
  failed=$((failed + 1))
  [ $code -gt 128 ] && counts="it crashed in $(grep -a '^\[ RUN' "$out/$name.log" | tail -n 1); $counts"
  printf 'FAILED  %-24s %4d s  exit code %d; %s; log: %s\n' "$name" $((SECONDS - begin)) $code "$counts" "$out/$name.log"
  grep -aE '^\[  FAILED  \] [^0-9]|Failure|========= (Invalid|Error|Uninit|Race|Barrier|Program hit|Internal)|error \(|^  .*(above|not launched|hazard)' \
    "$out/$name.log" | sort -u | head -12 | sed 's/^/          /'
}

# tests FOLDER: the tests of that folder that need a GPU.
tests() { part "$1" "$bin/headrace_tests_$1" --gtest_filter="$filter"; }

sanitize() {
  local tool index=0
  command -v compute-sanitizer >/dev/null || PATH=$PATH:/usr/local/cuda/bin
  command -v compute-sanitizer >/dev/null || { echo "not run  sanitizer: compute-sanitizer is not installed"; return; }
  local work=$out/sanitizer; mkdir -p "$work"
  local precision
  for precision in fp16 fp32; do
    "$cli" build "$models/mobilenet_v2.onnx" -o "$work/$precision.plan" --device cuda:0 --opt-level 0 \
      --precision $precision --profile '*=1:1:1' >"$work/build.log" 2>&1 ||
      { echo "FAILED  sanitizer: no plan; log: $work/build.log"; failed=$((failed + 1)); return; }
  done
  for tool in ${tools//,/ }; do
    local check=(compute-sanitizer --tool "$tool" --error-exitcode 42 --print-limit 20 --launch-timeout 120)
    precision=fp16
    # racecheck does not follow the barriers of cuBLASLt's nvjet kernels; initcheck does not see the bulk stores of
    # vendors' f16 kernels, and takes what they wrote for uninitialised.
    [ "$tool" = racecheck ] && check+=(--kernel-name-exclude kns=nvjet)
    [ "$tool" = initcheck ] && precision=fp32
    part "$tool-network" "${check[@]}" "$cli" run "$work/$precision.plan" --seed 1 --recordings 0
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$((index % shards)) part "$tool-ops" "${check[@]}" \
      "$bin/headrace_tests_ops" --gtest_filter="$filter"
    index=$((index + 1))
  done
}

for name in ${parts//,/ }; do
  case $name in
    device | ops) tests "$name" ;;
    models) part models "$python" "$root/tests/gpu/models.py" --cli "$cli" --models "$models" --ocr "$ocr" ${networks//,/ } ;;
    sanitizer) sanitize ;;
    *) echo "unknown part '$name'" >&2; exit 98 ;;
  esac
done
[ $failed = 0 ] && echo "all passed; logs: $out" || echo "$failed failed; logs: $out"
exit $failed
