#!/usr/bin/python3
"""A cable between two network namespaces that delays frames, changes their order and loses some of them.

  cable.py NAMESPACE DEVICE NAMESPACE DEVICE DELAY_S JITTER_S LOSS SEED

Makes both devices (TAP), says "ready", carries frames until its input ends, and says how many it carried and how
many it lost. For kernels without netem; as root.
"""
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
LARGEST_FRAME = 65536


def missing():
    """Why there can be no cables here, or ""."""
    return "" if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "no TAP devices can be made"


def plug(namespace, device):
    """The file of a new TAP device in a namespace, where this process is from then on."""
    with open(f"/run/netns/{namespace}", "rb") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0):
            sys.exit(f"{namespace}: {os.strerror(ctypes.get_errno())}")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return end


def carry(ends, delay, jitter, loss, rng):
    """Until the input ends. Returns the frames carried and lost."""
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way, carried, lost = [], 0, 0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([sys.stdin, *ends], [], [], wait)
        if sys.stdin in readable:
            return carried, lost
        for end in readable:
            frame = os.read(end, LARGEST_FRAME)
            if rng.random() < loss:
                lost += 1
                continue
            carried += 1
            due = time.monotonic() + delay + rng.uniform(-jitter, jitter)
            heapq.heappush(under_way, (due, carried, other[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(under_way)
            try:
                os.write(end, frame)
            except OSError:  # the device is not up, or full: the frame is lost like others
                lost += 1


def main():
    ends = [plug(*sys.argv[1:3]), plug(*sys.argv[3:5])]
    print("ready", flush=True)
    delay, jitter, loss = map(float, sys.argv[5:8])
    carried, lost = carry(ends, delay, jitter, loss, random.Random(int(sys.argv[8])))
    print(json.dumps({"carried": carried, "lost": lost}))


if __name__ == "__main__":
    main()
