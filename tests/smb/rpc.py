#!/usr/bin/python3
"""rpc.py SOCKET COMMAND... - a client of docs/rpc.md, written from that page alone, as root.

    mode PATH OCTAL                   sets permission bits
    stat PATH                         prints type, mode, uid, gid, size, used
    lock|unlock|test PATH START LEN   a byte-range lock, exclusive; `lock` then waits for a line of input
"""

import os
import socket
import struct
import sys


class Refused(Exception):
    pass


class Rpc:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.id = 0
        hello = b"eskerRPC" + struct.pack("<HHI", 1, 1, 0) + os.urandom(16) + os.urandom(32)
        answer, _ = self.call(1, hello + blob(b"") + blob(b"rpc.py"), identity=b"")
        if answer[0] != 0:
            raise Refused("a secret is asked for")

    def exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise Refused("the server closed the connection")
            data += more
        return data

    def call(self, op, body, payload=b"", identity=struct.pack("<III", 0, 0, 0)):
        self.id += 1
        body = identity + body
        length = 28 + len(body) + len(payload)
        self.socket.sendall(
            struct.pack("<IIQHHIQ", length, len(body), self.id, op, 0, 0, self.id) + body + payload
        )
        length, inside, _, _, status, _, _ = struct.unpack("<IIQHHIQ", self.exactly(32))
        answer = self.exactly(length - 28)
        if status:
            raise Refused(f"errno {status}: {answer[4:].decode()}")
        return answer[:inside], answer[inside:]


def blob(data):
    return struct.pack("<I", len(data)) + data


def place(path):
    return b"\0" + blob(path.encode())


def attributes(answer):
    ino, generation, kind, _, mode, nlink, uid, gid, _, _, size, used = struct.unpack(
        "<QIBBHIIIIIQQ", answer[:52]
    )
    return dict(ino=ino, generation=generation, kind=kind, mode=mode, uid=uid, gid=gid, size=size, used=used)


def stat(rpc, path):
    answer, _ = rpc.call(16, place(path) + struct.pack("<II", 0, 0))
    return attributes(answer)


def identity_of(rpc, path):
    found = stat(rpc, path)
    return b"\1" + struct.pack("<QI", found["ino"], found["generation"])


def main(where, command, path, *rest):
    rpc = Rpc(where)
    if command == "mode":
        mode = b"\1" + struct.pack("<I", int(rest[0], 8))
        # mode; no uid, gid, size; times stay; no guard
        rpc.call(17, place(path) + struct.pack("<I", 0) + mode + bytes(3) + bytes(2) + bytes(1))
    elif command == "stat":
        print(" ".join(f"{key} {value}" for key, value in stat(rpc, path).items()))
    else:
        start, length = (int(number) for number in rest)
        held = identity_of(rpc, path) + struct.pack("<QQQ", 7, start, length)
        if command == "lock":
            rpc.call(80, held + b"\2" + struct.pack("<I", 0))
            print("locked", flush=True)
            sys.stdin.readline()
            rpc.call(81, held)
        elif command == "test":
            answer, _ = rpc.call(82, held + b"\2")
            print("taken" if answer[0] else "free")
        else:
            sys.exit(f"rpc.py: what is {command}?")


try:
    main(*sys.argv[1:])
except Refused as refused:
    sys.exit(f"rpc.py: {refused}")
