"""Answers each question, `WORK COUNT`, with nanoseconds for each operation."""
import ctypes
import mmap
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.shared_memory import SharedMemory

name = sys.argv[2] + "-python"
size = 4096


def create(count):
    for _ in range(count):
        memory = SharedMemory(name=name, create=True, size=size)
        memory.buf[0] = 1
        memory.close()
        memory.unlink()


def open_one(count):
    for _ in range(count):
        SharedMemory(name=name + "-kept").close()


def lock(count):
    acquire, release = mutex.acquire, mutex.release
    for _ in range(count):
        acquire()
        release()


def semaphore(count):
    acquire, release = permits.acquire, permits.release
    for _ in range(count):
        acquire()
        release()


def beside(body):
    """Forks a process on the other core, which ends with this one."""
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            os.sched_setaffinity(0, {int(sys.argv[1])})
            body()
        finally:
            os._exit(0)
    return pid


def contend(milliseconds):
    """Two take the lock for so long; nanoseconds for each visit of either."""
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    acquire, release = mutex.acquire, mutex.release

    def partner():
        visits = 0
        shared[0] = 1
        while shared[0] == 1:
            for _ in range(16):
                acquire()
                release()
            visits += 16
        shared[8:16] = visits.to_bytes(8, "little")

    pid = beside(partner)
    while shared[0] != 1:
        pass
    visits = 0
    begun = now = time.perf_counter_ns()
    while now - begun < milliseconds * 1_000_000:
        for _ in range(16):
            acquire()
            release()
        visits += 16
        now = time.perf_counter_ns()
    shared[0] = 2
    os.waitpid(pid, 0)
    return (now - begun) / (visits + int.from_bytes(shared[8:16], "little"))


def barrier(count):
    """Two meet at a barrier."""
    meeting = multiprocessing.Barrier(2)

    def meet():
        for _ in range(count):
            meeting.wait()

    def partner():
        meeting.wait()
        meet()

    pid = beside(partner)
    meeting.wait()
    begun = time.perf_counter_ns()
    meet()
    took = time.perf_counter_ns() - begun
    os.waitpid(pid, 0)
    return took / count


mutex = multiprocessing.Lock()
permits = multiprocessing.Semaphore(1)
kept = None
works = {"create": create, "open": open_one, "lock": lock, "semaphore": semaphore}
of_two = {"contend": contend, "barrier": barrier}
try:
    for question in sys.stdin:
        try:
            work, count = question.split()
            if work == "open" and kept is None:
                kept = SharedMemory(name=name + "-kept", create=True, size=size)
            if work in of_two:
                print(of_two[work](int(count)), flush=True)
                continue
            begun = time.perf_counter_ns()
            works[work](int(count))
            print((time.perf_counter_ns() - begun) / int(count), flush=True)
        except Exception as error:
            print(f"error: {error}", flush=True)
finally:
    if kept is not None:
        kept.close()
        kept.unlink()
