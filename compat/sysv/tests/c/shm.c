/* What programs see of System V shared memory, section by section. Run against the kernel and against the library, the
 * output has to be the same: so nothing is printed that differs from run to run, and ids count from an empty namespace. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SHM_EXEC
#define SHM_EXEC 0100000
#endif
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#define PAGE 4096
#define BAD ((void *)-1)

extern char **environ;
static time_t began;
static const char *self;

static const char *name(int e) {
    switch (e) {
    case 0: return "0";
    case EINVAL: return "EINVAL";
    case ENOENT: return "ENOENT";
    case EEXIST: return "EEXIST";
    case EACCES: return "EACCES";
    case EPERM: return "EPERM";
    case ENOMEM: return "ENOMEM";
    case ENOSPC: return "ENOSPC";
    case EFAULT: return "EFAULT";
    case EIDRM: return "EIDRM";
    default: return strerror(e);
    }
}

/* Prints a call's value, and its error; errno has to stay where there is none. */
#define CALL(text, expression)                                                                     \
    do {                                                                                           \
        errno = 12345;                                                                             \
        long value_ = (long)(expression);                                                          \
        int error_ = errno;                                                                        \
        if (value_ == -1)                                                                          \
            printf("%s: -1 %s\n", text, name(error_));                                             \
        else                                                                                       \
            printf("%s: %ld%s\n", text, value_, error_ == 12345 ? "" : " (errno changed)");        \
    } while (0)

/* The same for addresses, which differ from run to run. */
#define WHERE(text, expression)                                                                    \
    do {                                                                                           \
        errno = 12345;                                                                             \
        void *value_ = (void *)(expression);                                                       \
        int error_ = errno;                                                                        \
        if (value_ == BAD)                                                                         \
            printf("%s: -1 %s\n", text, name(error_));                                             \
        else                                                                                       \
            printf("%s: ok%s\n", text, error_ == 12345 ? "" : " (errno changed)");                 \
    } while (0)

static const char *who(pid_t pid, pid_t child) {
    if (pid == 0) return "0";
    if (pid == getpid()) return "self";
    if (pid == child) return "child";
    return "other";
}

static const char *when(time_t t) {
    return t == 0 ? "0" : t >= began - 1 && t <= time(NULL) + 1 ? "now" : "odd";
}

static void state(const char *text, int id, pid_t child) {
    struct shmid_ds d;
    memset(&d, 0x55, sizeof d);
    if (shmctl(id, IPC_STAT, &d) != 0) {
        printf("%s: stat %s\n", text, name(errno));
        return;
    }
    printf("%s: key %d uid %d gid %d cuid %d cgid %d mode %o seq %d size %zu nattch %lu cpid %s lpid %s a %s d %s c %s\n",
           text, d.shm_perm.__key, d.shm_perm.uid, d.shm_perm.gid, d.shm_perm.cuid, d.shm_perm.cgid,
           d.shm_perm.mode, d.shm_perm.__seq, d.shm_segsz, d.shm_nattch, who(d.shm_cpid, child),
           who(d.shm_lpid, child), when(d.shm_atime), when(d.shm_dtime), when(d.shm_ctime));
}

static void count(const char *text, int id) {
    struct shmid_ds d;
    if (shmctl(id, IPC_STAT, &d) != 0)
        printf("%s: %s\n", text, name(errno));
    else
        printf("%s: nattch %lu mode %o\n", text, d.shm_nattch, d.shm_perm.mode);
}

/* How often something is so that the kernel may take a moment for. */
static void settle(int id, unsigned long wanted) {
    struct shmid_ds d;
    for (int i = 0; i < 200; i++) {
        if (shmctl(id, IPC_STAT, &d) != 0 || d.shm_nattch == wanted) return;
        usleep(1000);
    }
}

static int reap(pid_t child) {
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Runs a block in a child, and waits for it. */
#define CHILD(block)                                                                               \
    do {                                                                                           \
        fflush(stdout);                                                                            \
        pid_t child_ = fork();                                                                     \
        if (child_ == 0) {                                                                         \
            block;                                                                                 \
            fflush(stdout);                                                                        \
            _exit(0);                                                                              \
        }                                                                                          \
        int ended_ = reap(child_);                                                                 \
        if (ended_) printf("child ended with %d\n", ended_);                                       \
    } while (0)

/* A child that does something, says so, and sleeps until it is killed. */
static pid_t sleeper(void (*work)(int), int id) {
    int ready[2];
    if (pipe(ready)) abort();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        work(id);
        if (write(ready[1], "x", 1) != 1) abort();
        for (;;) pause();
    }
    char c;
    close(ready[1]);
    if (read(ready[0], &c, 1) != 1) printf("child failed\n");
    close(ready[0]);
    return child;
}

static void attach_once(int id) { shmat(id, NULL, 0); }
static void attach_twice(int id) { shmat(id, NULL, 0), shmat(id, NULL, SHM_RDONLY); }
static void nothing(int id) { (void)id; }

static void kill_it(pid_t child) {
    kill(child, SIGKILL);
    reap(child);
}

static int new(int key, size_t size, int mode) { return shmget(key, size, IPC_CREAT | mode); }

/* ---- shmget ---- */
static void get(void) {
    CALL("absent", shmget(0x11, 100, 0600));
    CALL("absent, EXCL alone", shmget(0x11, 100, IPC_EXCL | 0600));
    CALL("size 0", shmget(0x11, 0, IPC_CREAT | 0600));
    CALL("size 0, private", shmget(IPC_PRIVATE, 0, 0600));
    CALL("size beyond SHMMAX", shmget(0x11, ULONG_MAX, IPC_CREAT | 0600));
    CALL("size just beyond SHMMAX", shmget(0x11, ULONG_MAX - (1 << 24) + 1, IPC_CREAT | 0600));
    CALL("size beyond memory", shmget(0x11, 1UL << 46, IPC_CREAT | 0600));
    CALL("new", shmget(0x11, 5000, IPC_CREAT | 0600));
    CALL("again", shmget(0x11, 5000, IPC_CREAT | 0600));
    CALL("again without CREAT", shmget(0x11, 5000, 0600));
    CALL("EXCL without CREAT", shmget(0x11, 5000, IPC_EXCL | 0600));
    CALL("CREAT and EXCL", shmget(0x11, 5000, IPC_CREAT | IPC_EXCL | 0600));
    CALL("CREAT and EXCL, size 0", shmget(0x11, 0, IPC_CREAT | IPC_EXCL | 0600));
    CALL("CREAT and EXCL, too large", shmget(0x11, ULONG_MAX, IPC_CREAT | IPC_EXCL | 0600));
    CALL("larger", shmget(0x11, 5001, 0600));
    CALL("larger, CREAT", shmget(0x11, 5001, IPC_CREAT | 0600));
    CALL("smaller", shmget(0x11, 4999, 0600));
    CALL("size 0 of existing", shmget(0x11, 0, 0600));
    CALL("flags 0", shmget(0x11, 0, 0));
    CALL("private", shmget(IPC_PRIVATE, 1, 0600));
    CALL("private with CREAT and EXCL", shmget(IPC_PRIVATE, 1, IPC_CREAT | IPC_EXCL | 0600));
    CALL("negative key", shmget(-5, 1, IPC_CREAT | 0600));
    CALL("smallest key", shmget(INT_MIN, 1, IPC_CREAT | 0600));
    CALL("negative key again", shmget(-5, 1, 0));
    CALL("unknown flags", shmget(0x12, 1, IPC_CREAT | 0600 | 0x10000000));
    CALL("NORESERVE", shmget(0x13, 100000, IPC_CREAT | 0600 | SHM_NORESERVE));
    state("new", shmget(0x11, 0, 0), 0);
}

static void ids(void) {
    for (int i = 0; i < 70; i++) {
        int id = new(IPC_PRIVATE, 1, 0600);
        if (i > 60 || i < 3) printf("id %d\n", id);
        shmctl(id, IPC_RMID, NULL);
    }
    int kept[50];
    for (int i = 0; i < 50; i++) kept[i] = new(1000 + i, 1, 0600);
    printf("kept %d to %d\n", kept[0], kept[49]);
    for (int i = 0; i < 50; i += 2) shmctl(kept[i], IPC_RMID, NULL);
    for (int i = 0; i < 20; i++) printf("%d ", new(2000 + i, 1, 0600));
    printf("\n");
    for (int i = 0; i < 50; i += 2) CALL("removed key", shmget(1000 + i, 0, 0));
    for (int i = 1; i < 50; i += 2) CALL("kept key", shmget(1000 + i, 0, 0));
    for (int i = 0; i < 100; i++) new(IPC_PRIVATE, 1, 0600);
    CALL("after many", new(IPC_PRIVATE, 1, 0600));
}

static void limit(void) {
    int made = 0, id;
    while (made < 5000 && (id = new(IPC_PRIVATE, 1, 0600)) >= 0) made++;
    printf("made %d, then %s\n", made, name(errno));
    CALL("one more", new(0x99, 1, 0600));
    struct shm_info info;
    CALL("SHM_INFO", shmctl(0, SHM_INFO, (struct shmid_ds *)&info));
    printf("used %d total %lu\n", info.used_ids, info.shm_tot);
    for (int i = 0; i < 10000; i++) {
        struct shmid_ds d;
        if ((id = shmctl(i, SHM_STAT, &d)) >= 0) shmctl(id, IPC_RMID, NULL);
    }
    shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
    printf("left %d\n", info.used_ids);
}

static void fresh(void) {
    umask(077);
    int id = new(0x21, 5000, 0666);
    state("umask does not matter", id, 0);
    unsigned char *p = shmat(id, NULL, 0);
    int zero = 1;
    for (int i = 0; i < 2 * PAGE; i++) zero &= p[i] == 0;
    printf("zero to the end of the page: %d\n", zero);
    p[2 * PAGE - 1] = 7;
    unsigned char *q = shmat(id, NULL, 0);
    printf("the end of the page is shared: %d, at another address: %d\n", q[2 * PAGE - 1], p != q);
    state("attached twice", id, 0);
    for (int m = 0; m <= 0777; m += 0111) {
        id = new(0x3000 + m, 1, m);
        struct shmid_ds d;
        if (shmctl(id, IPC_STAT, &d)) printf("mode %o: %s\n", m, name(errno));
        else printf("mode %o: %o\n", m, d.shm_perm.mode);
        CALL("remove", shmctl(id, IPC_RMID, NULL));
    }
    id = shmget(0x22, 1, IPC_CREAT | 03777);
    state("more than permissions", id, 0);
}

/* ---- shmat ---- */
static void at(void) {
    int id = new(0x31, 3 * PAGE, 0600);
    char *area = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area, 16 * PAGE);
    WHERE("bad id", shmat(12345, NULL, 0));
    WHERE("negative id", shmat(-1, NULL, 0));
    WHERE("largest id", shmat(INT_MAX, NULL, 0));
    WHERE("wrong sequence", shmat(id + 32768, NULL, 0));
    WHERE("REMAP at null", shmat(id, NULL, SHM_REMAP));
    WHERE("unaligned", shmat(id, area + 1, 0));
    WHERE("unaligned REMAP", shmat(id, area + 1, SHM_REMAP));
    WHERE("REMAP rounded to null", shmat(id, (void *)1, SHM_RND | SHM_REMAP));
    WHERE("beyond user space", shmat(id, (void *)0x7ffffffff000, 0));
    WHERE("far beyond user space", shmat(id, (void *)0xfffffffffffff000, 0));
    WHERE("at the end of all", shmat(id, (void *)0xffffffffffffe000, 0));
    WHERE("far beyond, REMAP", shmat(id, (void *)0xffff800000000000, SHM_REMAP));
    char *p = shmat(id, area, 0);
    printf("where asked: %d\n", p == area);
    WHERE("there again", shmat(id, area, 0));
    WHERE("overlapping the end", shmat(id, area + 2 * PAGE, 0));
    WHERE("overlapping the begin", shmat(id, area - 2 * PAGE, 0));
    p = shmat(id, area + 4 * PAGE + 123, SHM_RND);
    printf("rounded: %d\n", p == area + 4 * PAGE);
    WHERE("rounded onto another", shmat(id, area + 123, SHM_RND));
    count("two", id);
    strcpy(area, "hello");
    printf("same memory: %s\n", p);
    p = shmat(id, area, SHM_REMAP);
    printf("in its own place: %d %s\n", p == area, p);
    count("two still", id);
    int other = new(0x32, PAGE, 0600);
    p = shmat(other, area + PAGE, SHM_REMAP);
    printf("in the middle of another: %d '%s'\n", p == area + PAGE, p);
    count("the other", other);
    CALL("detach the one", shmdt(area));
    count("the other stays", other);
    CALL("detach the other", shmdt(area + PAGE));
    count("other", other);
    CALL("detach the third", shmdt(area + 4 * PAGE));
    count("none", id);
    WHERE("unknown flags", shmat(id, NULL, 0666));
    WHERE("more unknown flags", shmat(id, NULL, 0x7f000000));
    WHERE("unknown flag that is RDONLY", p = shmat(id, NULL, 010000));
    CALL("which is", mprotect(p, PAGE, PROT_READ | PROT_WRITE));
    CALL("readable is", mprotect(p, PAGE, PROT_READ));
    count("three", id);
    char *plain = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WHERE("onto other memory", shmat(id, plain, 0));
    strcpy(plain, "old");
    p = shmat(id, plain, SHM_REMAP);
    printf("in its place: %d '%s'\n", p == plain, p);
    CALL("detach", shmdt(plain));
    state("in the end", id, 0);
    id = new(0x33, 1, 0600);
    p = shmat(id, (void *)1, SHM_RND);
    printf("rounded to null as root: %s\n", p == BAD ? name(errno) : p == NULL ? "null" : "elsewhere");
    count("one", id);
    if (p == NULL) CALL("detach null", shmdt(NULL));
    count("none", id);
}


static void read_only(void) {
    int id = new(0x41, PAGE, 0600);
    char *w = shmat(id, NULL, 0), *r = shmat(id, NULL, SHM_RDONLY);
    strcpy(w, "seen");
    printf("read: %s\n", r);
    CALL("widen", mprotect(r, PAGE, PROT_READ | PROT_WRITE));
    CALL("widen all", mprotect(r, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    CHILD({ r[0] = 'x'; });
    CHILD({ CALL("widen in a child", mprotect(r, PAGE, PROT_READ | PROT_WRITE)); });
    CHILD({ r[0] = 'x'; });
    count("two", id);
    CALL("narrow the other", mprotect(w, PAGE, PROT_READ));
    CHILD({ w[0] = 'x'; });
    CALL("and back", mprotect(w, PAGE, PROT_READ | PROT_WRITE));
    w[0] = 'S';
    printf("read: %s\n", r);
    CALL("detach", shmdt(r));
    CALL("detach", shmdt(w));
    count("none", id);

}

/* ---- shmdt ---- */
static void dt(void) {
    int id = new(0x51, 3 * PAGE, 0600), local;
    char *plain = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *p = shmat(id, NULL, 0);
    CALL("null", shmdt(NULL));
    CALL("one off", shmdt(p + 1));
    CALL("a page off", shmdt(p + PAGE));
    CALL("plain memory", shmdt(plain));
    CALL("stack", shmdt((void *)((unsigned long)&local & ~4095UL)));
    CALL("far away", shmdt((void *)0xfffffffffffff000));
    CALL("right", shmdt(p));
    CALL("again", shmdt(p));
    state("detached", id, 0);

    p = shmat(id, NULL, 0);
    munmap(p, 3 * PAGE);
    count("unmapped whole", id);
    CALL("detach", shmdt(p));
    p = shmat(id, NULL, 0);
    munmap(p + 2 * PAGE, PAGE);
    count("the last page unmapped", id);
    CALL("detach", shmdt(p));
    count("none", id);
    p = shmat(id, NULL, 0);
    munmap(p, PAGE);
    count("the first page unmapped", id);
    CALL("detach where it is", shmdt(p + PAGE));
    CALL("detach where it was", shmdt(p));
    count("none", id);
    p = shmat(id, NULL, 0);
    munmap(p + PAGE, PAGE);
    CALL("a hole, detach", shmdt(p));
    count("none", id);
    p = shmat(id, NULL, 0);
    mprotect(p + PAGE, PAGE, PROT_READ);
    CALL("protected in part, detach", shmdt(p));
    count("none", id);
    printf("all unmapped: %d\n", mmap(p, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
    munmap(p, 3 * PAGE);

    p = shmat(id, NULL, 0);
    strcpy(p, "moved");
    char *room = mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *q = mremap(p, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    printf("%s: %d\n", q, q == room);
    count("moved", id);
    CALL("detach where it was", shmdt(p));
    count("moved", id);
    CALL("detach where it is", shmdt(q));
    count("none", id);

    p = shmat(id, NULL, 0);
    q = shmat(id, NULL, 0);
    munmap(p, 3 * PAGE);
    CALL("one of two unmapped, detach it", shmdt(p));
    CALL("the other", shmdt(q));
    count("none", id);

    p = shmat(id, NULL, 0);
    munmap(p, 3 * PAGE);
    plain = mmap(p, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    strcpy(plain, "mine");
    CALL("other memory in its place, detach", shmdt(p));
    printf("%s\n", plain);
    munmap(plain, 3 * PAGE);
    p = shmat(id, NULL, 0);
    plain = mmap(p, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    count("mapped over", id);
    strcpy(plain, "mine");
    CALL("detach", shmdt(p));
    printf("%s\n", plain);
    p = shmat(id, NULL, 0);
    syscall(SYS_munmap, p, 3 * PAGE);
    count("unmapped by a raw call", id);
    CALL("detach", shmdt(p));
}

/* ---- shmctl ---- */
static void ctl(void) {
    struct shmid_ds d;
    int id = new(0x61, 5000, 0640);
    CALL("bad id", shmctl(999, IPC_STAT, &d));
    CALL("negative id", shmctl(-1, IPC_STAT, &d));
    CALL("bad command", shmctl(id, 99, &d));
    CALL("negative command", shmctl(id, -1, &d));
    CALL("bad id and command", shmctl(999, 99, &d));
    CALL("stat into nowhere", shmctl(id, IPC_STAT, (void *)8));
    CALL("stat into null", shmctl(id, IPC_STAT, NULL));
    CALL("stat into what cannot be written", shmctl(id, IPC_STAT, (void *)(((unsigned long)name) & ~4095UL)));
    CALL("set from nowhere", shmctl(id, IPC_SET, (void *)8));
    CALL("set of a bad id from nowhere", shmctl(999, IPC_SET, NULL));
    CALL("stat", shmctl(id, IPC_STAT, &d));
    d.shm_perm.mode = 07604;
    d.shm_perm.uid = 1234;
    d.shm_perm.gid = 4321;
    d.shm_segsz = 1;
    d.shm_nattch = 77;
    CALL("set", shmctl(id, IPC_SET, &d));
    state("after", id, 0);
    d.shm_perm.uid = -1;
    CALL("set no user", shmctl(id, IPC_SET, &d));
    d.shm_perm.uid = 0;
    d.shm_perm.gid = -1;
    CALL("set no group", shmctl(id, IPC_SET, &d));
    state("after", id, 0);
    CALL("set of a bad id", shmctl(999, IPC_SET, &d));
    CALL("remove a bad id", shmctl(999, IPC_RMID, NULL));
    CALL("remove", shmctl(id, IPC_RMID, NULL));
    CALL("again", shmctl(id, IPC_RMID, NULL));
    CALL("stat", shmctl(id, IPC_STAT, &d));
    WHERE("attach", shmat(id, NULL, 0));
    CALL("get", shmget(0x61, 0, 0));
}

static void removed(void) {
    struct shmid_ds d;
    int id = new(0x62, 5000, 0640);
    char *p = shmat(id, NULL, 0);
    strcpy(p, "old");
    CALL("remove", shmctl(id, IPC_RMID, NULL));
    state("attached still", id, 0);
    CALL("remove again", shmctl(id, IPC_RMID, NULL));
    CALL("its key", shmget(0x62, 0, 0));
    int id2 = shmget(0x62, 100, IPC_CREAT | IPC_EXCL | 0600);
    printf("another under the key: %d\n", id2);
    char *q = shmat(id, NULL, 0), *n = shmat(id2, NULL, 0);
    printf("attached by id: %s, new: '%s'\n", q, n);
    state("twice", id, 0);
    shmctl(id, IPC_STAT, &d);
    d.shm_perm.mode = 0666;
    CALL("set", shmctl(id, IPC_SET, &d));
    count("mode", id);
    CALL("detach", shmdt(p));
    count("one", id);
    CHILD({ count("in a child", id); WHERE("attach", shmat(id, NULL, 0)); count("two more", id); });
    settle(id, 1);
    count("one", id);
    CALL("detach", shmdt(q));
    CALL("stat", shmctl(id, IPC_STAT, &d));
    WHERE("attach", shmat(id, NULL, 0));
    CALL("remove", shmctl(id, IPC_RMID, NULL));
    state("the new one", id2, 0);
    shmdt(n);
    p = shmat(id2, NULL, 0);
    shmctl(id2, IPC_RMID, NULL);
    munmap(p, PAGE);
    CALL("gone with munmap", shmctl(id2, IPC_STAT, &d));
    id = new(0x63, 1, 0600);
    p = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    p = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CALL("gone with mmap", shmctl(id, IPC_STAT, &d));
}

static void info(void) {
    struct shminfo limits;
    struct shm_info use;
    struct shmid_ds d;
    CALL("IPC_INFO of nothing", shmctl(0, IPC_INFO, (struct shmid_ds *)&limits));
    printf("max %lu min %lu mni %lu seg %lu all %lu\n", limits.shmmax, limits.shmmin, limits.shmmni, limits.shmseg, limits.shmall);
    CALL("SHM_INFO of nothing", shmctl(0, SHM_INFO, (struct shmid_ds *)&use));
    CALL("SHM_STAT of nothing", shmctl(0, SHM_STAT, &d));
    int ids[5];
    for (int i = 0; i < 5; i++) ids[i] = new(0x700 + i, 1 + i * 4000, 0600);
    shmctl(ids[2], IPC_RMID, NULL);
    CALL("IPC_INFO", shmctl(0, IPC_INFO, (struct shmid_ds *)&limits));
    CALL("SHM_INFO", shmctl(0, SHM_INFO, (struct shmid_ds *)&use));
    printf("used %d total %lu swapped %lu\n", use.used_ids, use.shm_tot, use.shm_swp);
    CALL("of whatever id", shmctl(777, SHM_INFO, (struct shmid_ds *)&use));
    CALL("of a negative id", shmctl(-1, SHM_INFO, (struct shmid_ds *)&use));
    CALL("IPC_INFO of a negative id", shmctl(-1, IPC_INFO, (struct shmid_ds *)&limits));
    CALL("into nowhere", shmctl(0, SHM_INFO, NULL));
    CALL("IPC_INFO into nowhere", shmctl(0, IPC_INFO, (void *)8));
    for (int i = 0; i < 7; i++) {
        memset(&d, 0, sizeof d);
        CALL("SHM_STAT", shmctl(i, SHM_STAT, &d));
        printf("key %x size %zu\n", d.shm_perm.__key, d.shm_segsz);
        CALL("SHM_STAT_ANY", shmctl(i, SHM_STAT_ANY, &d));
    }
    CALL("SHM_STAT of a large index", shmctl(32768, SHM_STAT, &d));
    CALL("SHM_STAT of a larger index", shmctl(40000, SHM_STAT, &d));
    CALL("SHM_STAT of a negative index", shmctl(-1, SHM_STAT, &d));
    shmctl(ids[4], IPC_RMID, NULL);
    CALL("highest", shmctl(0, SHM_INFO, (struct shmid_ds *)&use));
}

static void lock(void) {
    int id = new(0x71, PAGE, 0600);
    CALL("lock", shmctl(id, SHM_LOCK, NULL));
    count("locked", id);
    CALL("lock again", shmctl(id, SHM_LOCK, NULL));
    char *p = shmat(id, NULL, 0);
    p[0] = 1;
    count("attached", id);
    CALL("unlock", shmctl(id, SHM_UNLOCK, NULL));
    count("unlocked", id);
    CALL("unlock again", shmctl(id, SHM_UNLOCK, NULL));
    CALL("lock", shmctl(id, SHM_LOCK, NULL));
    shmctl(id, IPC_RMID, NULL);
    count("removed", id);
    shmdt(p);
    count("gone", id);
    CALL("lock what is gone", shmctl(id, SHM_LOCK, NULL));
    id = new(0x72, 64 * PAGE, 0600);
    struct rlimit none = {0, 0}, little = {PAGE, PAGE};
    CHILD({
        setrlimit(RLIMIT_MEMLOCK, &little);
        if (setresuid(1000, 1000, 1000)) abort();
        CALL("lock another's", shmctl(id, SHM_LOCK, NULL));
        CALL("unlock another's", shmctl(id, SHM_UNLOCK, NULL));
        int mine = new(0x73, 64 * PAGE, 0600);
        CALL("beyond the limit", shmctl(mine, SHM_LOCK, NULL));
        setrlimit(RLIMIT_MEMLOCK, &none);
        CALL("without any", shmctl(mine, SHM_LOCK, NULL));
        CALL("unlock without any", shmctl(mine, SHM_UNLOCK, NULL));
    });
}

/* ---- permissions ---- */
static void permissions_of(int id, int key) {
    struct shmid_ds d;
    static const int asked[] = {0, 0600, 0400, 0200, 0660, 0644, 0444, 0100, 0777, 0004, 0060};
    for (unsigned i = 0; i < sizeof asked / sizeof *asked; i++) {
        char text[40];
        sprintf(text, "  get %04o", asked[i]);
        CALL(text, shmget(key, 0, asked[i]));
    }
    CALL("  get to create", shmget(key, 0, IPC_CREAT | 0666));
    CALL("  get exclusively", shmget(key, 0, IPC_CREAT | IPC_EXCL | 0666));
    CALL("  get larger", shmget(key, 100000, 0777));
    WHERE("  attach", shmat(id, NULL, 0));
    WHERE("  attach read-only", shmat(id, NULL, SHM_RDONLY));
    CALL("  stat", shmctl(id, IPC_STAT, &d));
    CALL("  SHM_STAT", shmctl(id & 32767, SHM_STAT, &d));
    CALL("  SHM_STAT_ANY", shmctl(id & 32767, SHM_STAT_ANY, &d));
    d.shm_perm.mode = 0777;
    CALL("  set", shmctl(id, IPC_SET, &d));
    CALL("  remove", shmctl(id, IPC_RMID, NULL));
}

static void be(uid_t uid, gid_t gid) {
    gid_t groups[] = {gid};
    if (setgroups(0, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) abort();
}

static void permissions(void) {
    static const int modes[] = {0600, 0640, 0644, 0666, 0444, 0222, 0440, 0060, 0006, 0000, 0660, 0604};
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
        int key = 0x800 + i * 4;
        int id;
        printf("mode %04o\n", modes[i]);
        id = new(key, 100, modes[i]);
        printf(" root's, a user\n");
        CHILD({ be(1000, 1000); permissions_of(id, key); });
        printf(" root's, its group\n");
        CHILD({ be(1000, 0); permissions_of(id, key); });
        printf(" root's, a supplementary group\n");
        CHILD({ gid_t g[] = {0}; if (setgroups(1, g) || setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)) abort(); permissions_of(id, key); });
        printf(" root's, root\n");
        CHILD({ permissions_of(id, key); });
        printf(" a user's, that user\n");
        fflush(stdout);
        CHILD({ be(1000, 1000); int mine = new(key + 1, 100, modes[i]); permissions_of(mine, key + 1); });
        CHILD({ be(1000, 1000); new(key + 2, 100, modes[i]); });
        id = shmget(key + 2, 0, 0);
        printf(" a user's, another\n");
        CHILD({ be(1001, 1001); permissions_of(id, key + 2); });
        printf(" a user's, root\n");
        CHILD({ permissions_of(id, key + 2); });
    }
}

static void given(void) {
    /* Owner and creator both may; the mode of the owner is for both. */
    struct shmid_ds d;
    int id = new(0x91, 100, 0600);
    shmctl(id, IPC_STAT, &d);
    d.shm_perm.uid = d.shm_perm.gid = 1000;
    CALL("give", shmctl(id, IPC_SET, &d));
    state("given", id, 0);
    CHILD({ be(1000, 1000); WHERE("its owner", shmat(id, NULL, 0)); d.shm_perm.mode = 0640; CALL("set", shmctl(id, IPC_SET, &d)); });
    CHILD({ be(1001, 1000); WHERE("its group, to read", shmat(id, NULL, SHM_RDONLY)); WHERE("its group", shmat(id, NULL, 0)); CALL("remove", shmctl(id, IPC_RMID, NULL)); });
    CHILD({ be(1000, 1000); CALL("its owner removes", shmctl(id, IPC_RMID, NULL)); });
    count("gone", id);
}

/* ---- the life of processes ---- */
static void life(void) {
    struct shmid_ds d;
    int id = new(0xa1, 5000, 0600);
    char *p = shmat(id, NULL, 0), *r = shmat(id, NULL, SHM_RDONLY);
    count("two", id);
    CHILD({ count("four, in the child", id); strcpy(p, "from a child"); CALL("detach", shmdt(r)); count("three", id); });
    settle(id, 2);
    count("two", id);
    printf("%s\n", r);
    pid_t child = sleeper(nothing, id);
    state("four", id, child);
    kill_it(child);
    settle(id, 2);
    state("two", id, child);
    child = sleeper(attach_once, id);
    count("five", id);
    kill_it(child);
    settle(id, 2);
    count("two", id);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        shmdt(p);
        execl("/bin/sleep", "sleep", "10", NULL);
        _exit(1);
    }
    settle(id, 2);
    count("two after exec, of which the program knows nothing", id);
    kill_it(child);
    child = vfork();
    if (child == 0) _exit(0);
    reap(child);
    count("two after vfork", id);
    char *arguments[] = {"true", NULL};
    if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0) reap(child);
    count("two after posix_spawn", id);
    if (system("true")) printf("system failed\n");
    count("two after system", id);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        /* A grandchild, which outlives its parent. */
        if (fork() == 0) {
            CALL("attached", p[0]);
            fflush(stdout);
            usleep(50000);
            _exit(0);
        }
        usleep(20000);
        _exit(0);
    }
    reap(child);
    count("four, of the grandchild", id);
    settle(id, 2);
    count("two", id);
    CALL("detach", shmdt(p));
    CALL("detach", shmdt(r));
    count("none, and there", id);
    CALL("get", shmget(0xa1, 0, 0));
    child = sleeper(attach_twice, id);
    count("two of a child", id);
    CALL("remove", shmctl(id, IPC_RMID, NULL));
    count("two of a child", id);
    kill_it(child);
    for (int i = 0; i < 100 && shmctl(id, IPC_STAT, &d) == 0; i++) usleep(1000);
    count("gone", id);
    WHERE("attach", shmat(id, NULL, 0));

    id = new(0xa2, 5000, 0600);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        shmat(id, NULL, 0);
        exit(0);
    }
    reap(child);
    settle(id, 0);
    state("attached and exited", id, child);
    shmctl(id, IPC_RMID, NULL);
}

/* Forks with pieces, holes, protections and moved attachments. */
static void pieces(void) {
    int id = new(0xb1, 6 * PAGE, 0600);
    char *p = shmat(id, NULL, 0);
    for (int i = 0; i < 6; i++) p[i * PAGE] = 'a' + i;
    munmap(p + PAGE, PAGE);
    mprotect(p + 3 * PAGE, PAGE, PROT_READ);
    mprotect(p + 4 * PAGE, PAGE, PROT_NONE);
    CHILD({ printf("%c%c%c%c\n", p[0], p[2 * PAGE], p[3 * PAGE], p[5 * PAGE]); });
    CHILD({ p[0] = 'A'; p[5 * PAGE] = 'F'; });
    CHILD({ p[PAGE] = 'x'; });
    CHILD({ p[3 * PAGE] = 'x'; });
    CHILD({ printf("%c\n", p[4 * PAGE]); });
    CHILD({ CALL("detach", shmdt(p)); printf("%c\n", p[0]); });
    printf("%c%c\n", p[0], p[5 * PAGE]);
    CALL("detach", shmdt(p));
    settle(id, 0);
    count("none", id);
    p = shmat(id, NULL, 0);
    char *room = mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *q = mremap(p, 6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    CHILD({ q[0] = 'M'; count("moved, two", id); CALL("detach", shmdt(q)); count("one", id); });
    printf("%c\n", q[0]);
    settle(id, 1);
    count("one", id);
    CALL("detach", shmdt(q));
    count("none", id);
}

static volatile int stop;
static void *forks(void *argument) {
    (void)argument;
    while (!stop) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        reap(child);
    }
    return NULL;
}

static void threads(void) {
    pthread_t thread[2];
    int id = new(0xb2, PAGE, 0600);
    char *kept = shmat(id, NULL, 0);
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, forks, NULL);
    for (int i = 0; i < 300; i++) {
        char *p = shmat(id, NULL, 0);
        if (p == BAD) printf("attach: %s\n", name(errno));
        p[0]++;
        if (shmdt(p)) printf("detach: %s\n", name(errno));
        int other = new(IPC_PRIVATE, 1, 0600);
        if (other < 0) printf("get: %s\n", name(errno));
        if (shmctl(other, IPC_RMID, NULL)) printf("remove: %s\n", name(errno));
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    settle(id, 1);
    count("one", id);
    shmdt(kept);
    count("none", id);
}

static int descriptors(void) {
    int n = 0;
    for (int i = 0; i < 256; i++) n += fcntl(i, F_GETFD) != -1;
    return n;
}

static void no_descriptors(void) {
    int before = descriptors();
    int id = new(0xb3, PAGE, 0600);
    char *p = shmat(id, NULL, 0), *q = shmat(id, NULL, SHM_RDONLY);
    printf("more descriptors: %d\n", descriptors() - before);
    for (int i = 3; i < 256; i++) close(i);
    p[0] = 5;
    printf("works: %d\n", q[0]);
    count("two", id);
    CHILD({ printf("more in a child: %d\n", descriptors() - before); });
    CALL("detach", shmdt(p));
    CALL("detach", shmdt(q));
    CALL("remove", shmctl(id, IPC_RMID, NULL));
}

static volatile int caught;
static void handler(int signal) {
    (void)signal;
    caught++;
    int id = shmget(0xb4, 1, 0);
    void *p = shmat(id, NULL, 0);
    shmdt(p);
}

static void signals(void) {
    int id = new(0xb4, PAGE, 0600);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    int failed = 0;
    for (int i = 0; i < 3000 || caught < 20; i++) {
        void *p = shmat(id, NULL, 0);
        failed += p == BAD || shmdt(p);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    printf("failed %d\n", failed);
    count("none", id);
}

/* ---- other ways in ---- */
static void raw(void) {
    CALL("shmget", syscall(SYS_shmget, 0xc1, 100UL, IPC_CREAT | 0600));
    int id = syscall(SYS_shmget, 0xc1, 0UL, 0);
    CALL("by the function", shmget(0xc1, 0, 0));
    char *p = (char *)syscall(SYS_shmat, id, NULL, 0);
    strcpy(p, "raw");
    count("one", id);
    char *q = shmat(id, NULL, 0);
    printf("%s\n", q);
    struct shmid_ds d;
    CALL("shmctl", syscall(SYS_shmctl, id, IPC_STAT, &d));
    printf("size %zu nattch %lu\n", d.shm_segsz, d.shm_nattch);
    CALL("shmdt", syscall(SYS_shmdt, p));
    CALL("shmdt again", syscall(SYS_shmdt, p));
    CALL("shmdt", syscall(SYS_shmdt, q));
    CALL("shmget", syscall(SYS_shmget, 0xc2, 100UL, 0));
    CALL("shmat", syscall(SYS_shmat, 9999, NULL, 0));
    CALL("shmctl", syscall(SYS_shmctl, id, IPC_RMID, NULL));
    /* Others go through, all six arguments, errors and all. */
    CALL("getpid", syscall(SYS_getpid) - getpid());
    CALL("close", syscall(SYS_close, -1));
    p = (char *)syscall(SYS_mmap, NULL, 4096UL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0UL);
    WHERE("mmap", p);
    int file = open(self, O_RDONLY);
    p = (char *)syscall(SYS_mmap, NULL, 4096UL, PROT_READ, MAP_PRIVATE, file, 4096UL);
    q = malloc(4096);
    CALL("pread", pread(file, q, 4096, 4096));
    CALL("the sixth argument", memcmp(p, q, 4096));
    long to = 0, from = 0;
    int pair[2], out[2];
    if (pipe(pair) || pipe(out) || write(pair[1], "abc", 3) != 3) abort();
    CALL("splice", syscall(SYS_splice, pair[0], NULL, out[1], NULL, 3UL, 0));
    CALL("copy_file_range", syscall(SYS_copy_file_range, file, &from, -1, &to, 10UL, 0));
    CALL("unknown", syscall(9999));
}

static void deep(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s.deep.so", self);
    void *library = dlopen(path, RTLD_NOW | RTLD_DEEPBIND | RTLD_LOCAL);
    if (library == NULL) {
        printf("%s\n", dlerror());
        return;
    }
    int (*get)(int) = (int (*)(int))dlsym(library, "get_deep");
    CALL("through a library with its own scope", get(0xd1));
    CALL("the same key here", shmget(0xd1, 0, 0));
    /* It is found by the RUNPATH of the program. */
    snprintf(path, sizeof path, "%s", strrchr(self, '/') + 1);
    strcat(path, ".deep.so");
    printf("by RUNPATH: %s\n", dlopen(path, RTLD_NOW | RTLD_DEEPBIND) ? "found" : "not found");
    CALL("nothing", dlopen("/does/not/exist.so", RTLD_NOW) == NULL);
    CALL("the program itself", dlopen(NULL, RTLD_NOW) != NULL);
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*run)(void);
    } sections[] = {
        {"get", get}, {"ids", ids}, {"limit", limit}, {"fresh", fresh}, {"at", at}, {"read_only", read_only},
        {"dt", dt}, {"ctl", ctl}, {"removed", removed}, {"info", info}, {"lock", lock},
        {"permissions", permissions}, {"given", given}, {"life", life}, {"pieces", pieces}, {"threads", threads},
        {"no_descriptors", no_descriptors}, {"signals", signals}, {"raw", raw}, {"deep", deep},
    };
    self = arguments[0];
    began = time(NULL);
    if (count != 2) {
        for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++) puts(sections[i].name);
        return 0;
    }
    for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (strcmp(arguments[1], sections[i].name) == 0) {
            sections[i].run();
            return 0;
        }
    }
    return 2;
}
