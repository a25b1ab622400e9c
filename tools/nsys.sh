#!/bin/sh
# Records a command with Nsight Systems: streams, copies, kernels, graph nodes, and headrace's own ranges.
#
#   tools/nsys.sh NAME COMMAND [ARGUMENT ...]      # writes reports/NAME.nsys-rep
#
# Ranges need a build with -DHEADRACE_NVTX=ON (docs/cli.md, "Profilers").
set -eu
if [ $# -lt 2 ]; then
  echo "usage: $0 NAME COMMAND [ARGUMENT ...]" >&2
  exit 2
fi
if ! command -v nsys > /dev/null; then
  echo "$0: there is no nsys: install Nsight Systems, or use \`headrace bench --trace FILE\`, which needs no profiler" >&2
  exit 5
fi
name=$1
shift
mkdir -p reports
exec nsys profile -w true -t cuda,nvtx,osrt,cudnn,cublas --cuda-memory-usage=true --cudabacktrace=all \
  --cuda-graph-trace=node --gpu-metrics-device=all -f true -o "reports/$name" "$@"
