# lib.sh - where the programs of the stores are:  . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#
# tests/install unpacks Debian's packages below $bed/stores and installs none of them, so each of
# their programs is started by `packed`, which tells it where its libraries and modules lie.  A
# package that the machine has anyway is not in the tree; then the machine's own is used.
# shellcheck shell=bash
stores=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bed=${ESKER_TESTBED:-$stores/../../target/testbed}
tree=$bed/stores
python=/usr/bin/python3            # Debian's: its packages are made for no other
PATH=$PATH:/usr/sbin:/sbin

packed() {                         # packed PROGRAM ARG...: of the tree, or of the machine
  local libs=$tree/usr/lib/x86_64-linux-gnu modules=$tree/usr/lib/python3/dist-packages
  # The standard library, where the machine has only the smallest Python.
  local base=$tree/usr/lib/python3.11
  PATH=$tree/usr/bin:$tree/usr/sbin:/usr/bin:$PATH \
    LD_LIBRARY_PATH=$libs:$libs/ceph:$tree/lib/x86_64-linux-gnu \
    PYTHONPATH=$modules:$base:$base/lib-dynload PYTHONDONTWRITEBYTECODE=1 "$@"
}

find_minio() {                     # prints the MinIO to use: the PATH's first, then the test bed's
  command -v minio && return
  [ ! -x "$bed/bin/minio" ] || { echo "$bed/bin/minio"; return; }
  return 1
}

# free_ports N: the first of N ports in a row on which nobody listens, below those that the kernel
# hands out by itself.
free_ports() {
  "$python" - "$1" <<'P'
import random, socket, sys
want = int(sys.argv[1])
for _ in range(200):
    base = random.randrange(12000, 32000 - want)
    held = []
    try:
        for port in range(base, base + want):
            s = socket.socket()
            held.append(s)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(('127.0.0.1', port))
        print(base)
        sys.exit(0)
    except OSError:
        pass
    finally:
        for s in held:
            s.close()
sys.exit('no free ports')
P
}
