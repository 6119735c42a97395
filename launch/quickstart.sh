#!/usr/bin/env bash
# From a fresh Debian or Ubuntu machine without a GPU to a trained GPT: installs what is missing, builds, makes an
# English corpus (the King James Bible from Debian's bible-kjv package, 4.1 MB), trains a byte-level BPE tokenizer
# and a GPT of 2.6M parameters on it with two ranks, evaluates, draws the loss curve and writes text. Less than ten minutes
# on 2 cores; what is done already is skipped when it is run again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
run=runs/quickstart
corpus=data/kjv/kjv.txt

say "1/7 packages"
launch/install-dependencies.sh bible-kjv

say "2/7 building heddle"
launch/build.sh -DHEDDLE_TESTS=OFF

say "3/7 corpus: $corpus"
if [ ! -s "$corpus" ]; then
  mkdir -p "$(dirname "$corpus")"
  bible -f gen1:1-rev22:21 | cut -d' ' -f2- >"$corpus.tmp"  # one verse a line, without its number
  mv "$corpus.tmp" "$corpus"
fi
wc -c "$corpus"

say "4/7 tokenizer and token files"
build/heddle prepare configs/quickstart.cfg --data "$corpus"

say "5/7 training on two ranks (Ctrl-C saves; running this script again goes on)"
launch/run.sh -np 2 train configs/quickstart.cfg --data "$corpus" --run-folder "$run" --resume

say "6/7 held-back text and the loss curve"
build/heddle evaluate "$run"
build/heddle plot "$run" --output "$run/loss.png"

say "7/7 generated text"
build/heddle generate "$run" --prompt "In the beginning" --max-tokens 80 --temperature 0.8 --top-k 50 --seed 1

cat <<END

== done
$corpus                 the text
$run/config.cfg         every option of the run, a config to start from
$run/metrics.jsonl      loss, validation loss, speed, step by step
$run/loss.png           the loss curve
$run/checkpoints/       the newest and the best weights
$run/events/            for tensorboard --logdir runs

Try next:
  build/heddle generate $run --prompt "And the king said" --temperature 0.7 --num-samples 3
  launch/run.sh -np 2 train configs/quickstart.cfg --data $corpus --tensor-parallel 2 --run-folder runs/tensor-parallel
  build/heddle plot $run runs/tensor-parallel --output layouts.png
END
