#!/usr/bin/env bash
# One run on the GPUs of this machine, in one process, which works all of them.
#
# Copy this, from the root of a checkout installed with `pip install -e '.[cuda]'`:
#
#     launch/gpu_box.sh --gpus 0,1 --config configs/camvid_fcn8s.py:full \
#       --config.data.root=CamVid --workdir runs/camvid
#
# Without --gpus it takes all. The other words are those of `python -m jaxseg train`.
# train.batch_size has to be a multiple of the number of GPUs; it is split over them.
# --dry-run as the first word prints the command and starts nothing.
#
# Ctrl-C or SIGTERM once: the run saves and ends with code 75. The same command goes on.
set -euo pipefail

dry_run=
if [[ ${1:-} == --dry-run ]]; then
  dry_run=1
  shift
fi
# What is not a GPU's is refused here, or the run would go on in silence on the CPU.
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
