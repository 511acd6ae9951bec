"""Answers each question, `WORK COUNT`, with nanoseconds for each operation."""
import multiprocessing
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


mutex = multiprocessing.Lock()
permits = multiprocessing.Semaphore(1)
kept = None
works = {"create": create, "open": open_one, "lock": lock, "semaphore": semaphore}
try:
    for question in sys.stdin:
        try:
            work, count = question.split()
            if work == "open" and kept is None:
                kept = SharedMemory(name=name + "-kept", create=True, size=size)
            begun = time.perf_counter_ns()
            works[work](int(count))
            print((time.perf_counter_ns() - begun) / int(count), flush=True)
        except Exception as error:
            print(f"error: {error}", flush=True)
finally:
    if kept is not None:
        kept.close()
        kept.unlink()
