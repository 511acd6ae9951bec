/* A process of the kill campaign: makes, finds, checks and gives up shared memory and named objects on a few names, and is
 * killed in the middle. With --check, finds that nothing is left.
 *
 * worker TALLY NUMBER SEED | worker --check
 */
#include <stdatomic.h>
#include <stdint.h>

#include "check.h"
#include "nob_util.h"
#include "shm_util.h"

/* As in kill.rs. */
enum { WORKERS = 16, IDS = 64, SIZE = 5000 };
typedef struct {
    _Atomic uint64_t created, found, committed, aborted, forked, saved, loaded;
    _Atomic uint64_t half_made, miscounted, errors;
    _Atomic uint64_t rounds[WORKERS];
    _Atomic int32_t ids[WORKERS][IDS];
} Tally;

static Tally *tally;
static char long_name[301];
static const char *memories[] = {"memory", "", "a/b", long_name};
static const char *objects[] = {"object", "/object", long_name + 10};
/* What is made of it is one or the other. */
static const char *wild = "wild";

static uint64_t state;

static uint64_t below(uint64_t end) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1d >> 33) % end;
}

static uintptr_t value_of(const char *name) {
    uintptr_t value = 0x5eed;
    while (*name) {
        value = value * 31 + (unsigned char)*name++;
    }
    return value | 1ULL << 40; /* no identifier */
}

static int is_id(intptr_t value) { return value >= 0 && value <= 0x7fffffff && (value & 0x7fff) >= 16384; }

static void wrong(const char *what, const char *name, int code) {
    if (atomic_fetch_add(&tally->errors, 1) < 5) {
        fprintf(stderr, "unexpected: %s of %.20s: %d (%s)\n", what, name, code, strerror(code));
    }
}

static void half_made(const char *what, const char *name, long seen) {
    if (atomic_fetch_add(&tally->half_made, 1) < 5) {
        fprintf(stderr, "half-made: %s of %.20s: %ld (errno %d)\n", what, name, seen, errno);
    }
}

/* All words are zero, or what every process writes there. */
static int is_whole(SharedMemory memory) {
    if (shmSizeOf(memory) != SIZE || !is_id(shmId(memory))) {
        return 0;
    }
    _Atomic uint64_t *words = shmAddress(memory);
    for (int i = 0; i < SIZE / 8; i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);
        if (word != 0 && word != 0xc0ffee0000ULL + i) {
            return 0;
        }
    }
    return 1;
}

static void fill(SharedMemory memory) {
    _Atomic uint64_t *words = shmAddress(memory);
    for (int i = 0; i < SIZE / 8; i++) {
        atomic_store_explicit(&words[i], 0xc0ffee0000ULL + i, memory_order_relaxed);
    }
}

static void look_at_count(NamedObject object, int least) {
    int count = nobCount(object);
    if (count < least || count > 200) {
        if (atomic_fetch_add(&tally->miscounted, 1) < 5) {
            fprintf(stderr, "%s: count %d, at least %d (errno %d)\n", nobName(object), count, least, errno);
        }
    }
}

static void destroy_object(NamedObject object, const char *name) {
    int code = nobDestroy(object);
    if (code != 0 && code != EWOULDBLOCK) {
        wrong("nobDestroy", name, code);
    }
}

static void remember(int number, int id) {
    static int next;
    atomic_store(&tally->ids[number][next++ % IDS], id);
}

static void use_memory(int number, const char *name) {
    static const long sizes[] = {SIZE, SIZE, SIZE, SIZE, 1, 0, SIZE + 1};
    long size = sizes[below(sizeof sizes / sizeof *sizes)];
    if (name != wild && size == 1) {
        size = SIZE;
    }
    SharedMemory memory = NULL;
    if (size == 1 || size == SIZE + 1) {
        size = 0; /* a new one would have the wrong size */
    }
    int code = shmCreate(name, size, NULL, &memory);
    if (code == ENOENT && size == 0) {
        return;
    }
    if (code == EINVAL && name == wild) {
        return;
    }
    if (code != 0) {
        wrong("shmCreate", name, code);
        return;
    }
    int found = errno == EEXIST;
    remember(number, shmId(memory));
    atomic_fetch_add(found ? &tally->found : &tally->created, 1);
    if (!is_whole(memory)) {
        half_made("shmCreate", name, shmSizeOf(memory));
    }
    if (below(2)) {
        fill(memory);
    }
    SharedMemory larger = NULL;
    if (below(4) == 0 && shmCreate(name, SIZE + 1, NULL, &larger) != EINVAL) {
        wrong("shmCreate, larger", name, 0);
    }
    if (below(2)) {
        NamedObject object = nobExists(name, multiCPU);
        if (object == NULL) {
            wrong("nobExists of what this process has", name, errno);
        } else {
            if ((intptr_t)nobValue(object) != shmId(memory)) {
                wrong("nobValue", name, 0);
            }
            look_at_count(object, 2);
            destroy_object(object, name);
        }
    }
    if (below(10) == 0) {
        atomic_fetch_add(&tally->forked, 1);
        pid_t child = fork();
        if (child == 0) {
            usleep(below(300));
            if (!is_whole(memory)) {
                half_made("shmCreate, in a child", name, shmSizeOf(memory));
            }
            if (below(2)) {
                shmDestroy(memory);
            }
            _exit(0);
        }
    }
    if (below(20) == 0) {
        fill(memory);
        code = shmSave(memory, "saved");
        if (code != 0) {
            wrong("shmSave", name, code);
        }
        atomic_fetch_add(&tally->saved, 1);
    }
    if (below(20) == 0) {
        struct stat status;
        if (stat("saved", &status) == 0 && status.st_size != SIZE) {
            half_made("the size of what was saved", name, status.st_size);
        }
        code = shmLoad(memory, "saved");
        if (code == 0 ? !is_whole(memory) : code != ENOENT) {
            half_made("shmLoad", name, code);
        }
        atomic_fetch_add(&tally->loaded, 1);
    }
    code = shmDestroy(memory);
    if (code != 0) {
        wrong("shmDestroy", name, code);
    }
}

static void use_object(int number, const char *name) {
    NamedObject object;
    if (below(5) == 0) {
        object = nobExists(name, multiCPU);
        if (object == NULL) {
            if (errno != ENOENT) {
                wrong("nobExists", name, errno);
            }
            return;
        }
        errno = EEXIST;
    } else {
        int code = nobCreate(name, multiCPU, &object);
        if (code != 0 && code != EEXIST) {
            wrong("nobCreate", name, code);
            return;
        }
        errno = code;
    }
    if (errno == EEXIST) {
        atomic_fetch_add(&tally->found, 1);
        uintptr_t value = (uintptr_t)nobValue(object);
        if (value != value_of(name) && !(name == wild && is_id((intptr_t)value))) {
            half_made("nobValue", name, (long)value);
        }
    } else {
        if (below(2)) {
            usleep(below(200));
        }
        if (below(4) == 0) {
            atomic_fetch_add(&tally->aborted, 1);
            int code = nobAbort(object);
            if (code != 0) {
                wrong("nobAbort", name, code);
            }
            return;
        }
        int code = nobCommit(object, (void *)value_of(name));
        if (code != 0) {
            wrong("nobCommit", name, code);
            nobAbort(object);
            return;
        }
        atomic_fetch_add(&tally->committed, 1);
    }
    look_at_count(object, 1);
    if (below(3) == 0) {
        usleep(below(200));
    }
    (void)number;
    destroy_object(object, name);
}

static int nothing_is_left(void) {
    const char *names[] = {memories[0], memories[1], memories[2], memories[3], objects[0], objects[1], objects[2], wild};
    int ghosts = 0;
    double begun = now();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        SharedMemory memory;
        NamedObject object;
        if (nobExists(names[i], multiCPU) != NULL || errno != ENOENT) {
            fprintf(stderr, "a ghost: %.20s\n", names[i]);
            ghosts++;
        }
        if (shmCreate(names[i], 0, NULL, &memory) != ENOENT) {
            fprintf(stderr, "ghostly memory: %.20s\n", names[i]);
            ghosts++;
        }
        if (nobCreate(names[i], multiCPU, &object) != 0 || nobAbort(object) != 0) {
            fprintf(stderr, "not to be made: %.20s\n", names[i]);
            ghosts++;
        }
    }
    if (now() - begun > 1) {
        fprintf(stderr, "it took %.1f s\n", now() - begun);
        ghosts++;
    }
    return ghosts;
}

int main(int count, char **arguments) {
    memset(long_name, 'l', 300);
    if (count == 2 && strcmp(arguments[1], "--check") == 0) {
        alarm(20); /* a stuck lock ends it */
        return nothing_is_left();
    }
    CHECK(count == 4);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(arguments[1], O_RDWR | O_CLOEXEC);
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(tally != MAP_FAILED && close(fd) == 0);
    int number = atoi(arguments[2]);
    state = strtoull(arguments[3], NULL, 10) | 1;
    int before = descriptors();
    for (;;) {
        switch (below(8)) {
        case 0 ... 3:
            use_memory(number, memories[below(sizeof memories / sizeof *memories)]);
            break;
        case 4 ... 5:
            use_object(number, objects[below(sizeof objects / sizeof *objects)]);
            break;
        case 6:
            use_memory(number, wild);
            break;
        default:
            use_object(number, wild);
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        if (descriptors() != before) {
            wrong("descriptors", "", 0);
            before = descriptors();
        }
        atomic_fetch_add(&tally->rounds[number], 1);
    }
}
