# lib.sh - what every part of the suite starts with:  . "$(dirname "$0")/../lib.sh"
#
# The part runs inside namespaces of its own (see run).  Here is the server's side: start, stop and
# kill it, count the calls that it answered, check its volume; and `guest`, a client on its export.
# shellcheck shell=bash
set -eu -o pipefail
export LC_ALL=C
here=$ESKER_ROOT/tests/guest
bed=$ESKER_TESTBED
scratch=$ESKER_SCRATCH             # removed after the part
log=$ESKER_LOG                     # kept
esker=${ESKER:-$ESKER_ROOT/target/${ESKER_PROFILE:-release}/esker}
ordeal=${ESKER_ORDEAL:-$ESKER_ROOT/target/${ESKER_PROFILE:-release}/ordeal}
recorder=${ESKER_RECORDER:-$ESKER_ROOT/target/${ESKER_PROFILE:-release}/recorder}
kind=${ESKER_STORE_KIND:-dir}       # dir, or a store of tests/stores/up
store=${ESKER_STORE:-$scratch/store}
keeping=()                         # where the journal is, if not in the store
server=10.77.0.1:2049              # the server as every guest sees it
admin=127.0.0.1:9049
memory=${ESKER_MEMORY:-256MiB}
server_pid=''
long=${ESKER_LONG:-}               # set by ./nightly

RANDOM=$ESKER_SEED
echo "seed $ESKER_SEED"

say() { printf '%(%T)T %s\n' -1 "$*"; }
fail() { say "FAILED: $*"; tail -n 15 "$log/server.log" 2>/dev/null | sed 's/^/  server: /'; exit 1; }
tally() { echo "$*" >> "$log/sum"; say "in all: $*"; }    # tally NUMBER WHAT: ./test shows it, ./nightly adds it up
between() { echo $(($1 + RANDOM % ($2 - $1 + 1))); }
pause() { local ms; ms=$(between "$1" "$2"); sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"; }

ip link set lo up
ip addr add "${server%:*}/32" dev lo
echo 1 > /proc/sys/net/ipv4/ip_forward

# --- the store ----------------------------------------------------------------------------------
# store_objects: a line `SIZE NAME` for each object of the volume, asked by a client of its own.
store_objects() {
  local place=${store#*://}
  # shellcheck source=tests/stores/lib.sh
  (. "$ESKER_ROOT/tests/stores/lib.sh" &&
    packed "$python" "$stores/ask.py" list "${place%%/*}" "${place#*/}/")
}
store_bytes() { store_objects | awk '{ n += $1 } END { printf "%d\n", n }'; }

start_store() {                    # the store's processes, its environment; $store is its URL then
  [ -z "${ESKER_STORE_ROOM:-}" ] || mountpoint -q "$scratch/bed/data" || {
    mkdir -p "$scratch/bed/data"
    mount -t tmpfs -o "size=$ESKER_STORE_ROOM" tmpfs "$scratch/bed/data"
  }
  "$ESKER_ROOT/tests/stores/up" "$kind" "$scratch/bed" "${server%:*}" 18000 || exit 1
  # shellcheck disable=SC1091
  . "$scratch/bed/env"
}
if [ "$kind" != dir ]; then
  start_store
  store=$STORE_URL
  mkdir -p "$scratch/journal"
  keeping=(--journal "$scratch/journal")
fi

# --- the server ---------------------------------------------------------------------------------
# The export for the guests: rights are the client's uids', as exports(5) has it.
echo 'exports = "/ 10.77.0.0/16(rw,sync,secure,no_root_squash)"' > "$scratch/esker.toml"

start_server() {                   # start_server [ARG...]: serve $store, wait until it answers
  "$esker" serve "$store" ${keeping[@]+"${keeping[@]}"} --nfs "$server" --admin "$admin" \
    --memory "$memory" --config "$scratch/esker.toml" "$@" >> "$log/server.log" 2>&1 &
  server_pid=$!
  local n
  for ((n = 0; n < 600; n++)); do
    [ "$(curl -s -o /dev/null -w '%{http_code}' "http://$admin/healthz")" != 200 ] || return 0
    kill -0 "$server_pid" 2>/dev/null || fail "the server did not start"
    sleep 0.05
  done
  fail "the server does not answer on its admin address"
}

stop_server() {                    # SIGTERM: it has to end by itself, with status 0
  local status=0 n
  kill -TERM "$server_pid"
  for ((n = 0; n < 600; n++)); do kill -0 "$server_pid" 2>/dev/null || break; sleep 0.1; done
  kill -0 "$server_pid" 2>/dev/null && fail "the server still runs 60 s after SIGTERM"
  wait "$server_pid" || status=$?
  server_pid=''
  [ $status = 0 ] || fail "status $status after SIGTERM"
}

crash_server() {
  kill -KILL "$server_pid"
  wait "$server_pid" 2>/dev/null || :
  server_pid=''
}

# calls [PROCEDURE]: how many calls of it (of all) the running server has answered
calls() {
  curl -s --max-time 10 "http://${ADMIN:-$admin}/metrics" | awk -v want="${1:-}" '
    /^esker_nfs_calls_total\{/ {
      if (want == "" || $0 ~ "proc(edure)?=\"" want "\"") n += $NF
    }
    END { printf "%d\n", n }'
}

figure() {                         # figure NAME: of the running server's /metrics
  curl -s --max-time 10 "http://${ADMIN:-$admin}/metrics" |
    awk -v want="$1" '$1 == want { n = $2 } END { printf "%d\n", n }'
}

# proven PROCEDURE...: the running server has answered each of these, so the mount was on it
proven() {
  local p n
  for p in "$@"; do
    n=$(calls "$p")
    [ "$n" -gt 0 ] || fail "the server counted no $p: was the work done elsewhere?"
    say "server counted $n $p"
  done
  [ "$kind" != dir ] || return 0
  case " $* " in *' WRITE '* | *' CREATE '*) ;; *) return 0 ;; esac
  for p in {1..200}; do            # the timer stores what is 5 s old
    n=$(figure esker_segments_stored_total)
    [ "$n" = 0 ] || break
    sleep 0.1
  done
  [ "$n" -gt 0 ] || fail "the server stored no segment in $store"
  say "server stored $n segments"
}

in_store() {                       # in_store [PREFIX]: what was written lies there, not only here
  [ "$kind" != dir ] || return 0
  local objects bytes store=$store
  [ $# = 0 ] || store=${store%/*}/$1
  read -r objects bytes < <(store_objects | awk '/\/seg\// { n++; b += $1 } END { print n + 0, b + 0 }')
  say "in $store: $objects segments, $bytes bytes"
  [ "$objects" -ge 2 ] && [ "$bytes" -ge "${least_stored:-1000000}" ] ||
    fail "the volume is not in the store"
}

ordeal() {                         # ordeal WORDS...: see tests/src/ordeal; what it leaves is kept
  TMPDIR=$log ESKER_BIN=$esker timeout -k 5 "${ESKER_SECONDS:-600}" \
    "$ordeal" "$@" --seed "$ESKER_SEED" && return
  tail -n 15 "$log"/ordeal*/*/log 2>/dev/null | cut -c 1-300 | sed 's/^/  server: /'
  fail "the ordeal"
}

check_store() {                    # the server is stopped; its volume must be whole
  "$esker" check "${1:-$store}" ${keeping[@]+"${keeping[@]}"} > "$log/check.log" 2>&1 || {
    tail -n 20 "$log/check.log"
    fail "esker check found the volume damaged"
  }
  in_store
  say "check: $(tail -n 1 "$log/check.log")"
}

# --- the clients --------------------------------------------------------------------------------
# guest [boot's options] -- CMD: in a guest that has the export at /mnt/nfs.  The guest itself
# proves, by its mount table, that the directory is the server's, before CMD begins.
guest() {
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  "$here/boot" -s "$server" -e "${ESKER_EXPORT:-/}" -w "$scratch" -k "$log/guest.log" "${options[@]}" -- \
    "$here/jobs/on-mount" "$@"
}

sources() {                        # the source tree that the main job works on, for comparison
  [ -d "$scratch/original" ] || {
    mkdir "$scratch/original"
    tar -C "$scratch/original" --same-owner -xf "$bed/sources.tar"
  }
}
