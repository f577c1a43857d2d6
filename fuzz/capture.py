#!/usr/bin/env python3
"""Makes the corpus of the decoder anew from a real server.

    fuzz/capture.py HOST PORT USER DATABASE

DATABASE must be empty and let USER in without a password. capture.sql runs in it through psql; then
its slot is streamed twice, with text and with binary columns, into fuzz/corpus/pgoutput: the two
streams as they came from the socket, cut to whole CopyData messages, and each body on its own.
"""

import contextlib
import pathlib
import socket
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus" / "pgoutput"
NAMES = {
    "B": "begin", "C": "commit", "O": "origin", "R": "relation", "Y": "type", "I": "insert",
    "U": "update", "D": "delete", "T": "truncate", "M": "message",
}


class Walsender:
    """A replication connection of the simplest kind: no TLS, no password."""

    def __init__(self, host, port, user, database):
        self.socket = socket.create_connection((host, port))
        options = {"user": user, "database": database, "replication": "database",
                   "client_encoding": "UTF8"}
        body = b"".join(f"{k}\0{v}\0".encode() for k, v in options.items()) + b"\0"
        self.socket.sendall(struct.pack(">ii", len(body) + 8, 196608) + body)
        self.until("Z")

    def close(self):
        self.socket.close()

    def exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(count)
            if not part:
                sys.exit("the server closed the connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def message(self):
        header = self.exactly(5)
        body = self.exactly(struct.unpack(">i", header[1:])[0] - 4)
        if header[:1] == b"E":
            sys.exit(body.decode(errors="replace"))
        return header[:1].decode(), header + body

    def until(self, tag):
        while self.message()[0] != tag:
            pass

    def stream(self, end, options):
        """All CopyData messages up to the keepalive that says that `end` was reached."""
        query = f"START_REPLICATION SLOT capture LOGICAL 0/0 ({options})\0".encode()
        self.socket.sendall(b"Q" + struct.pack(">i", len(query) + 4) + query)
        self.until("W")
        messages = []
        while True:
            tag, message = self.message()
            if tag != "d":
                continue
            messages.append(message)
            if message[5:6] == b"k" and struct.unpack(">Q", message[6:14])[0] >= end:
                return messages
            # Ask for a keepalive, acknowledging nothing, so that the end is told.
            if message[5:6] == b"w":
                status = b"r" + struct.pack(">QQQqB", 0, 0, 0, 0, 1)
                self.socket.sendall(b"d" + struct.pack(">i", len(status) + 4) + status)


def psql(host, port, user, database, *arguments):
    command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", user, "-d",
               database, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    place = sys.argv[1:]
    psql(*place, "-f", str(HERE / "capture.sql"))
    high, low = psql(*place, "-c", "SELECT pg_current_wal_flush_lsn()").split("/")
    end = int(high, 16) << 32 | int(low, 16)
    for old in CORPUS.glob("*.bin"):
        old.unlink()
    host, port, user, database = place
    for columns, binary in [("text", "false"), ("binary", "true")]:
        options = f"proto_version '1', publication_names 'capture', messages 'true', binary '{binary}'"
        with contextlib.closing(Walsender(host, int(port), user, database)) as walsender:
            messages = walsender.stream(end, options)
        # One keepalive between messages and the last one; the server sends as many as were asked for.
        kept = []
        for message in messages:
            if message[5:6] == b"w" or len([m for m in kept if m[5:6] == b"k"]) < 1:
                kept.append(message)
        kept.append(messages[-1])
        (CORPUS / f"stream-{columns}.bin").write_bytes(b"".join(kept))
        counts, seen = {}, set()
        for message in kept:
            if message[5:6] != b"w":
                continue
            body = message[5 + 25:]
            name = NAMES[body[:1].decode()]
            # Begins and commits are all alike, and binary differs only where there are tuples.
            if body in seen or name in ("begin", "commit") and counts.get(name, 0) == 2:
                continue
            if columns == "binary" and name not in ("insert", "update", "delete"):
                continue
            seen.add(body)
            counts[name] = counts.get(name, 0) + 1
            (CORPUS / f"{name}-{columns}-{counts[name]:02}.bin").write_bytes(body)
    # Both belong to the whole server, not to the database.
    psql(*place, "-c", "SELECT pg_replication_origin_drop('elsewhere')")
    psql(*place, "-c", "SELECT pg_drop_replication_slot('capture')")


main()
