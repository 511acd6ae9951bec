/* NSPR's own shared memory and semaphores: works on them until it is killed, or looks at what is left. */
#include <nspr.h>
#include <pripcsem.h>
#include <prshm.h>

#include <string.h>
#include <unistd.h>

/* Whoever looks ends with 0 (well) or 2 (wrong); the laboratory ends it if it does not come to its end: stuck. */
int main(int count, char **arguments) {
    (void)count;
    const int semaphore = strcmp(arguments[1], "semaphore") == 0, looks = strcmp(arguments[2], "look") == 0;
    const char *name = arguments[3];
    if (!looks) {
        (void)!write(1, "r", 1);
    }
    do {
        if (semaphore) {
            PRSem *sem = PR_OpenSemaphore(name, PR_SEM_CREATE, 0600, 1);
            if (!sem || PR_WaitSemaphore(sem) || PR_PostSemaphore(sem) || PR_CloseSemaphore(sem)) {
                return 2;
            }
        } else {
            PRSharedMemory *memory = PR_OpenSharedMemory(name, 8192, PR_SHM_CREATE, 0600);
            void *address = memory ? PR_AttachSharedMemory(memory, 0) : NULL;
            if (!address || PR_DetachSharedMemory(memory, address) || PR_CloseSharedMemory(memory)) {
                return 2;
            }
            if (PR_DeleteSharedMemory(name)) {
                return 2;
            }
        }
    } while (!looks);
    return semaphore ? PR_DeleteSemaphore(name) != 0 : 0;
}
