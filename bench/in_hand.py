"""Free memory that is in hand: of this machine, not of the host that it may be a guest of.

A virtual machine tells its host which memory has been free for two seconds (free page reporting); the host takes it, and brings
it back page by page when it is touched: 13 to 20 ms for 2 MB, which take 0.1 to 0.4 ms to clear.  That price is the
hypervisor's, and falls to whoever builds first after a pause.  So the same amount of memory is touched, and freed, before each
timed build of any system; what is freed last is what the kernel hands out first.
"""
import mmap
import os
import threading

import numpy

PAGE = 4096
HUGE_PAGE = 1 << 21
# Of what is free at most, so that nothing is swapped and no page of a file is dropped for it.
SHARE = 0.75
# Bytes that a build may come to touch, over those of the vectors in full and their links: pgvector clears 1.5 times as
# many at once, whatever it needs of them (see driver.enough_memory), and everybody writes an index.
TIMES = 2


def wanted(rows, dims):
    return TIMES * rows * (4 * dims + 1024)


def number(path):
    """None: there is no such file, or it says "max"."""
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def allowed():
    """What the control groups of this process leave it, None where nothing limits it."""
    try:
        with open("/proc/self/cgroup") as file:
            group = next(line[3:].strip() for line in file if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    left = []
    while True:
        place = "/sys/fs/cgroup" + group.rstrip("/")
        limit, used = number(place + "/memory.max"), number(place + "/memory.current")
        if limit is not None and used is not None:
            left.append(limit - used)
        if group.strip("/") == "":
            return min(left, default=None)
        group = os.path.dirname(group)


def free():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemFree"))


def take(bytes_wanted):
    """Touches and frees so many bytes, less where fewer are free; returns how many.  All processors share the work, which is
    clearing: a tenth of a second for 2 GB where no host is asked."""
    there = min(x for x in (free(), allowed()) if x is not None)
    size = int(min(bytes_wanted + HUGE_PAGE - 1, there * SHARE)) // HUGE_PAGE * HUGE_PAGE
    if size <= 0:
        return 0
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # a limit of this process, or a system that promises no more than it has
        return 0
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        pass
    # The arrays keep the mapping, so all of them are gone before it is closed.
    touch(memory, size)
    memory.close()
    return size


def touch(memory, size):
    pages = numpy.frombuffer(memory, numpy.uint8)[::PAGE]
    team = len(os.sched_getaffinity(0))
    step = -(-size // team // HUGE_PAGE) * HUGE_PAGE // PAGE

    def part(i):
        pages[i * step:(i + 1) * step] = 1  # without Python's lock

    threads = []
    for i in range(team):
        thread = threading.Thread(target=part, args=(i,))
        try:
            thread.start()
        except RuntimeError:  # a limit of this user, or of a container
            part(i)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()
