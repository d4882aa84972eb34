#!/usr/bin/python3
"""sparse.py CONF USER PASSWORD SHARE - makes a file of 4 GiB with three bytes at its end and three in its
middle, by SMB's writes at any offset, and reads it back at its seams.

Samba's Python client talks to port 445; smbclient has no command for any of this.
"""

import sys

from samba import credentials
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

conf, user, password, share = sys.argv[1:]
GIB = 1 << 30

lp = param.get_context()
lp.load(conf)
who = credentials.Credentials()
who.guess(lp)
who.set_username(user)
who.set_password(password)
conn = libsmb.Conn("127.0.0.1", share, lp, who)

ALL = 0x2019F | 0x10000  # generic read and write, delete
file = conn.create("sparse.bin", DesiredAccess=ALL, ShareAccess=7, CreateDisposition=5)
conn.write(file, b"mid", 2 * GIB - 1)
conn.write(file, b"end", 4 * GIB - 3)
for at, length, want in [
    (0, 4096, bytes(4096)),
    (2 * GIB - 3, 7, b"\0\0mid\0\0"),
    (3 * GIB, 65536, bytes(65536)),
    (4 * GIB - 8, 100, b"\0" * 5 + b"end"),
]:
    got = conn.read(file, at, length)
    if got != want:
        sys.exit(f"{length} bytes at {at}: {got[:32]!r}, not {want[:32]!r}")
conn.close(file)
sizes = [entry["size"] for entry in conn.list("", "sparse.bin")]
if sizes != [4 * GIB]:
    sys.exit(f"listed with {sizes}")
print("4 GiB, six bytes of it written")
