# lib.sh - what every part with Samba starts with:  . "$(dirname "$0")/../lib.sh"
#
# The part runs in namespaces of its own (tests/guest/run).  Over /usr lies what tests/install has
# unpacked of Samba, so that everything is where it was built for; nothing is installed, no service
# exists.  Passwords, state and configuration lie in $smb, which goes with the part.
#
#   server_up ; smbd_up         esker serve and smbd; shares `plain` (the machine's own files) and `esker`
#   client SHARE COMMAND...     smbclient as smb1
#   torture SHARE SUITE LOG     smbtorture's suite: a line `success|failure|error|skip TEST` for each
# shellcheck shell=bash
. "$(cd "$(dirname "${BASH_SOURCE[0]}")/../guest" && pwd)/lib.sh"

smb=$scratch/smb
port=4450
rpc=$scratch/rpc.sock
users=(smb1 smb2)
password=Esker-1
smbd_pid=''

if [ -d "$bed/samba/usr" ]; then
  mount -t overlay -o "lowerdir=$bed/samba/usr:/usr" overlay /usr || fail "no overlay on /usr"
fi
command -v smbd > /dev/null || fail "no smbd"

# Users of the part alone: the machine's files with lines of ours behind.
mkdir -p "$smb"/{private,lock,state,cache,pid,ncalrpc,log,plain,modules}
chmod 755 "$smb"
chmod 777 "$smb/plain"
for ((u = 0; u < ${#users[@]}; u++)); do
  echo "${users[u]}:x:$((2001 + u)):$((2001 + u))::/nonexistent:/usr/sbin/nologin"
done | cat /etc/passwd - > "$smb/passwd"
for ((u = 0; u < ${#users[@]}; u++)); do
  echo "${users[u]}:x:$((2001 + u)):"
done | cat /etc/group - > "$smb/group"
mount --bind "$smb/passwd" /etc/passwd
mount --bind "$smb/group" /etc/group

# esker serve with its RPC socket.
server_up() {
  start_server --rpc "unix:$rpc" "$@"
  # A new volume's root is its server's alone.
  /usr/bin/python3 "$ESKER_ROOT/tests/smb/rpc.py" "$rpc" mode '' 1777 || fail "no RPC on $rpc"
}

# smbd loads modules by bare name, from its own directory only.
module_up() {
  local modules
  cp "$bed/samba-build/esker.so" "$smb/modules/esker.so" || fail "the module is not built"
  modules=$(smbd -b | sed -n 's/^ *MODULESDIR: //p')/vfs
  mount -t overlay -o "lowerdir=$smb/modules:$modules" overlay "$modules"
}

smb_conf() {                       # smb_conf [LINES]: behind the last share, esker
  cat << C
[global]
    server role = standalone server
    workgroup = TESTS
    netbios name = ESKERTEST
    interfaces = lo
    bind interfaces only = yes
    smb ports = $port 445
    disable netbios = yes
    disable spoolss = yes
    load printers = no
    printcap name = /dev/null
    private dir = $smb/private
    lock directory = $smb/lock
    state directory = $smb/state
    cache directory = $smb/cache
    pid directory = $smb/pid
    ncalrpc dir = $smb/ncalrpc
    log level = ${SMB_LOG_LEVEL:-1}
    max log size = 0
    passdb backend = tdbsam
    ${SMB_GLOBAL:-}
    map to guest = never
    host msdfs = no
    getwd cache = no
    kernel change notify = no
    store dos attributes = yes
    ea support = yes
    durable handles = yes
    map archive = no
    map hidden = no
    map system = no
    map readonly = no
    mangled names = no
[plain]
    path = $smb/plain
    read only = no
    vfs objects = acl_xattr streams_xattr
    acl_xattr:ignore system acls = yes
    kernel oplocks = no
    kernel share modes = no
$("$esker" samba-share esker --server "unix:$rpc")
$("$esker" samba-share inner --server "unix:$rpc" --root /inner)
${1:-}
C
}

smbd_up() {
  local u n
  smb_conf "${1:-}" > "$smb/smb.conf"
  for u in "${users[@]}"; do
    printf '%s\n%s\n' "$password" "$password" | smbpasswd -c "$smb/smb.conf" -s -a "$u" > /dev/null
  done
  smbd -D -l "$log" -s "$smb/smb.conf" || fail "smbd did not start"
  for ((n = 0; n < 200; n++)); do
    smbd_pid=$(cat "$smb/pid/smbd.pid" 2> /dev/null || :)
    [ -z "$smbd_pid" ] || ! client plain ls > /dev/null 2>&1 || return 0
    sleep 0.05
  done
  tail -n 20 "$log/log.smbd" || :
  fail "smbd does not answer"
}

# All of smbd's processes, by the pid that the first one noted: each is a group of its own.
smbd_down() {
  kill -TERM "$smbd_pid"
  local n
  for ((n = 0; n < 200; n++)); do kill -0 "$smbd_pid" 2> /dev/null || return 0; sleep 0.05; done
  fail "smbd does not end"
}

client() {                         # client SHARE COMMAND: smbclient's commands, as smb1 or $as
  local share=$1
  shift
  timeout "${SMB_TIMEOUT:-60}" smbclient -s "$smb/smb.conf" "//127.0.0.1/$share" -p $port \
    -U "${as:-smb1}%$password" -m SMB3 -c "$*"
}

torture() {                        # torture SHARE SUITE LOG [SECONDS]
  local status=0
  timeout -k 5 "${4:-90}" smbtorture "//127.0.0.1/$1" -p $port -U "smb1%$password" \
    --target=samba3 --format=subunit "$2" > "$3" 2>&1 || status=$?
  sed -nE 's/^(success|failure|error|skip): ([^[]*[^ []).*/\1 \2/p' "$3" | sort -u
  [ $status != 124 ] || echo "error $2: time was up"
}

case "$(smbd -V)" in
  *' 4.'*) say "$(smbd -V)" ;;
  *) fail "no Samba 4" ;;
esac
