# Python's SharedMemory: makes and removes it until it is killed, or looks at what is left.
import os
import sys
from multiprocessing.shared_memory import SharedMemory

who, name = sys.argv[2], sys.argv[3]
if who == "look":
    try:
        memory = SharedMemory(name)
    except FileNotFoundError:
        sys.exit(0)
    except ValueError:
        # There, and empty.
        os.unlink("/dev/shm/" + name)
        sys.exit(2)
    memory.unlink()
    sys.exit(0)
first = True
while True:
    memory = SharedMemory(name, create=True, size=8192)
    memory.buf[0] = 1
    if first:
        os.write(1, b"r")
        first = False
    memory.close()
    memory.unlink()
