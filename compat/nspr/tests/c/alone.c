/* A program that has this library's header and no NSPR, or NSPR's headers beside it; in C and in C++. */
#ifdef NSPR_FIRST
#include <nspr.h>
#include <prshm.h>
#include <pripcsem.h>
#endif
#include <commons/prshm.h>
#ifdef NSPR_LAST
#include <nspr.h>
#include <prshm.h>
#include <pripcsem.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void *thread(void *name) {
    /* Errors are the thread's own. */
    if (PR_OpenSharedMemory((const char *)name, 1, PR_SHM_CREATE | PR_SHM_EXCL, 0600) != NULL) return (void *)1;
    return (void *)(long)(PR_GetError() == PR_FILE_EXISTS_ERROR && PR_GetOSError() == 17 ? 0 : 2);
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    const char *name = argv[1];
    char other[1000];
    snprintf(other, sizeof other, "%s.absent", name);
    if (PR_OpenSharedMemory(other, 10, 0, 0600) != NULL) return 2;
    if (PR_GetError() != PR_FILE_NOT_FOUND_ERROR || PR_GetOSError() != 2) return 3;
    PRSharedMemory *shm = PR_OpenSharedMemory(name, 100, PR_SHM_CREATE, 0600);
    if (shm == NULL) return 4;
    pthread_t id;
    void *result;
    pthread_create(&id, NULL, thread, (void *)name);
    pthread_join(id, &result);
    if (result != NULL) return 5;
    if (PR_GetError() != PR_FILE_NOT_FOUND_ERROR) return 6;
    char *a = (char *)PR_AttachSharedMemory(shm, 0);
    const char *b = (const char *)PR_AttachSharedMemory(shm, PR_SHM_READONLY);
    if (a == NULL || b == NULL) return 7;
    strcpy(a, "alone");
    if (strcmp(b, "alone") != 0) return 8;
    if (PR_DetachSharedMemory(shm, a) != PR_SUCCESS) return 9;
    if (PR_CloseSharedMemory(shm) != PR_SUCCESS) return 10;
    if (PR_DeleteSharedMemory(name) != PR_SUCCESS) return 11;
    if (PR_CloseSharedMemory(NULL) != PR_FAILURE || PR_GetError() != PR_INVALID_ARGUMENT_ERROR) return 12;
    if (PR_AttachSharedMemory(NULL, 0) != NULL || PR_OpenSharedMemory(NULL, 1, 1, 0600) != NULL) return 13;
    if (PR_WaitSemaphore(NULL) != PR_FAILURE || PR_DeleteSemaphore(NULL) != PR_FAILURE) return 14;
    PRSem *sem = PR_OpenSemaphore(name, PR_SEM_CREATE | PR_SEM_EXCL, 0600, 1);
    if (sem == NULL || PR_WaitSemaphore(sem) != PR_SUCCESS || PR_PostSemaphore(sem) != PR_SUCCESS) return 15;
    if (PR_CloseSemaphore(sem) != PR_SUCCESS || PR_DeleteSemaphore(name) != PR_SUCCESS) return 16;
    printf("fine\n");
    return 0;
}
