"""A durable snapshot of one file, command to command: `cowctl snapshot` beside `cp --reflink` and
`sync` on XFS and btrfs on loop devices, for files of different sizes and shapes."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

ROUNDS = 5
PAGE = 4096


def fill(file, shape):
    """Writes the file's content; `file` is open for writing, unbuffered."""
    if shape == "1 MiB":
        file.write(os.urandom(1 << 20))
    elif shape == "1 GiB":
        block = os.urandom(1 << 20)
        for _ in range(1024):
            file.write(block)
    elif shape == "1 TiB sparse":
        file.truncate(1 << 40)
        file.write(os.urandom(PAGE))
    else:
        page = os.urandom(PAGE)
        for index in range(65536):
            os.pwrite(file.fileno(), page, index * 4 * PAGE)


def seconds(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, shell=isinstance(command, str))
    return time.monotonic() - begin


def ours(cowctl, work, shape):
    """Best time of `cowctl snapshot` of a file in a volume that is mounted by cowfs."""
    volume, mount = f"{work}/shape.cow", f"{work}/mount"
    os.makedirs(mount, exist_ok=True)
    cowfs = os.path.join(os.path.dirname(cowctl), "cowfs")
    subprocess.run([cowctl, "create", volume], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([cowfs, volume, mount], check=True)
    try:
        path = f"{mount}/file"
        with open(path, "wb", buffering=0) as file:
            fill(file, shape)
            os.fsync(file.fileno())
        best = min(seconds([cowctl, "snapshot", f"{path}@s{i}"]) for i in range(ROUNDS))
    finally:
        subprocess.run(["umount", mount], check=True)
        for _ in range(100):
            users = subprocess.run(
                ["fuser", "-s", volume], check=False, stderr=subprocess.DEVNULL
            )
            if users.returncode != 0:
                break
            time.sleep(0.05)
        os.unlink(volume)
    return best


def rival(mount, shape):
    """Best time of a reflinked copy that is synced."""
    path = f"{mount}/file"
    with open(path, "wb", buffering=0) as file:
        fill(file, shape)
        os.fsync(file.fileno())
    best = float("inf")
    for index in range(ROUNDS):
        copy = f"{mount}/copy{index}"
        best = min(best, seconds(f"cp --reflink=always {path} {copy} && sync -f {copy}"))
    for index in range(ROUNDS):
        os.unlink(f"{mount}/copy{index}")
    os.unlink(path)
    return best


def main():
    # As an error, so that what is mounted is unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser()
    parser.add_argument("--cowctl", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("mounts", nargs="*", metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    if not os.path.exists(os.path.join(os.path.dirname(arguments.cowctl), "cowfs")):
        print("no cowfs beside cowctl: snapshots on a mount are left out", file=sys.stderr)
        return
    # ext4 has no reflinks.
    mounts = dict(mount.split("=", 1) for mount in arguments.mounts if not mount.startswith("ext4="))
    for shape in ("1 MiB", "1 GiB", "1 TiB sparse", "65,536 isolated pages"):
        best = ours(arguments.cowctl, arguments.work, shape)
        if not mounts:
            print(json.dumps({"name": f"cowctl snapshot, {shape}", "ours_us": best * 1e6}))
        for kind, mount in mounts.items():
            other = rival(mount, shape)
            print(
                json.dumps(
                    {
                        "name": f"cowctl snapshot, {shape}; cp --reflink and sync on {kind}",
                        "ours_us": best * 1e6,
                        "rival_us": other * 1e6,
                        "ratio": other / best,
                        "target": 20 if "isolated" in shape else 0,
                    }
                ),
                flush=True,
            )


main()
