#!/usr/bin/python3
"""NumPy arrays with snapshots and throw-away clones: the C interface of cow, called with ctypes.

usage: numpy_array.py [LIBRARY]    (default: libcow.so, where the linker finds it)

Ends with 77 where NumPy is not installed.
"""

import ctypes
import os
import sys
import tempfile
import threading
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p

try:
    import numpy
except ImportError:
    print("skipped: this Python has no numpy (Debian: python3-numpy)")
    sys.exit(77)

READ, SCRATCH, WRITE = range(3)  # COW_ACCESS_...


class OpenOptions(ctypes.Structure):  # cow_open_options
    _fields_ = [("create", c_int), ("exclusive", c_int), ("read_only", c_int),
                ("commit_seconds", c_int), ("max_bytes", c_uint64), ("cache_bytes", c_uint64)]


class SpaceUse(ctypes.Structure):  # cow_space_use
    _fields_ = [("referenced_bytes", c_uint64), ("exclusive_bytes", c_uint64)]


def load(library):
    """The functions of cow/cow.h that are used here. An error becomes an OSError."""
    cow = ctypes.CDLL(library)
    cow.cow_error_message.restype = c_char_p

    def check(result, function, arguments):
        if result < 0:
            raise OSError(-result, cow.cow_error_message().decode())
        return result

    for name, arguments in {
            "volume_open": [c_char_p, POINTER(OpenOptions), POINTER(c_void_p)],
            "volume_sync": [c_void_p],
            "file_create": [c_void_p, c_char_p, c_uint64, POINTER(c_void_p)],
            "file_open": [c_void_p, c_char_p, POINTER(c_void_p)],
            "file_map": [c_void_p, c_int, POINTER(c_void_p)],
            "file_take_snapshot": [c_void_p, c_char_p, POINTER(c_void_p)],
            "file_open_snapshot": [c_void_p, c_char_p, POINTER(c_void_p)],
            "snapshot_map": [c_void_p, c_int, POINTER(c_void_p)],
            "snapshot_get_space": [c_void_p, POINTER(SpaceUse)],
            "mapping_reset": [c_void_p]}.items():
        function = getattr(cow, "cow_" + name)
        function.argtypes, function.errcheck = arguments, check
    for name, result in [("volume_close", None), ("file_close", None), ("snapshot_close", None),
                         ("mapping_unmap", None), ("mapping_bytes", c_void_p),
                         ("mapping_size", c_size_t)]:
        function = getattr(cow, "cow_" + name)
        function.argtypes, function.restype = [c_void_p], result
    return cow


class Handle:
    """What a function of the interface opens by its last argument; it ends with this object."""

    def __init__(self, end, opening, *arguments):
        self.end, self.value = end, c_void_p()
        opening(*arguments, byref(self.value))

    def __del__(self):
        self.end(self.value)


class Mapping(Handle):
    """Memory that NumPy takes as an array, without a copy; it lives as long as any such array."""

    def __init__(self, opening, source, access):
        super().__init__(cow.cow_mapping_unmap, opening, source.value, access)
        self.__array_interface__ = {
            "version": 3, "typestr": "<i8", "shape": (cow.cow_mapping_size(self.value) // 8,),
            "data": (cow.cow_mapping_bytes(self.value), access == READ)}


class Volume(Handle):
    def __init__(self, path, **options):
        super().__init__(cow.cow_volume_close, cow.cow_volume_open, path.encode(),
                         byref(OpenOptions(**options)))

    def create(self, path, size):
        return File(cow.cow_file_create, self.value, path, size)

    def open(self, path):
        return File(cow.cow_file_open, self.value, path)

    def sync(self):
        cow.cow_volume_sync(self.value)


class File(Handle):
    def __init__(self, opening, volume, path, *size):
        super().__init__(cow.cow_file_close, opening, volume, path.encode(), *size)

    def array(self, access):
        return numpy.asarray(Mapping(cow.cow_file_map, self, access))

    def take_snapshot(self, name):
        return Snapshot(cow.cow_file_take_snapshot, self, name)

    def open_snapshot(self, name):
        return Snapshot(cow.cow_file_open_snapshot, self, name)


class Snapshot(Handle):
    def __init__(self, opening, file, name):
        super().__init__(cow.cow_snapshot_close, opening, file.value, name.encode())

    def mapping(self, access):
        return Mapping(cow.cow_snapshot_map, self, access)

    def array(self):
        return numpy.asarray(self.mapping(READ))

    def exclusive_bytes(self):
        space = SpaceUse()
        cow.cow_snapshot_get_space(self.value, byref(space))
        return space.exclusive_bytes


def expect(so, what):
    """Also where Python was told to skip assertions."""
    if not so:
        sys.exit("not so: " + what)


def expect_error(error, operation, what):
    try:
        operation()
    except error:
        return
    sys.exit("not so: " + what)


def snapshot_of_a_quiet_array(table, live):
    live[:] = numpy.arange(live.size)
    before = table.take_snapshot("before")
    live[::4096] = -1
    old = before.array()
    expect((old == numpy.arange(live.size)).all(), "a snapshot holds the array as it was")
    expect((live[::4096] == -1).all() and live[1] == 1, "and the array has what was stored since")
    expect_error(ValueError, lambda: old.__setitem__(0, 1), "an array over a snapshot is read-only")
    live[::4096] = old[::4096]
    return before


def snapshots_beside_a_writer(table, live):
    """Another thread never stops storing; each snapshot is of its own moment all the same."""
    begun, done, stop = [0], [0], threading.Event()
    moved = threading.Condition()

    def write():
        while not stop.is_set():
            begun[0] += 1
            live[:] = begun[0]
            with moved:
                done[0] = begun[0]
                moved.notify()

    writer = threading.Thread(target=write)
    writer.start()
    kept = []
    try:
        for number in range(5):
            with moved:
                low = done[0] + 1
                moved.wait_for(lambda: done[0] >= low)
            snapshot = table.take_snapshot(f"moving-{number}")
            kept.append((snapshot, snapshot.array(), low, begun[0]))
    finally:
        stop.set()
        writer.join()
    for snapshot, old, low, high in kept:
        expect(low <= old.min() and old.max() <= high,
               "a snapshot has what was stored before it, and nothing that came after")


def throw_away_clone(before):
    """Work in place on a private copy, which costs what is written; and begin again."""
    mapping = before.mapping(SCRATCH)
    trial = numpy.asarray(mapping)
    trial[:1000] = trial[:1000][::-1].copy()
    trial *= 2
    expect(trial[0] == 1998, "a scratch array can be written")
    expect((before.array() == numpy.arange(trial.size)).all(), "which the snapshot does not see")
    cow.cow_mapping_reset(mapping.value)
    expect((trial == numpy.arange(trial.size)).all(), "and is what it was after a reset")


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "arrays.cow")
        volume = Volume(path, create=1)
        table = volume.create("/table", 16 << 20)
        live = table.array(WRITE)
        expect(live.size == 2 << 20 and not live.any(), "a new file is an array of zeros")
        before = snapshot_of_a_quiet_array(table, live)
        throw_away_clone(before)
        snapshots_beside_a_writer(table, live)
        expect(before.exclusive_bytes() >= 16 << 20, "only the snapshot has it any more")
        expect_error(FileExistsError, lambda: table.take_snapshot("before"),
                     "an error is the exception that Python has for its errno")
        live[:] = 7
        volume.sync()
        del live, before, table, volume

        table = Volume(path).open("/table")  # the file keeps the volume open
        expect((table.array(READ) == 7).all(), "what was synced is there when it is opened again")
        old = table.open_snapshot("before").array()
        expect((old == numpy.arange(old.size)).all(), "and so is the snapshot")
    print(f"16 MiB of numbers, six snapshots; {old[-1]} is the last of the first one")


cow = load(sys.argv[1] if len(sys.argv) > 1 else "libcow.so")
main()
