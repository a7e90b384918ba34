#!/usr/bin/env bash
# Points of the shipped students on emulated Arm processors beside this machine's: whether they are right, never how fast.
#
#   [EVERY=6] [FORCE=1] PYTHON=.venv/bin/python benchmarks/arm.sh 300w /tmp/arm [result.json]
#
# For Debian 12 on x86-64, without root: qemu-user-static and the arm64 packages of Python are downloaded by apt and unpacked
# into the work folder, the aarch64 wheels by pip. onnxruntime is 1.24.4 and LiteRT 1.4.0, since newer aarch64 wheels (1.32,
# 2.3.0) crash under Debian's qemu 7.2. LiteRT files are made and compared where PYTHON has the extra `litert`. cortex-a53
# has no instruction for products of bytes, cortex-a76 has (dotprod). Takes a quarter of an hour on an idle core.
set -euo pipefail

data=$(realpath "$1") work=$(realpath -m "$2") result=$(realpath -m "${3:-$(dirname "$0")/results/arm.json}")
if [ -e "$result" ] && [ -z "${FORCE:-}" ]; then
  echo "$result: is there already; give another name, or FORCE=1 to write over it" >&2
  exit 2
fi
python=${PYTHON:-python3}
here=$(realpath "$(dirname "$0")")
export PYTHONPATH=$here/../src ORT_DISABLE_TELEMETRY=1 OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
root=$work/root site=$work/site models=$work/models
mkdir -p "$root" "$site" "$models" "$work"/{debs,wheels,apt/lists/partial,cache/archives/partial}

# apt with lists of its own, so that the system's stay as they are.
arm_apt() {
  apt-get -qq -o Dir::State="$work/apt" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" -o APT::Sandbox::User= \
    -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Architectures::=amd64 "$@"
}

if [ ! -x "$root/usr/bin/python3.11" ]; then
  arm_apt update
  (cd "$work/debs" && arm_apt download qemu-user-static:amd64 {python3.11-minimal,libpython3.11-minimal}:arm64 \
    {libpython3.11-stdlib,libc6,libstdc++6,libgcc-s1,zlib1g,libffi8,libssl3,libexpat1,libbz2-1.0,liblzma5}:arm64)
  for package in "$work"/debs/*_arm64.deb; do dpkg -x "$package" "$root"; done
  dpkg -x "$work"/debs/qemu-user-static_*.deb "$work/qemu"
fi
if [ ! -d "$site/onnxruntime" ]; then
  platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64)
  "$python" -m pip download -q --no-deps --only-binary :all: "${platforms[@]}" --python-version 3.11 -d "$work/wheels" \
    numpy==2.4.6 opencv-python-headless==4.14.0.94 pillow==13.0.0 onnxruntime==1.24.4 ai-edge-litert==1.4.0 \
    flatbuffers==25.12.19
  for wheel in "$work"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done
fi

for student in standard fast; do
  cp "$here/../src/lightmark/models/$student.onnx" "$here/../src/lightmark/models/$student-int8.onnx" "$models"
done
if "$python" -c "import litert_torch, ai_edge_quantizer" 2>"$work/litert.log"; then
  for student in standard fast; do
    "$python" -m lightmark export "$student" --to litert,litert-int8 --calibrate "$data" --out "$models" --force
  done
else
  echo "LiteRT is left out: $(tail -1 "$work/litert.log")"
fi

mapfile -t files < <(find "$models" -name "*.onnx" -o -name "*.tflite" | sort)
measure=("$here/arm.py" points --force "${files[@]}" --data "$data" --every "${EVERY:-6}")
runs=("$work/x86-64.npz")
"$python" "${measure[@]}" --machine x86-64 --out "${runs[0]}"
for processor in cortex-a53 cortex-a76; do
  PYTHONHOME=$root/usr PYTHONPATH=$PYTHONPATH:$site "$work/qemu/usr/bin/qemu-aarch64-static" -cpu "$processor" -L "$root" \
    "$root/usr/bin/python3.11" "${measure[@]}" --machine "$processor" --out "$work/$processor.npz"
  runs+=("$work/$processor.npz")
done
"$python" "$here/arm.py" compare "${runs[@]}" --out "$result" --force
