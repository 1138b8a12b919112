# SPDX-License-Identifier: MIT
"""A file system with one file, "log", that a user serves (include/uapi/linux/fuse.h): it answers its user, and root never."""

import ctypes
import errno
import os
import stat
import struct
import threading

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, WRITE, STATFS, RELEASE, FLUSH, INIT, INTERRUPT, BATCH_FORGET = (
    1, 2, 3, 4, 14, 16, 17, 18, 25, 26, 36, 42)
ROOT, LOG = 1, 2


class StuckFs:
    def __init__(self, path, uid, gid, *more):
        self.path, self.uid, self.gid = path, uid, gid
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.libc = ctypes.CDLL(None, use_errno=True)
        options = ",".join((f"fd={self.fd},rootmode=40000,user_id={uid},group_id={gid}", *more))
        if self.libc.mount(b"stuck", str(path).encode(), b"fuse", 2 | 4, options.encode()) < 0:
            number = ctypes.get_errno()
            os.close(self.fd)
            raise OSError(number, os.strerror(number))
        self.kept = []  # what root asked for
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def attributes(self, node):
        mode = stat.S_IFDIR | 0o777 if node == ROOT else stat.S_IFREG | 0o666
        return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, self.uid, self.gid, 0, 4096, 0)

    def answer(self, opcode, node, body):
        """An errno, or the bytes of the reply."""
        if opcode == INIT:
            return struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 0, 0, 65536, 1, 0, 0, *[0] * 8)
        if opcode == LOOKUP:
            if body.rstrip(b"\0") != b"log":
                return errno.ENOENT
            return struct.pack("<4Q2I", LOG, 0, 0, 0, 0, 0) + self.attributes(LOG)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("<Q2I", 1, 0, 0)
        if opcode == WRITE:
            return struct.pack("<2I", struct.unpack_from("<I", body, 16)[0], 0)
        if opcode == STATFS:
            return bytes(80)
        return b"" if opcode in (FLUSH, RELEASE) else errno.ENOSYS

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError:
                return
            _, opcode, unique, node, uid = struct.unpack_from("<IIQQI", request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            if uid == 0 and opcode not in (INIT, RELEASE):
                self.kept.append(opcode)
                continue
            reply = self.answer(opcode, node, request[40:])
            error, data = (-reply, b"") if isinstance(reply, int) else (0, reply)
            os.write(self.fd, struct.pack("<IiQ", 16 + len(data), error, unique) + data)

    def close(self):
        self.libc.umount2(str(self.path).encode(), 1 | 2)  # MNT_FORCE | MNT_DETACH: whoever waits is let go
        self.thread.join()
        os.close(self.fd)
