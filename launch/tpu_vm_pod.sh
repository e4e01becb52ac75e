#!/usr/bin/env bash
# Runs one training on all hosts of a TPU VM pod, with one process per host.
#
# Examples, from the root of a checkout, with the pod's name and zone (`gcloud` must be set up, and
# /mnt/runs must be a disk mounted on all hosts, such as Filestore):
#
#     launch/tpu_vm_pod.sh my-pod us-central2-b install
#     launch/tpu_vm_pod.sh my-pod us-central2-b start --config configs/pspnet_ade20k.py \
#       --config.data.root=/mnt/ADE20K --workdir /mnt/runs/pspnet
#     launch/tpu_vm_pod.sh my-pod us-central2-b log      # follows the log of the first host
#     launch/tpu_vm_pod.sh my-pod us-central2-b stop     # saves; the same start resumes
#
# `install` copies the last commit of this checkout to every host and installs it with jax[tpu], in
# an environment with Python 3.12 created by uv: images of TPU VMs may have an older Python.
# A host without its TPU fails (JAX_PLATFORMS=tpu); otherwise it would train on its CPU.
# $JAX_COMPILATION_CACHE_DIR, such as gs://BUCKET/compiled, is passed on, so that hosts share
# compiled programs.
# The arguments after `start` are those of `python -m jaxseg train`. With --dry-run as the first
# argument, it prints the commands and starts nothing.
set -euo pipefail

dry_run=
if [[ ${1:-} == --dry-run ]]; then
  dry_run=1
  shift
fi
if (($# < 3)); then
  echo "usage: launch/tpu_vm_pod.sh [--dry-run] POD ZONE install|start|log|stop [WORD...]" >&2
  exit 2
fi
pod=$1 zone=$2 verb=$3
shift 3

run() {
  if [[ -n $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}
on() { # on WORKERS COMMAND
  run gcloud compute tpus tpu-vm ssh "$pod" --zone="$zone" --worker="$1" --command="$2"
}

case $verb in
  install)
    archive=${TMPDIR:-/tmp}/jaxseg.tar.gz
    run git archive --format=tar.gz --output="$archive" HEAD
    run gcloud compute tpus tpu-vm scp "$archive" "$pod:" --zone="$zone" --worker=all
    on all "mkdir -p jaxseg && tar -xzf jaxseg.tar.gz -C jaxseg && cd jaxseg && \
      python3 -m pip install --quiet --user uv && \
      python3 -m uv venv --quiet --allow-existing --python 3.12 venv && \
      python3 -m uv pip install --quiet --python venv/bin/python -e '.[tpu]'"
    ;;
  start)
    if (($# == 0)); then
      echo "start needs the options of \`python -m jaxseg train\`, beginning with --config and --workdir" >&2
      exit 2
    fi
    words=$(printf '%q ' "$@")
    settings="JAX_PLATFORMS=tpu"
    if [[ -n ${JAX_COMPILATION_CACHE_DIR:-} ]]; then
      settings+=" JAX_COMPILATION_CACHE_DIR=$(printf '%q' "$JAX_COMPILATION_CACHE_DIR")"
    fi
    # The process outlives the connection. `stop` uses its saved ID.
    on all "cd jaxseg && { $settings nohup venv/bin/python -m jaxseg train --distributed $words \
      >run.log 2>&1 </dev/null & echo \$! >run.pid; }"
    ;;
  log) on 0 "tail -n 100 -F jaxseg/run.log" ;;
  stop) on 0 "kill -TERM \$(cat jaxseg/run.pid)" ;; # JAX forwards the signal to the other hosts
  *)
    echo "there is no command '$verb': install, start, log or stop" >&2
    exit 2
    ;;
esac
