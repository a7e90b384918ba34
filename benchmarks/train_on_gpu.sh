#!/usr/bin/env bash
# Train where a GPU is lent for a quarter of an hour and no network is there: pack here, train there, collect what to keep.
#
#   benchmarks/train_on_gpu.sh pack FACES STUDENT_START FOLDER      # STUDENT_START: a checkpoint, or "none"
#   benchmarks/train_on_gpu.sh train FOLDER OUT [STAGE ...]         # default: plain tough tolerant student
#   benchmarks/train_on_gpu.sh collect OUT KEPT                     # teachers as fp16, students, logs: at most 8 files
#
# FOLDER is at most 60 MB and holds all that the other machine may lack: the faces' crops, the weights that training begins
# at, pure Python packages. It needs Python 3.11 with torch, numpy, Pillow, OpenCV and safetensors. One process trains at a
# time: several share the GPU's time and gain nothing. A killed run, started again with the same command, goes on.
#
#   RECIPE=long256 SEED=0 DEVICE=cuda PRECISION=bf16 WORKERS=14     what is trained, and how
#   STEPS_plain=8000 STEPS_tough=…                                  fewer steps of a stage than the recipe's
#   WEBP=80                                                         quality of the packed crops
set -euo pipefail

here=$(realpath "$(dirname "$0")")
python=${PYTHON:-python3}
recipe=${RECIPE:-long256}
seed=${SEED:-0}
limit=$((60 * 1000 * 1000))

pack() {
  local faces=$1 start=$2 folder=$3
  export PYTHONPATH=$here/../src
  mkdir -p "$folder"
  "$python" -m lightmark data pack "$faces" --subset train --crops --webp "${WEBP:-80}" --out "$folder/faces"
  "$python" - "$folder" "$start" "$recipe" "$seed" <<'PYTHON'
"""The weights that each stage begins at, as fp16: ImageNet's for teachers, STUDENT_START for students."""
import sys
from pathlib import Path

import torch

from lightmark.cli.training import training_samples
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.network import architecture_from_dict, build_network
from lightmark.spec import ModelSpec
from lightmark.train.faces import mean_normalized_points
from lightmark.train.recipes import get_distillation

folder, start, recipe, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
tough = get_distillation(recipe, seed).tough
if tough.architecture.pretrained:
    samples = training_samples([folder / "faces"])
    spec = ModelSpec(samples[0].schema, tough.size, tough.crop_scale)
    network = build_network(tough.architecture, mean_normalized_points(samples, spec), seed)
    save_checkpoint(folder / "tough-start.safetensors", network, tough.architecture, spec, torch.float16)
if start != "none":
    network, spec = load_checkpoint(start)
    architecture = architecture_from_dict(dict(spec.architecture), start)
    save_checkpoint(folder / "student-start.safetensors", network, architecture, spec, torch.float16)
PYTHON
  # Python imports pure wheels as they are.
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder/wheels" \
    click rich markdown-it-py mdurl pygments
  local size
  size=$(du -sb "$folder" | cut -f1)
  echo "$folder: $size bytes"
  if [ "$size" -gt "$limit" ]; then
    echo "$folder: larger than 60 MB; pack with a lower WEBP" >&2
    exit 1
  fi
}

train() {
  local folder=$1 out=$2
  shift 2
  local own wheels
  own=$("$python" -c 'import site; print(":".join(site.getsitepackages()))') # come first, where the machine has them
  wheels=$(printf '%s:' "$folder"/wheels/*.whl)
  export PYTHONPATH=$here/../src:$own:$wheels
  local options=(--data "$folder/faces" --seed "$seed" --device "${DEVICE:-cuda}" --workers "${WORKERS:-14}")
  options+=(--precision "${PRECISION:-bf16}")
  local stages=("$@")
  [ $# -gt 0 ] || stages=(plain tough tolerant student)
  for stage in "${stages[@]}"; do
    local steps_name=STEPS_$stage begin=() given=("${options[@]}")
    [ -z "${!steps_name:-}" ] || given+=(--steps "${!steps_name}")
    date "+%T $stage"
    case $stage in
      tough) [ ! -e "$folder/tough-start.safetensors" ] || begin=(--start "$folder/tough-start.safetensors") ;;
      tolerant) begin=(--start "$out/tough/model.safetensors") ;;
      plain | student) [ ! -e "$folder/student-start.safetensors" ] || begin=(--start "$folder/student-start.safetensors") ;;
      *) echo "$stage: no stage; known: plain tough tolerant student" >&2; exit 2 ;;
    esac
    if [ "$stage" = student ]; then
      "$python" -m lightmark distill --recipe "$recipe" "${given[@]}" "${begin[@]}" --out "$out" \
        --tough "$out/tough/model.safetensors" --tolerant "$out/tolerant/model.safetensors"
    else
      "$python" -m lightmark train "$recipe-$stage" "${given[@]}" "${begin[@]}" --out "$out/$stage"
    fi
  done
  date +%T
}

collect() {
  local out=$1 kept=$2
  export PYTHONPATH=$here/../src:${PYTHONPATH:-}
  mkdir -p "$kept"
  if [ -e "$out/tolerant/result.json" ]; then
    "$python" "$here/ship_teachers.py" "$out" --name "$recipe" --out "$kept" --force
  fi
  local stage
  for stage in plain student; do
    [ ! -e "$out/$stage/model.safetensors" ] || cp "$out/$stage/model.safetensors" "$kept/$recipe-$stage.safetensors"
  done
  (cd "$out" && find . -name '*.csv' -o -name 'result.json' -o -name curves.png | tar czf "$(realpath "$kept")/logs.tar.gz" -T -)
  ls -l "$kept"
}

command=${1:-}
case $command in
  pack | train | collect) shift && "$command" "$@" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
