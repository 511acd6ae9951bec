/* Where the library differs from the kernel on purpose, or because it cannot do otherwise: one case for each argument. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static unsigned long nattch(int id) {
    struct shmid_ds d;
    return shmctl(id, IPC_STAT, &d) ? (unsigned long)-1 : d.shm_nattch;
}

static const char *got(long id) { return id >= 0 ? "made" : errno == ENOMEM ? "ENOMEM" : errno == EPERM ? "EPERM" : strerror(errno); }

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "fragments")) {
        int id = shmget(1, 3 * PAGE, IPC_CREAT | 0600);
        char *p = shmat(id, NULL, 0);
        mprotect(p + PAGE, PAGE, PROT_READ);
        printf("protected: %lu\n", nattch(id));
        munmap(p + PAGE, PAGE);
        printf("hole: %lu\n", nattch(id));
        shmdt(p);
        printf("detached: %lu\n", nattch(id));
    } else if (!strcmp(what, "noreserve")) {
        printf("%s\n", got(shmget(1, 1UL << 46, IPC_CREAT | SHM_NORESERVE | 0600)));
    } else if (!strcmp(what, "large")) {
        printf("%s\n", got(shmget(1, 8 << 20, IPC_CREAT | 0600)));
    } else if (!strcmp(what, "huge")) {
        printf("%s\n", got(shmget(1, 2 << 20, IPC_CREAT | SHM_HUGETLB | 0600)));
    } else if (!strcmp(what, "give")) {
        if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)) abort();
        struct shmid_ds d;
        int id = shmget(1, 100, IPC_CREAT | 0600);
        shmctl(id, IPC_STAT, &d);
        d.shm_perm.uid = 1001;
        printf("%s\n", got(shmctl(id, IPC_SET, &d)));
    } else if (!strcmp(what, "clone")) {
        int id = shmget(1, 100, IPC_CREAT | 0600);
        shmat(id, NULL, 0);
        fflush(stdout);
        long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0) for (;;) pause();
        printf("%lu\n", nattch(id));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    } else if (!strcmp(what, "maps")) {
        char line[512];
        shmat(shmget(0x77, 100, IPC_CREAT | 0600), NULL, 0);
        FILE *maps = fopen("/proc/self/maps", "r");
        while (fgets(line, sizeof line, maps))
            if (strstr(line, "SYSV00000077")) printf("SYSV\n");
            else if (strstr(line, "/shm.0")) printf("shm\n");
    } else if (!strcmp(what, "locker")) {
        struct shmid_ds d;
        int id = shmget(1, 100, IPC_CREAT | 0600);
        pid_t child = fork();
        if (child == 0) _exit(shmctl(id, SHM_LOCK, NULL));
        waitpid(child, NULL, 0);
        shmctl(id, IPC_STAT, &d);
        printf("%o\n", d.shm_perm.mode);
    } else if (!strcmp(what, "create")) { /* NAME: a key */
        printf("%d\n", shmget(atoi(arguments[2]), 5000, IPC_CREAT | 0600));
    } else if (!strcmp(what, "orphan")) { /* Its last holder is killed. */
        int id = shmget(1, 5000, IPC_CREAT | 0600);
        shmat(id, NULL, 0);
        shmctl(id, IPC_RMID, NULL);
        raise(SIGKILL);
    } else if (!strcmp(what, "exit")) { /* Ends without detaching. */
        int id = shmget(1, 5000, IPC_CREAT | 0600);
        char *p = shmat(id, NULL, 0), *q = shmat(id, NULL, SHM_RDONLY);
        shmctl(id, IPC_RMID, NULL);
        p[0] = 'x';
        printf("%c\n", q[0]);
    } else if (!strcmp(what, "look")) {
        shmget(99, 0, 0);
    } else {
        return 2;
    }
    return 0;
}
