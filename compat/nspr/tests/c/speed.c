/* How long opening, attaching, detaching and closing takes: nanoseconds for each round, the best of 30 times 1,000.
 * Usage: speed PATH [open|create [touch]] or speed PATH semaphore. The same program runs on Debian's libnspr4 and, preloaded, on Commons. */
#include <prerror.h>
#include <pripcsem.h>
#include <prshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int semaphore(const char *name) {
    PRSem *sem = PR_OpenSemaphore(name, PR_SEM_CREATE, 0600, 1);
    if (!sem) return 1;
    double best = 1e18;
    for (int group = 0; group < 30; group++) {
        double begun = now();
        for (int i = 0; i < 1000; i++) {
            if (PR_WaitSemaphore(sem) != PR_SUCCESS || PR_PostSemaphore(sem) != PR_SUCCESS) return 2;
        }
        double took = (now() - begun) / 1000;
        if (took < best) best = took;
    }
    printf("%.0f\n", best);
    PR_CloseSemaphore(sem);
    return PR_DeleteSemaphore(name) == PR_SUCCESS ? 0 : 3;
}

int main(int argc, char **argv) {
    if (argc < 2) return 9;
    const char *name = argv[1];
    if (argc > 2 && strcmp(argv[2], "semaphore") == 0) return semaphore(name);
    int flags = argc > 2 && strcmp(argv[2], "create") == 0 ? PR_SHM_CREATE : 0;
    int touch = argc > 3;
    PRSharedMemory *shm = PR_OpenSharedMemory(name, 65536, PR_SHM_CREATE, 0600);
    if (!shm) return 1;
    double best = 1e18;
    for (int group = 0; group < 30; group++) {
        double begun = now();
        for (int i = 0; i < 1000; i++) {
            PRSharedMemory *again = PR_OpenSharedMemory(name, 65536, flags, 0600);
            if (!again) return 2;
            volatile char *at = PR_AttachSharedMemory(again, 0);
            if (!at) return 3;
            if (touch) at[0]++;
            if (PR_DetachSharedMemory(again, (void *)at) != PR_SUCCESS) return 4;
            if (PR_CloseSharedMemory(again) != PR_SUCCESS) return 5;
        }
        double took = (now() - begun) / 1000;
        if (took < best) best = took;
    }
    printf("%.0f\n", best);
    PR_CloseSharedMemory(shm);
    return PR_DeleteSharedMemory(name) == PR_SUCCESS ? 0 : 6;
}
