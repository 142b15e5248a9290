#!/usr/bin/env python3
"""Ask a Neo4j server RETURN 1 over bolt with the standard library alone; exit 0 when it answers.

Usage: NEO4J_PROBE_PASSWORD=... bolt_probe.py HOST PORT USER
Exit 1: no answer yet. Exit 2: the server answered, but refused (wrong password, say).
"""

from __future__ import annotations

import os
import socket
import struct
import sys


def text(value):
    raw = value.encode()
    if len(raw) < 16:
        return bytes([0x80 + len(raw)]) + raw
    if len(raw) < 256:
        return b"\xd0" + bytes([len(raw)]) + raw
    return b"\xd1" + struct.pack(">H", len(raw)) + raw


def mapping(items):
    return bytes([0xA0 + len(items)]) + b"".join(text(k) + v for k, v in items.items())


def exchange(sock, tag, *fields):
    body = bytes([0xB0 + len(fields), tag]) + b"".join(fields)
    sock.sendall(struct.pack(">H", len(body)) + body + b"\x00\x00")
    while True:
        message = receive(sock)
        if message[1] != 0x71:  # anything but a RECORD ends the reply
            return message


def receive(sock):
    message = b""
    while True:
        (size,) = struct.unpack(">H", exactly(sock, 2))
        if size:
            message += exactly(sock, size)
        elif message:
            return message


def exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise OSError("connection closed")
        data += more
    return data


def main():
    host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    password = os.environ["NEO4J_PROBE_PASSWORD"]
    try:
        with socket.create_connection((host, port), timeout=5) as sock:
            sock.settimeout(20)
            sock.sendall(bytes.fromhex("6060b017 00000005 00000404 00000000 00000000"))
            if exactly(sock, 4) not in (b"\x00\x00\x00\x05", b"\x00\x00\x04\x04"):
                print("no common bolt version", file=sys.stderr)
                return 2
            hello = {
                "user_agent": text("bolt-probe/1"),
                "scheme": text("basic"),
                "principal": text(user),
                "credentials": text(password),
            }
            for tag, fields in (
                (0x01, [mapping(hello)]),
                (0x10, [text("RETURN 1"), mapping({}), mapping({"db": text("neo4j")})]),
                (0x3F, [mapping({"n": b"\xff"})]),
            ):
                reply = exchange(sock, tag, *fields)
                if reply[1] != 0x70:
                    print(reply[2:].decode("utf-8", "replace"), file=sys.stderr)
                    return (
                        2 if b"Unauthorized" in reply else 1
                    )  # anything else may pass, so: not yet
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
