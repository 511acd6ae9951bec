/* Processes that are killed at any moment while they use shared memory; and what is looked at afterwards.
 *
 * killed work SEED: works until it is killed; ends with 1 if it sees what must not be.
 * killed race SEED: attaches and removes the same segment, some thousand times.
 * killed check: when all are dead, prints the ids there are, and what must not be. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#define KEYS 12
#define KEY(n) (0x5000 + (n))
#define BAD ((void *)-1)

static unsigned long long state;

static unsigned random_below(unsigned n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

static void wrong(const char *what, long a, long b) {
    fprintf(stderr, "%d: %s %ld %ld\n", getpid(), what, a, b);
    exit(1);
}

static long nattch(int id) {
    struct shmid_ds d;
    return shmctl(id, IPC_STAT, &d) ? -errno : (long)d.shm_nattch;
}

/* A segment that many know: what is in it is 0, or what its key says. */
static void shared(void) {
    int n = random_below(KEYS), flags = random_below(3) ? IPC_CREAT : random_below(2) ? 0 : IPC_CREAT | IPC_EXCL;
    size_t size = 4096 * (1 + n % 3);
    int id = shmget(KEY(n), size, flags | 0600);
    if (id < 0) {
        if (errno != ENOENT && errno != EEXIST) wrong("shmget", n, errno);
        return;
    }
    volatile long *p = shmat(id, NULL, random_below(4) ? 0 : SHM_RDONLY);
    if (p == BAD) {
        if (errno != EINVAL && errno != EIDRM) wrong("shmat", id, errno);
        return;
    }
    long found = *p;
    if (found != 0 && found != KEY(n)) wrong("another's content", KEY(n), found);
    volatile long *q = shmat(id, NULL, 0);
    if (q != BAD) *q = KEY(n);
    if (q != BAD && *p != KEY(n)) wrong("not the same memory", id, *p);
    if (nattch(id) < 1) wrong("attached, and not counted", id, nattch(id));
    if (random_below(4) == 0 && shmctl(id, IPC_RMID, NULL) && errno != EINVAL) wrong("IPC_RMID", id, errno);
    if (random_below(3) == 0) {
        pid_t child = fork();
        if (child == 0) {
            if (*p != KEY(n) && q != BAD) wrong("in a child", id, *p);
            if (random_below(2)) shmdt((void *)p);
            if (random_below(2)) _exit(0);
            for (;;) pause();
        }
        if (random_below(2)) kill(child, SIGKILL), waitpid(child, NULL, 0);
        /* Otherwise it stays, and may outlive this process. */
    }
    if (random_below(8) == 0) munmap((void *)p, size);
    else if (shmdt((void *)p)) wrong("shmdt", id, errno);
    if (q != BAD && random_below(8) && shmdt((void *)q)) wrong("shmdt", id, errno);
}

/* A segment that nobody else knows: its attachments are exactly these. */
static void own(void) {
    int id = shmget(IPC_PRIVATE, 100, 0600);
    if (id < 0) wrong("private", id, errno);
    long *p[4];
    int n = 1 + random_below(3);
    for (int i = 0; i < n; i++)
        if ((p[i] = shmat(id, NULL, 0)) == BAD) wrong("attach", id, errno);
    if (nattch(id) != n) wrong("count", nattch(id), n);
    if (p[0][0] != 0) wrong("not new", id, p[0][0]);
    p[0][0] = id + 1;
    if (random_below(2)) {
        int ready[2];
        char c;
        if (pipe(ready)) abort();
        pid_t child = fork();
        if (child == 0) {
            if (write(ready[1], "x", 1) != 1) abort();
            for (;;) pause();
        }
        close(ready[1]);
        if (read(ready[0], &c, 1) != 1) abort();
        close(ready[0]);
        if (nattch(id) != 2 * n) wrong("count with a child", nattch(id), 2 * n);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        for (int i = 0; i < 1000 && nattch(id) != n; i++) usleep(1000);
        if (nattch(id) != n) wrong("ghosts of a child", nattch(id), n);
    }
    if (shmctl(id, IPC_RMID, NULL)) wrong("remove", id, errno);
    if (p[n - 1][0] != id + 1) wrong("content", id, p[n - 1][0]);
    for (int i = 0; i < n; i++)
        if (shmdt(p[i])) wrong("detach", id, errno);
    if (nattch(id) >= 0) wrong("removed, and there", id, nattch(id));
}

static int check(void) {
    struct shmid_ds d;
    struct shm_info info;
    int wrongs = 0, ids = 0, last = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
    for (int index = 0; index <= last; index++) {
        int id = shmctl(index, SHM_STAT_ANY, &d);
        if (id < 0) continue;
        printf("id %d\n", id);
        ids++;
        int key = d.shm_perm.__key;
        if (d.shm_nattch != 0) printf("ghost: %d has %lu\n", id, d.shm_nattch), wrongs++;
        if (d.shm_perm.mode & 01000) printf("ghost: %d is removed and there\n", id), wrongs++;
        if (key != 0 && shmget(key, 0, 0) != id) printf("stale: key %x is %d, not %d\n", key, shmget(key, 0, 0), id), wrongs++;
        long *p = shmat(id, NULL, 0);
        if (p == BAD) {
            printf("stale: %d cannot be attached\n", id), wrongs++;
            continue;
        }
        if (key != 0 && *p != 0 && *p != key) printf("stale: %x has %lx\n", key, *p), wrongs++;
        for (size_t at = 0; at < d.shm_segsz; at += 4096) ((volatile char *)p)[at] += 0;
        if (shmdt(p)) printf("stale: %d cannot be detached\n", id), wrongs++;
        /* Private ones are of those who were killed. */
        if (key == 0) shmctl(id, IPC_RMID, NULL);
    }
    if (info.used_ids != ids) printf("half: %d are counted, %d found\n", info.used_ids, ids), wrongs++;
    for (int n = 0; n < KEYS; n++) {
        int id = shmget(KEY(n), 1, 0);
        if (id >= 0 && (shmctl(id, IPC_STAT, &d) || d.shm_perm.__key != KEY(n))) printf("stale: key %x\n", KEY(n)), wrongs++;
    }
    /* All can be made and used again. */
    int id = shmget(0x6000, 1, IPC_CREAT | IPC_EXCL | 0600);
    if (id < 0 || shmctl(id, IPC_RMID, NULL)) printf("half: cannot create, %d\n", errno), wrongs++;
    return wrongs != 0;
}

/* Attaching what others remove this moment: what is attached is counted, and gone afterwards. */
static int race(void) {
    for (int i = 0; i < 20000; i++) {
        int id = shmget(KEY(0), 4096, IPC_CREAT | 0600);
        if (id < 0) wrong("shmget", id, errno);
        if (random_below(2)) {
            if (shmctl(id, IPC_RMID, NULL) && errno != EINVAL) wrong("IPC_RMID", id, errno);
            continue;
        }
        void *p = shmat(id, NULL, 0);
        if (p == BAD) {
            if (errno != EINVAL && errno != EIDRM) wrong("shmat", id, errno);
            continue;
        }
        if (nattch(id) < 1) wrong("attached, and not counted", id, nattch(id));
        if (shmdt(p)) wrong("shmdt", id, errno);
    }
    return 0;
}

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "check")) return check();
    state = strtoull(arguments[2], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    if (!strcmp(arguments[1], "race")) return race();
    for (int i = 0;; i++) {
        if (random_below(3)) shared();
        else own();
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        /* Not more children, and attachments that are left, than a machine bears. */
        if (i > 2000) exit(0);
    }
}
