// The headers serve C++ as well, each by itself.
#include "sem_util.h"
#include "nob_util.h"
#include "shm_util.h"

int main() {
    SharedMemory memory = nullptr;
    void *address = nullptr;
    NamedObject object = nullptr;
    Semaphore semaphore = nullptr;
    bool done = shmCreate("c++", 10, &address, &memory) == 0 && shmAddress(memory) == address;
    done = done && nobCreate("object", multiCPU, &object) == 0 && nobCommit(object, &memory) == 0;
    done = done && nobDestroy(object) == 0 && sem_create("s", 1, &semaphore) == 0 && sem_take(semaphore, 0) == 0;
    done = done && sem_delete(semaphore) == 0 && shmDestroy(memory) == 0;
    return done ? nob_util_debug + shm_util_debug + sem_util_debug : 1;
}
