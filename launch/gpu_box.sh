#!/usr/bin/env bash
# Runs one training on the GPUs of this machine, in one process.
#
# Example, from the root of a checkout installed with `pip install -e '.[cuda]'`:
#
#     launch/gpu_box.sh --gpus 0,1 --config configs/camvid_fcn8s.py:full \
#       --config.data.root=CamVid --workdir runs/camvid
#
# Without --gpus it uses all GPUs. The other arguments are those of `python -m jaxseg train`.
# train.batch_size must be a multiple of the number of GPUs; the batch is split over them.
# With --dry-run as the first argument, it prints the command and starts nothing.
#
# After one Ctrl-C or SIGTERM, the run saves and exits with code 75. The same command resumes it.
set -euo pipefail

dry_run=
if [[ ${1:-} == --dry-run ]]; then
  dry_run=1
  shift
fi
# Without a GPU the run fails; otherwise it would silently use the CPU.
settings=(JAX_PLATFORMS=cuda)
if [[ ${1:-} == --gpus ]]; then
  settings+=("CUDA_VISIBLE_DEVICES=${2:?--gpus wants numbers, such as 0,1}")
  shift 2
fi
if (($# == 0)); then
  echo "usage: launch/gpu_box.sh [--dry-run] [--gpus N,N...] --config PATH [WORD...]" >&2
  exit 2
fi

command=(env "${settings[@]}" "${PYTHON:-python}" -m jaxseg train "$@")
if [[ -n $dry_run ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit 0
fi
exec "${command[@]}"
