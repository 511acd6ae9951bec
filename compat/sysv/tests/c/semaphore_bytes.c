/* Writes random bytes over a set of semaphores while processes use it: ROUNDS SEED. Ends with 0 if no process was ended by a
 * signal, or hung: all calls may give any result. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned long long chance;

static unsigned below(unsigned end) {
    chance ^= chance >> 12;
    chance ^= chance << 25;
    chance ^= chance >> 27;
    return (chance * 0x2545f4914f6cdd1dULL >> 33) % end;
}

static void use(int id) {
    struct timespec time = {0, 1000000};
    for (int i = 0; i < 40; i++) {
        struct sembuf some[9];
        int count = 1 + below(9);
        for (int j = 0; j < count; j++)
            some[j] = (struct sembuf){below(5), (int)below(7) - 3, below(2) ? SEM_UNDO : 0};
        unsigned short all[5] = {1, 1, 1, 1, 1};
        switch (below(6)) {
        case 0: semctl(id, below(5), GETVAL); break;
        case 1: semctl(id, below(5), GETNCNT); break;
        case 2: semctl(id, 0, GETALL, all); break;
        case 3: semctl(id, below(5), SETVAL, (int)below(9)); break;
        case 4: semctl(id, 0, SETALL, all); break;
        default: semtimedop(id, some, count, &time);
        }
    }
}

int main(int count, char **arguments) {
    int rounds = count > 1 ? atoi(arguments[1]) : 100;
    chance = (count > 2 ? strtoull(arguments[2], 0, 10) : 1) * 2 + 1;
    int bad = 0;
    for (int round = 0; round < rounds; round++) {
        int id = semget(IPC_PRIVATE, 5, 0600);
        if (id < 0) {
            perror("semget");
            return 1;
        }
        char path[4200];
        snprintf(path, sizeof path, "%s/sem.%d", getenv("COMMONS_SYSV_NAMESPACE"), id);
        int file = open(path, O_RDWR);
        size_t size = 0x6000;
        unsigned char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (file < 0 || memory == MAP_FAILED) {
            perror(path);
            return 1;
        }
        close(file);
        pid_t users[3];
        for (int i = 0; i < 3; i++)
            if (!(users[i] = fork())) {
                chance ^= getpid() * 0x9e3779b97f4a7c15ULL;
                alarm(20);
                use(id);
                exit(0);
            }
        for (int i = 0; i < 300; i++) {
            /* all but the lock itself, whose owner would be waited for: its word says who that is */
            size_t at = below(2) ? 40 + below(200) : below(3) ? 8256 + below(60) : below(size);
            if (at < 4 || (at >= 0x5000 && at % 128 < 4))
                continue;
            memory[at] = below(3) ? below(256) : below(2) ? 0 : 255;
            if (!below(20))
                usleep(below(300));
        }
        for (int i = 0; i < 3; i++) {
            int status;
            waitpid(users[i], &status, 0);
            if (status) {
                bad++;
                fprintf(stderr, "round %d: status %x\n", round, status);
            }
        }
        munmap(memory, size);
        /* whatever it says, it can be removed */
        semctl(id, 0, IPC_RMID);
        unlink(path);
    }
    printf("%d rounds, %d bad\n", rounds, bad);
    return bad != 0;
}
