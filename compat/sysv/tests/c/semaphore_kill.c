/* Processes that use a set of semaphores in all ways, killed at random moments: KILLS SEED WORKERS.
 *
 * Semaphores 0 to 3: arrays move units from 0 and 1 to 2 and 3 and back, without undo. However a process dies, an array was
 * done or was not: 0 equals 1, 2 equals 3, and together they are what they were.
 * 4 and 5: taken and given back by arrays with undo, so that they equal each other at all times, and are what they were
 * when nobody is left. 6: a lock, with undo; only who has it touches a counter in memory. 7: waited for zero.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAIR = 20, TAKEN = 3, MOST = 16 };

struct shared {
    atomic_ulong steps[MOST];
    atomic_int inside;
    atomic_ulong overlaps, refused;
};

static struct shared *shared;
static int id;
static unsigned long long chance;

static unsigned below(unsigned end) {
    chance ^= chance >> 12;
    chance ^= chance << 25;
    chance ^= chance >> 27;
    return (chance * 0x2545f4914f6cdd1dULL >> 33) % end;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void must(int result) {
    if (result && errno != EAGAIN && errno != EINTR) {
        perror("semop");
        atomic_fetch_add(&shared->refused, 1);
    }
}

static void work(int number) {
    for (;;) {
        atomic_fetch_add(&shared->steps[number], 1);
        switch (below(6)) {
        case 0: {
            int forth = below(2) ? 1 : -1;
            struct sembuf move[] = {{0, -forth, 0}, {2, forth, 0}, {1, -forth, 0}, {3, forth, 0}};
            struct timespec time = {0, 2000000};
            must(semtimedop(id, move, 4, &time));
            break;
        }
        case 1: {
            struct sembuf take[] = {{4, -1, SEM_UNDO}, {5, -1, SEM_UNDO}}, give[] = {{5, 1, SEM_UNDO}, {4, 1, SEM_UNDO}};
            must(semop(id, take, 2));
            must(semop(id, give, 2));
            break;
        }
        case 2:
        case 3: {
            struct sembuf lock = {6, -1, SEM_UNDO}, unlock = {6, 1, SEM_UNDO};
            must(semop(id, &lock, 1));
            int before = atomic_load(&shared->inside);
            /* that process died inside, which is well; one that is alive is not */
            if (before && before != getpid() && !kill(before, 0)) {
                char path[40], text[400];
                snprintf(path, sizeof path, "/proc/%d/stat", before);
                FILE *file = fopen(path, "r");
                size_t got = file ? fread(text, 1, sizeof text - 1, file) : 0;
                text[got] = 0;
                char *state = strrchr(text, ')');
                if (file)
                    fclose(file);
                if (state && !strchr("ZXx", state[2]))
                    atomic_fetch_add(&shared->overlaps, 1);
            }
            atomic_store(&shared->inside, getpid());
            for (volatile int i = below(300); i > 0; i--)
                ;
            atomic_store(&shared->inside, 0);
            must(semop(id, &unlock, 1));
            break;
        }
        case 4: {
            struct sembuf up = {7, 1, SEM_UNDO}, down = {7, -1, SEM_UNDO | IPC_NOWAIT};
            must(semop(id, &up, 1));
            must(semop(id, &down, 1));
            break;
        }
        default: {
            struct sembuf zero = {7, 0, 0};
            struct timespec time = {0, 500000};
            must(semtimedop(id, &zero, 1, &time));
        }
        }
    }
}

static pid_t start(int number) {
    pid_t child = fork();
    if (child == 0) {
        chance ^= (unsigned long long)getpid() * 0x9e3779b97f4a7c15ULL;
        work(number);
    }
    return child;
}

int main(int count, char **arguments) {
    unsigned long kills = count > 1 ? strtoul(arguments[1], 0, 10) : 300;
    chance = (count > 2 ? strtoull(arguments[2], 0, 10) : 1) * 2 + 1;
    int workers = count > 3 ? atoi(arguments[3]) : 4;
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    id = semget(IPC_PRIVATE, 8, 0600);
    unsigned short values[8] = {PAIR, PAIR, PAIR, PAIR, TAKEN, TAKEN, 1, 0};
    if (shared == MAP_FAILED || id < 0 || semctl(id, 0, SETALL, values)) {
        perror("setting up");
        return 1;
    }
    pid_t all[MOST];
    for (int i = 0; i < workers; i++)
        all[i] = start(i);
    unsigned long halves = 0, lost = 0, stuck = 0, looks = 0, steps = 0, last[MOST] = {0};
    double since[MOST];
    for (int i = 0; i < workers; i++)
        since[i] = now();
    for (unsigned long killed = 0; killed < kills; killed++) {
        struct timespec pause = {0, below(1500000)};
        nanosleep(&pause, 0);
        int victim = below(workers);
        kill(all[victim], SIGKILL);
        if (below(2))
            waitpid(all[victim], 0, 0);
        /* whoever looks sees arrays whole */
        if (semctl(id, 0, GETALL, values)) {
            perror("GETALL");
            return 1;
        }
        looks++;
        if (values[0] != values[1] || values[2] != values[3] || values[4] != values[5]) {
            halves++;
            fprintf(stderr, "half done: %d %d %d %d %d %d\n", values[0], values[1], values[2], values[3], values[4],
                    values[5]);
        }
        if (values[0] + values[2] != 2 * PAIR)
            lost++;
        waitpid(all[victim], 0, 0);
        all[victim] = start(victim);
        last[victim] = atomic_load(&shared->steps[victim]);
        since[victim] = now();
        for (int i = 0; i < workers; i++) {
            unsigned long step = atomic_load(&shared->steps[i]);
            if (step != last[i]) {
                last[i] = step;
                since[i] = now();
            } else if (now() - since[i] > 5) {
                stuck++;
                since[i] = now();
                fprintf(stderr, "worker %d stuck at values %d %d %d %d %d %d %d %d\n", i, values[0], values[1],
                        values[2], values[3], values[4], values[5], values[6], values[7]);
            }
        }
        if (stuck > 3)
            break;
    }
    for (int i = 0; i < workers; i++) {
        kill(all[i], SIGKILL);
        waitpid(all[i], 0, 0);
        steps += atomic_load(&shared->steps[i]);
    }
    semctl(id, 0, GETALL, values);
    if (values[4] != TAKEN || values[5] != TAKEN || values[6] != 1 || values[7] != 0 || values[0] + values[2] != 2 * PAIR) {
        lost++;
        fprintf(stderr, "left: %d %d %d %d %d %d %d %d\n", values[0], values[1], values[2], values[3], values[4], values[5],
                values[6], values[7]);
    }
    int waiting = 0;
    for (int i = 0; i < 8; i++)
        waiting += semctl(id, i, GETNCNT) + semctl(id, i, GETZCNT);
    semctl(id, 0, IPC_RMID);
    unsigned long overlaps = atomic_load(&shared->overlaps), refused = atomic_load(&shared->refused);
    printf("%lu kills, %lu steps, %lu looks; stuck %lu, lost counts %lu, half-done arrays %lu, waiters left %d, two at a "
           "time %lu, refused %lu\n",
           kills, steps, looks, stuck, lost, halves, waiting, overlaps, refused);
    return stuck || lost || halves || waiting || overlaps || refused;
}
