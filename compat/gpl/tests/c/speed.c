/* shmCreate and shmDestroy of memory that is there, against what libgpl does for the same: its database is locked, opened,
 * read, written and closed for the reference that is added, and again for the one that is dropped; the segment is
 * attached, asked for its size, and detached. The database is that of the machine's ndbm, which libgpl is linked with
 * (gdbm's, where that is installed), and beside it the least that a locked database could do: five calls on one page.
 * The variants take turns.
 *
 * speed DATABASE */
#include <dlfcn.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "check.h"
#include "shm_util.h"

enum { ROUNDS = 30, PAIRS = 400 };

static void update_database(const char *path) {
    char page[1024];
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    CHECK(pread(fd, page, sizeof page, 0) == sizeof page);
    page[100]++;
    CHECK(pwrite(fd, page, sizeof page, 0) == sizeof page);
    CHECK(close(fd) == 0);
}

/* ndbm's interface. */
typedef struct {
    char *dptr;
    int dsize;
} datum;
static void *(*open_database)(const char *, int, int);
static datum (*fetch)(void *, datum);
static int (*store)(void *, datum, datum, int);
static void (*close_database)(void *);
static int lock_of_ndbm;

static int find_ndbm(const char *path) {
    char pages[4200];
    void *library = dlopen("libgdbm_compat.so.4", RTLD_NOW);
    if (library == NULL) {
        return 0;
    }
    *(void **)&open_database = dlsym(library, "dbm_open");
    *(void **)&fetch = dlsym(library, "dbm_fetch");
    *(void **)&store = dlsym(library, "dbm_store");
    *(void **)&close_database = dlsym(library, "dbm_close");
    datum key = {"speed", 6}, record = {"0123456789abcdef", 16};
    void *database = open_database(path, O_RDWR | O_CREAT, 0644);
    CHECK(database != NULL && store(database, key, record, 1) == 0);
    close_database(database);
    snprintf(pages, sizeof pages, "%s.pag", path);
    lock_of_ndbm = open(pages, O_RDWR);
    CHECK(lock_of_ndbm >= 0);
    return 1;
}

static void update_ndbm(const char *path) {
    char bytes[16];
    datum key = {"speed", 6}, record = {bytes, 16};
    CHECK(lockf(lock_of_ndbm, F_LOCK, 0) == 0);
    void *database = open_database(path, O_RDWR, 0644);
    CHECK(database != NULL);
    datum found = fetch(database, key);
    CHECK(found.dsize == 16);
    memcpy(bytes, found.dptr, 16);
    bytes[8]++;
    CHECK(store(database, key, record, 1) == 0);
    close_database(database);
    CHECK(lockf(lock_of_ndbm, F_ULOCK, 0) == 0);
}

static void libgpl(void (*update)(const char *), const char *path, int id) {
    struct shmid_ds status;
    update(path);
    void *address = shmat(id, NULL, SHM_RND);
    CHECK(address != (void *)-1 && shmctl(id, IPC_STAT, &status) == 0);
    CHECK(shmdt(address) == 0);
    update(path);
}

static void commons(void) {
    SharedMemory memory;
    CHECK(shmCreate("speed", 0, NULL, &memory) == 0);
    CHECK(shmDestroy(memory) == 0);
}

static int compare(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

static double median(double *figures) {
    qsort(figures, ROUNDS, sizeof *figures, compare);
    return figures[ROUNDS / 2];
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    const char *path = arguments[1];
    char page[1024] = {0};
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    CHECK(fd >= 0 && write(fd, page, sizeof page) == sizeof page && close(fd) == 0);
    key_t key = (key_t)getpid() | 0x10000000;
    int id = shmget(key, 5000, 0660 | IPC_CREAT | IPC_EXCL);
    if (id == -1) {
        printf("SKIPPED: speed: needs System V shared memory\n");
        return 0;
    }
    shmat(id, NULL, 0);
    shmctl(id, IPC_STAT, &(struct shmid_ds){0});
    SharedMemory held;
    CHECK(shmCreate("speed", 5000, NULL, &held) == 0);
    double theirs[ROUNDS], least[ROUNDS], ours[ROUNDS], faster[ROUNDS], faster_than_least[ROUNDS];
    int ndbm = find_ndbm(path);
    for (int round = 0; round < ROUNDS; round++) {
        double begun = now();
        for (int i = 0; ndbm && i < PAIRS / 10; i++) {
            libgpl(update_ndbm, path, id);
        }
        double second = now();
        for (int i = 0; i < PAIRS; i++) {
            commons();
        }
        double third = now();
        for (int i = 0; i < PAIRS; i++) {
            libgpl(update_database, path, id);
        }
        double ended = now();
        theirs[round] = 1e6 * (second - begun) / (PAIRS / 10);
        ours[round] = 1e6 * (third - second) / PAIRS;
        least[round] = 1e6 * (ended - third) / PAIRS;
        faster[round] = theirs[round] / ours[round];
        faster_than_least[round] = least[round] / ours[round];
    }
    shmctl(id, IPC_RMID, NULL);
    CHECK(shmDestroy(held) == 0);
    printf("database %s: Commons %.2f us a pair", path, median(ours));
    printf("; with the least database %.2f us, %.1f times\n", median(least), median(faster_than_least));
    if (!ndbm) {
        printf("SKIPPED: speed: needs libgdbm_compat.so.4, for libgpl's own database\n");
        return 0;
    }
    double times = median(faster);
    printf("    libgpl's calls with its ndbm %.2f us: %.1f times faster\n", median(theirs), times);
    CHECK(times >= 3);
    return 0;
}
