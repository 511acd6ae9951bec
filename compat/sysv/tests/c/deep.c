/* A library that is loaded with a scope of its own. */
#include <sys/ipc.h>
#include <sys/shm.h>

int get_deep(int key) { return shmget(key, 100, IPC_CREAT | 0600); }
