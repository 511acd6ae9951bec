/* libgpl's shared memory by its identifier: linked with libgpl's drop-in, run with System V's loaded before it. */
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include "shm_util.h"

#define MUST(what) do { if (!(what)) { printf("line %d: %s (errno %d)\n", __LINE__, #what, errno); return 1; } } while (0)

int main(void)
{
    void *address = NULL;
    SharedMemory memory;
    struct shmid_ds status;
    char *here, *there;
    int id;

    MUST(shmCreate("foreign", 5000, &address, &memory) == 0);
    id = shmId(memory);
    MUST((id & 32767) >= 16384);
    strcpy(address, "seen by both");

    here = shmat(id, NULL, 0);
    MUST(here != (void *) -1 && (void *) here != address);
    MUST(strcmp(here, "seen by both") == 0);
    MUST(shmctl(id, IPC_STAT, &status) == 0);
    MUST(status.shm_segsz == 5000 && status.shm_nattch == 2 && status.shm_perm.mode == 0660);

    there = shmat(id, NULL, SHM_RDONLY);
    MUST(there != (void *) -1 && there != here);
    MUST(shmctl(id, IPC_STAT, &status) == 0 && status.shm_nattch == 3);
    MUST(shmat(id, here, 0) == (void *) -1 && errno == EINVAL);
    MUST(shmdt(there) == 0);
    MUST(shmdt(there) == -1 && errno == EINVAL);
    MUST(shmdt(here + 4096) == -1 && errno == EINVAL);

    /* It outlives libgpl's own reference, and then goes with the last one. */
    MUST(shmDestroy(memory) == 0);
    MUST(strcmp(here, "seen by both") == 0);
    MUST(shmctl(id, IPC_STAT, &status) == 0 && status.shm_nattch == 1);
    MUST(shmdt(here) == 0);
    MUST(shmctl(id, IPC_STAT, &status) == -1 && errno == EINVAL);
    MUST(shmat(id, NULL, 0) == (void *) -1 && errno == EINVAL);

    MUST(shmCreate("foreign", 100, NULL, &memory) == 0);
    id = shmId(memory);
    MUST(shmctl(id, IPC_RMID, NULL) == 0);
    MUST(shmctl(id, IPC_RMID, NULL) == -1 && errno == EINVAL);
    MUST(shmctl(id, IPC_SET, &status) == -1 && errno == EINVAL);
    shmDestroy(memory);
    puts("ok");
    return 0;
}
