#!/usr/bin/env bash
# From a fresh Debian or Ubuntu machine without a GPU to a model that translates English into French: installs what is
# missing, builds, makes a corpus (27,000 sentence pairs from Debian's man pages, an 8 MB download), trains one
# byte-level BPE tokenizer for both languages and a Transformer encoder-decoder of 7.6M parameters on them with two
# ranks, evaluates, translates pages that were held back and scores the result with BLEU. About 20 minutes on 2 cores;
# what is done already is skipped when it is run again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
config=configs/translation-manpages.cfg
run=runs/translation-manpages
corpus=data/manpages
translations=$run/test.translated.fr

# Packages into a folder: no root needed, nothing installed, no dependencies.
download_packages() {
  local folder=$1
  shift
  # As root, apt would warn that its own user cannot write there.
  local apt=(apt-get -q -o APT::Sandbox::User=root)
  (cd "$folder" && "${apt[@]}" download "$@") && return
  echo "apt has no package lists, or old ones: fetching them into $folder/apt"
  mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
  apt+=(-o "Dir::State::Lists=$PWD/$folder/apt/lists" -o "Dir::Cache=$PWD/$folder/apt/cache")
  "${apt[@]}" update && (cd "$folder" && "${apt[@]}" download "$@")
}

say "1/7 packages"
launch/install-dependencies.sh

say "2/7 building heddle"
launch/build.sh -DHEDDLE_TESTS=OFF

say "3/7 corpus: $corpus"
if [ ! -s "$corpus/test.fr" ]; then
  rm -rf "$corpus/packages"
  mkdir -p "$corpus/packages"
  download_packages "$corpus/packages" manpages manpages-dev manpages-fr manpages-fr-dev
  for package in "$corpus"/packages/*.deb; do dpkg-deb -x "$package" "$corpus/packages/unpacked"; done
  launch/manpage-pairs.pl --language fr "$corpus/packages/unpacked" "$corpus"
fi
wc -l "$corpus"/{train,valid,test}.{en,fr}

say "4/7 tokenizer and token files"
build/heddle prepare "$config"

say "5/7 training on two ranks (Ctrl-C saves; running this script again goes on)"
launch/run.sh -np 2 train "$config" --run-folder "$run" --resume

say "6/7 held-back pages and the loss curve"
build/heddle evaluate "$run"
build/heddle plot "$run" --output "$run/loss.png"

say "7/7 translating the test pages"
build/heddle translate "$run" --input "$corpus/test.en" --output "$translations" --reference "$corpus/test.fr" --beam 4
for line in 100 300 500 700 900; do
  printf '\nEnglish    %s\nreference  %s\nheddle     %s\n' "$(sed -n "${line}p" "$corpus/test.en")" \
    "$(sed -n "${line}p" "$corpus/test.fr")" "$(sed -n "${line}p" "$translations")"
done

cat <<END

== done
$corpus/           the sentence pairs
$run/config.cfg      every option of the run, a config to start from
$run/metrics.jsonl   loss, validation loss, speed, step by step
$run/loss.png        the loss curve
$run/checkpoints/    the newest and the best weights
$translations
                                      the test pages in French

Try next:
  echo "The file does not exist." | build/heddle translate $run
  launch/run.sh -np 2 train $config --length 8000steps --run-folder $run-longer
  launch/run.sh -np 2 train $config --tensor-parallel 2 --run-folder $run-tensor-parallel
  launch/manpage-pairs.pl --language de FOLDER data/manpages-de   # German: unpack manpages-de and manpages-de-dev too
END
