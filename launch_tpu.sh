#!/usr/bin/env bash
# Runs one command of this repository on every worker of a Cloud TPU slice, until it is done.
# ./launch_tpu.sh --help says how; docs/tpu_pods.md tells the whole story.
set -euo pipefail

usage() {
  cat <<'END'
usage: ./launch_tpu.sh --name=NAME [options] -- train --config=FILE.py --workdir=gs://BUCKET/runs/NAME [...]
       ./launch_tpu.sh --name=NAME --logs     follow a job that was started before
       ./launch_tpu.sh --name=NAME --down     delete the slice

Creates the slice, or takes the one there is; installs this repository at a commit; brings the data; starts
`python -m tdepth_jax.VERB ...` on all workers; shows the log of the first; and when the slice is preempted makes it
anew and goes on from the last checkpoint. Keep --workdir in a bucket: a slice's disks go with it.

  --name=NAME         of the slice
  --tpu=v5e:16x16     kind and topology, as of `tdepth plan` (v4, v5e, v5p, v6e)      [v5e:2x4]
  --project=ID        [gcloud's own setting]
  --zone=ZONE         [gcloud's own setting]
  --spot              spot capacity, which can be taken back at any moment
  --queued            ask by a queued resource and wait; otherwise a slice must be free now
  --commit=REV        what to install                                                [HEAD]
  --data=gs://B/P/N   copy the records N to data/N on every worker (can be repeated)
  --mount=gs://B      mount the bucket at data/B instead (gcsfuse)
  --version=IMAGE     software of the slice                                          [by kind]
  --retries=N         how often to start again after a crash or a preemption         [100]
  --delete            delete the slice once the command is done
  --dry-run           print every command and run none
END
}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }

name='' tpu='v5e:2x4' project='' zone='' spot='' queued='' commit='HEAD' mount='' version='' retries=100
delete='' dry='' mode='run' data=()
while (($#)); do
  case $1 in
    --name=*) name=${1#*=} ;;
    --tpu=*) tpu=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --spot) spot=1 ;;
    --queued) queued=1 ;;
    --commit=*) commit=${1#*=} ;;
    --data=*) data+=("${1#*=}") ;;
    --mount=*) mount=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --retries=*) retries=${1#*=} ;;
    --delete) delete=1 ;;
    --dry-run) dry=1 ;;
    --logs) mode='logs' ;;
    --down) mode='down' ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    *) die "unknown option $1; see ./launch_tpu.sh --help" ;;
  esac
  shift
done
verb=("$@")

[[ $name =~ ^[a-z]([a-z0-9-]{0,60}[a-z0-9])?$ ]] || die "--name=$name: give the slice a name of a-z, 0-9 and -"
[[ $tpu =~ ^(v4|v5e|v5p|v6e):([0-9]+)x([0-9]+)(x([0-9]+))?$ ]] || die "--tpu=$tpu: write v5e:16x16 or v5p:4x4x4"
kind=${BASH_REMATCH[1]} chips=$((BASH_REMATCH[2] * BASH_REMATCH[3] * ${BASH_REMATCH[5]:-1}))
[[ $retries =~ ^[0-9]+$ ]] || die "--retries=$retries must be a number"
case $kind in # v4 and v5p are named by cores, two a chip
  v4) accelerator=v4-$((2 * chips)) image=tpu-ubuntu2204-base ;;
  v5e) accelerator=v5litepod-$chips image=v2-alpha-tpuv5-lite ;;
  v5p) accelerator=v5p-$((2 * chips)) image=v2-alpha-tpuv5 ;;
  v6e) accelerator=v6e-$chips image=v2-alpha-tpuv6e ;;
esac
if [[ $mode == run ]]; then
  ((${#verb[@]})) || die "nothing to run; end with -- train --config=FILE.py --workdir=gs://BUCKET/runs/NAME"
  cd "$(dirname "$0")"
  sha=$(git rev-parse --verify --quiet "$commit^{commit}") || die "--commit=$commit is no commit of this repository"
  git diff --quiet HEAD 2>/dev/null || say "warning: uncommitted changes are not in what is installed, commit $sha"
  [[ " ${verb[*]} " == *" --workdir=gs://"* || ${verb[0]} != train ]] ||
    say "warning: --workdir is not in a bucket (gs://), so a preempted slice takes its checkpoints with it"
fi

if [[ ! $dry ]]; then
  command -v gcloud >/dev/null || die "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"
  [[ $project ]] || project=$(gcloud config get-value project 2>/dev/null || true)
  [[ $zone ]] || zone=$(gcloud config get-value compute/zone 2>/dev/null || true)
fi
[[ $project && $project != '(unset)' ]] || die "no project: --project=ID, or gcloud config set project ID"
[[ $zone && $zone != '(unset)' ]] || die "no zone: --zone=ZONE, or gcloud config set compute/zone ZONE"
where=("--project=$project" "--zone=$zone")
vm=(gcloud compute tpus tpu-vm)
queue=(gcloud compute tpus queued-resources)

quoted() { # a command as it could be typed
  local word line=''
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}
run() {
  if [[ $dry ]]; then quoted "$@"; else "$@"; fi
}
ask() { # a question about what is there; a dry run finds nothing there
  if [[ $dry ]]; then quoted "$@" >&3; else "$@" 2>/dev/null || true; fi
}
exec 3>&1

# A gcloud command whose failure has a known reason; the reason, not the log, is what the user needs.
make() {
  if [[ $dry ]]; then quoted "$@"; return; fi
  local said
  if said=$("$@" 2>&1); then return; fi
  case $said in
    *[Qq]uota*) die "no quota for $accelerator in $zone of $project: ask for it, or take another --zone, --tpu or --spot ($(tail -n 1 <<<"$said"))" ;;
    *PERMISSION_DENIED* | *'does not have permission'*) die "this account may not make TPUs in $project: gcloud auth login, enable tpu.googleapis.com, role TPU Admin" ;;
    *'no more capacity'* | *RESOURCE_EXHAUSTED* | *'not enough resources'*) say "no $accelerator is free in $zone; --queued waits for one"; return 75 ;;
    *) die "gcloud failed: $(tail -n 3 <<<"$said")" ;;
  esac
}
on() { # on WORKER COMMAND
  run "${vm[@]}" ssh "$name" "${where[@]}" --worker="$1" --command="$2"
}

state() { ask "${vm[@]}" describe "$name" "${where[@]}" '--format=value(state)'; }

down() {
  if [[ $queued ]]; then
    run "${queue[@]}" delete "$name" "${where[@]}" --force --quiet
  else
    run "${vm[@]}" delete "$name" "${where[@]}" --quiet
  fi
}

up() { # until the slice is there and ready
  local now
  now=$(state)
  case $now in
    READY) say "taking the slice $name that is there"; return ;;
    '') ;;
    CREATING | STARTING | RESTARTING | REPAIRING) ;;
    *) say "the slice $name is $now; deleting it"; down || true; now='' ;;
  esac
  local options=("--accelerator-type=$accelerator")
  if [[ $queued ]]; then
    options+=("--runtime-version=${version:-$image}" "--node-id=$name")
  else
    options+=("--version=${version:-$image}")
  fi
  [[ $spot ]] && options+=(--spot)
  if [[ ! $now && $queued ]]; then
    # A queued resource outlives its slice; one of this name without a slice is of no more use.
    if [[ $(ask "${queue[@]}" describe "$name" "${where[@]}" '--format=value(state.state)') =~ SUSPENDED|FAILED ]]; then
      down || true
    fi
    make "${queue[@]}" create "$name" "${where[@]}" "${options[@]}" || return
  elif [[ ! $now ]]; then
    make "${vm[@]}" create "$name" "${where[@]}" "${options[@]}" || return
  fi
  [[ $dry ]] && return
  say "waiting for $name"
  until [[ $(state) == READY ]]; do
    if [[ $queued && $(ask "${queue[@]}" describe "$name" "${where[@]}" '--format=value(state.state)') == FAILED ]]; then
      die "the queued resource $name failed: ${queue[*]} describe $name ${where[*]}"
    fi
    sleep "${TDEPTH_LAUNCH_POLL:-20}"
  done
}

# What every worker does. The same text again does nothing that is done already.
install() {
  cat <<END
set -e
[ "\$(cat ~/tdepth/.commit 2>/dev/null)" = $sha ] && exit 0
python=\$(command -v python3.13 || command -v python3.12 || command -v python3.11 || true)
if [ -z "\$python" ]; then
  sudo apt-get -qq update && sudo apt-get -qq install -y python3.11-venv
  python=python3.11
fi
rm -rf ~/tdepth && mkdir ~/tdepth && tar -xzf ~/tdepth-$sha.tar.gz -C ~/tdepth
cd ~/tdepth && \$python -m venv .venv
.venv/bin/pip install --quiet -e '.[tpu]' -c deploy/tpu-versions.txt
echo $sha > .commit
END
}
bring() {
  local from
  for from in ${data[@]+"${data[@]}"}; do
    printf 'mkdir -p ~/tdepth/data/%s && gcloud storage rsync --recursive %s ~/tdepth/data/%s\n' \
      "$(basename "$from")" "${from%/}" "$(basename "$from")"
  done
  if [[ $mount ]]; then
    local bucket=${mount#gs://}
    bucket=${bucket%%/*}
    printf 'mkdir -p ~/tdepth/data/%s && (mountpoint -q ~/tdepth/data/%s || gcsfuse --implicit-dirs %s ~/tdepth/data/%s)\n' \
      "$bucket" "$bucket" "$bucket" "$bucket"
  fi
}
begin() { # ends what an earlier start left, and starts; the job outlives the connection
  local line
  line=$(quoted python -m "tdepth_jax.${verb[0]}" "${verb[@]:1}")
  cat <<END
cd ~/tdepth
if [ -f job.pid ] && kill -0 "\$(cat job.pid)" 2>/dev/null; then kill -9 -- -"\$(cat job.pid)"; sleep 2; fi
rm -f job.code
export TDEPTH_DISTRIBUTED=auto PATH="\$HOME/tdepth/.venv/bin:\$PATH"
setsid bash -c '${line//\'/\'\\\'\'}; echo \$? > job.code' > job.log 2>&1 < /dev/null &
echo \$! > job.pid
END
}
# shellcheck disable=SC2016  # the worker expands it
follow='cd ~/tdepth && tail -n +1 --pid="$(cat job.pid)" -f job.log; exit "$(cat job.code 2>/dev/null || echo 1)"'

case $mode in
  down) down; exit ;;
  logs) on 0 "$follow"; exit ;;
esac

if [[ $dry ]]; then
  folder=.
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
bundle="$folder/tdepth-$sha.tar.gz"
run git archive --format=tar.gz --output="$bundle" "$sha"
for ((attempt = 0; ; attempt++)); do
  code=0
  up || code=$?
  if ((code == 0)); then
    {
      run "${vm[@]}" scp "$bundle" "$name:" "${where[@]}" --worker=all &&
        on all "$(install)" &&
        { [[ -z $(bring) ]] || on all "$(bring)"; } &&
        on all "$(begin)"
    } || code=$?
    if ((code == 0)); then on 0 "$follow" || code=$?; fi
  fi
  case $code in
    0) break ;;
    2) die "the command says that something must be mended (above); the slice is kept" ;;
  esac
  ((attempt < retries)) || die "given up after $((attempt + 1)) starts; the last ended with $code"
  say "ended with $code (slice: $(state)); start $((attempt + 2))"
  sleep "${TDEPTH_LAUNCH_POLL:-20}"
done
if [[ $delete ]]; then down; fi
say "done"
