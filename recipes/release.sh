#!/usr/bin/env bash
# The weights in spidereye/released/, from panoramas alone, in stages as the SSDD paper has them:
# encoder and decoder together at low size, then the decoder at 256x128, then with a falling rate,
# then to one step. Every stage resumes where it was stopped; the same command goes on.
#
#     recipes/release.sh <panoramas> [<work folder>]
#
# <panoramas> holds train/, val/ and SOURCES.tsv; only CC0 rows may be in it. More of them, as the
# SSDD paper would have, come from `spidereye data polyhaven --n 500 --resolution 2k -o panoramas`.
# On a GPU take more steps and a larger model: LOW=100000 PRE=200000 FINE=50000 STEP=20000 DECODER=M
# ENCODER=f8c4 WIDTH=128 BATCH=12 MANY=null DRAWS=null recipes/release.sh panoramas
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:?usage: recipes/release.sh <panoramas> [<work folder>]}
work=${2:-runs}
: "${LOW:=300}" "${PRE:=160}" "${FINE:=64}" "${STEP:=12}"  # steps of each stage
: "${DECODER:=XXS}" "${ENCODER:=f4c4}" "${WIDTH:=16}" "${BATCH:=4}"
: "${MANY:=6}" "${DRAWS:=3}"  # shots of each panorama, at low size and after it
: "${UNSEEN:=expected}"  # or model: longer training may invent better
bin=${BIN:-.venv/bin}
name=${NAME:-spidereye-small}

"$bin/python" recipes/licences.py "$data"
"$bin/python" recipes/measure_unseen.py "$data"

common=(
  -cn SpiderEye360-small "dataset.root='$data'" "runs_dir='$work'" "dataset.cache='$work/cache'"
  "ssdd.decoder=$DECODER" "ssdd.encoder=$ENCODER" "ssdd.encoder_width=$WIDTH"
  "ssdd.unseen=$UNSEEN"
)
after=(ssdd.encoder_train=false "dataset.draws=$DRAWS" "dataset.batch_size=$BATCH")
train() { "$bin/spidereye" train "${common[@]}" "$@"; }

train run_name="$name-1-low" "dataset.draws=$MANY" dataset.im_size=64 'ssdd.decoder_image_size=[128,64]' \
  dataset.batch_size=$((2 * BATCH)) training.max_steps="$LOW"
train run_name="$name-2-pre" "${after[@]}" "ssdd.checkpoint='$work/jobs/$name-1-low/last'" \
  training.max_steps="$PRE"
train run_name="$name-3-fine" "${after[@]}" "ssdd.checkpoint='$work/jobs/$name-2-pre/last'" \
  training.max_steps="$FINE" training.cooldown="$FINE"
"$bin/spidereye" distill "$work/jobs/$name-3-fine/last" "runs_dir='$work'" \
  run_name="$name-4-step" training.max_steps="$STEP" training.cooldown="$STEP" training.lr=2e-4

"$bin/python" recipes/pack.py "$work/jobs/$name-4-step/last" -o "spidereye/released/$name"
"$bin/python" benchmarks/results.py --checkpoint "spidereye/released/$name" --data "$data" \
  --work "$work/results-$name"
"$bin/python" recipes/card.py "spidereye/released/$name" --data "$data" \
  --steps "$LOW, $PRE, $FINE and $STEP steps of $((2 * BATCH)), $BATCH, $BATCH and $BATCH shots"
