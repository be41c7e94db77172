#!/bin/sh
# Everything there is to check on a machine with an NVIDIA GPU: `npm run test:cuda`, or this file where there is no Node.
#   test-cuda.sh [--prebuilt FOLDER] [--quick]
# Builds the CUDA plugin, its tests and its benchmark for the GPU that is there (into build/cuda-device), or takes them
# from FOLDER; runs the tests on the device, small ones under compute-sanitizer, and the benchmark beside PyTorch where
# python3 has it. --quick leaves out the sanitizer and the large shapes. Prints the device's name. A last line sums up; the
# status is that of the tests.
set -u
cd "$(dirname "$0")/.."
build=build/cuda-device
prebuilt=
quick=
while [ $# -gt 0 ]; do
  case $1 in
    --prebuilt) prebuilt=$2; shift ;;
    --quick) quick=1 ;;
    *) echo "unknown option $1"; exit 2 ;;
  esac
  shift
done

if ! command -v nvidia-smi > /dev/null || ! nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; then
  echo "SKIPPED: this machine has no NVIDIA GPU that works (nvidia-smi)"
  exit 0
fi

if [ -n "$prebuilt" ] && "$prebuilt/cuda_device_test" --gtest_list_tests > /dev/null; then
  tests=$prebuilt bench=$prebuilt
else
  command -v nvcc > /dev/null || { echo "FAILED: nvcc is not on the PATH"; exit 1; }
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  cmake --preset cuda -DMOE_CUDA_ARCHITECTURES="$capability-real" > $build.log 2>&1 &&
    cmake --build $build -j "$(nproc)" --target cuda_device_test cuda_bench >> $build.log 2>&1 ||
    { tail -n 30 $build.log; echo "FAILED: the build ($build.log)"; exit 1; }
  tests=$build/test/native/cuda bench=$build/bench/native
fi

status=0
step() {
  echo
  echo "== $1"
  shift
  "$@" || { status=1; echo "== FAILED"; }
}
step "layers on the device" "$tests/cuda_device_test" --gtest_brief=1
shapes=bench-small,olmoe-1b-7b,qwen3-30b-a3b,mixtral-8x7b
[ -z "$quick" ] || shapes=bench-small
step "benchmark" "$bench/cuda_bench" --shapes $shapes
[ -n "$quick" ] || step "benchmark of weight types" "$bench/cuda_bench" --shapes bench-small \
  --types float32,float16,int8,int4 --tokens 1,32,512,8192
echo
echo "== the same layers in PyTorch"
python3 bench/peers/torch_moe.py --shapes $shapes || echo "no comparison"
if [ -z "$quick" ] && command -v compute-sanitizer > /dev/null; then
  small='CudaForward.MatchesTheReferenceWithASharedExpert:CudaForward.RepeatsBitForBit:CudaForward.RunsAnEmptyBatch:CudaRoute.*:CudaPlan.Takes*'
  for tool in memcheck racecheck synccheck; do
    step "compute-sanitizer $tool" timeout 60 compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 5 \
      "$tests/cuda_device_test" --gtest_brief=1 --gtest_filter="$small"
  done
fi

echo
[ $status = 0 ] && echo "PASSED: everything on the device" || echo "FAILED: see above"
exit $status
