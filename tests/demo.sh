#!/bin/sh
# Every app on a real input with the shipped weights. `make demo` and the wheel's check in CI run it.
#   sh tests/demo.sh PATH/TO/cnnapps
set -eu
cnnapps=$1
data=$(cd "$(dirname "$0")" && pwd)/data

show() {
  printf '\n$ cnnapps'
  for word in "$@"; do
    case $word in *[!A-Za-z0-9_./:=,-]*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
  done
  printf '\n'
  "$cnnapps" "$@"
}

show --version
show weights list
show textcls "what a wonderful film"
show textcls --explain "the plot is not good at all, but the actors save it"
show textcls --weights question "Who wrote Hamlet?"
show textcls --weights subjectivity "the film follows two brothers who run a farm in Iowa"
show textcls --weights sentiment-zh "房间很干净，服务也好，下次还住这里"
show textcls "$data/text/sentences.txt" --json
show classify "$data/vision/chelsea.jpg" "$data/vision/coffee.jpg" --explain --top 3
show classify digits "$data/vision/digits.png" --json
show go-policy "$data/go/rocalpha-sgf-20160312-Lee-Sedol-vs-AlphaGo.sgf" --move 100 --top 5
show inspect net go-policy/default --depth 2
show inspect conv --input 224 --kernel 11 --stride 4
show inspect filters textcls/question --top 1
show inspect gradients
