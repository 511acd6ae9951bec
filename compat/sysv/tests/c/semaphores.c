/* Says what System V semaphores do, line by line: to be run once on the kernel's and once on Commons', and compared.
 * The argument is the section. Nothing that differs from run to run is printed: no ids, pids or times. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
    struct seminfo *info;
};

static char *self;

static long show(const char *what, long result) {
    int error = errno;
    if (result < 0)
        printf("%s: %ld %s\n", what, result, strerrorname_np(error));
    else
        printf("%s: %ld\n", what, result);
    fflush(stdout);
    errno = 0;
    return result;
}

#define SHOW(call) show(#call, (call))

static int fresh(int count) {
    int id = semget(IPC_PRIVATE, count, 0600);
    if (id < 0) {
        perror("semget");
        exit(1);
    }
    return id;
}

static int value(int id, int number) { return semctl(id, number, GETVAL); }

static int set(int id, int number, int to) { return semctl(id, number, SETVAL, (union semun){.val = to}); }

static int op(int id, int number, int change, int flags) {
    struct sembuf one = {number, change, flags};
    return semop(id, &one, 1);
}

static int timed(int id, int number, int change, int flags, double seconds) {
    struct sembuf one = {number, change, flags};
    struct timespec time = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    return semtimedop(id, &one, 1, &time);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void nap(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&time, 0);
}

/* Until that many wait for the semaphore to grow, or to be zero. */
static void until(int id, int number, int command, int wanted) {
    double end = now() + 5;
    while (semctl(id, number, command) != wanted)
        if (now() > end) {
            printf("never %d waiters, but %d\n", wanted, semctl(id, number, command));
            exit(1);
        } else
            nap(0.001);
}

static const char *how(int status) {
    static char text[40];
    if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "killed by %d", WTERMSIG(status));
    else
        snprintf(text, sizeof text, "exited with %d", WEXITSTATUS(status));
    return text;
}

static void reap(const char *who, pid_t child) {
    int status;
    waitpid(child, &status, 0);
    printf("%s %s\n", who, how(status));
    fflush(stdout);
}

#define CHILD(name, ...)                                                                                               \
    pid_t name = fork();                                                                                               \
    if (name == 0) {                                                                                                   \
        __VA_ARGS__;                                                                                                   \
        _exit(0);                                                                                                      \
    }

static const char *who(int id, int number, pid_t child) {
    int pid = semctl(id, number, GETPID);
    return pid == getpid() ? "self" : pid == child ? "child" : pid == 0 ? "nobody" : "another";
}

static void get(void) {
    SHOW(semget(1, 0, IPC_CREAT | 0600));
    SHOW(semget(1, -1, IPC_CREAT | 0600));
    SHOW(semget(1, 32001, IPC_CREAT | 0600));
    SHOW(semget(1, 1, 0600));
    int id = semget(1, 3, IPC_CREAT | 0640);
    printf("created %d\n", id >= 0);
    printf("same %d\n", semget(1, 3, 0) == id);
    printf("same with 0 %d\n", semget(1, 0, 0600) == id);
    printf("same with less %d\n", semget(1, 2, IPC_CREAT | 0600) == id);
    SHOW(semget(1, 4, 0600));
    SHOW(semget(1, 3, IPC_CREAT | IPC_EXCL | 0600));
    SHOW(semget(1, 4, IPC_CREAT | IPC_EXCL | 0600));
    printf("exclusive alone %d\n", semget(1, 3, IPC_EXCL | 0600) == id);
    struct semid_ds ds;
    SHOW(semctl(id, 0, IPC_STAT, &ds));
    printf("key %d mode %o uid %d gid %d cuid %d cgid %d nsems %lu otime %ld ctime near %d\n", ds.sem_perm.__key,
           ds.sem_perm.mode, ds.sem_perm.uid, ds.sem_perm.gid, ds.sem_perm.cuid, ds.sem_perm.cgid, ds.sem_nsems,
           (long)ds.sem_otime, labs(time(0) - ds.sem_ctime) < 3);
    for (int number = 0; number < 3; number++)
        printf("new: value %d pid %d\n", value(id, number), semctl(id, number, GETPID));
    SHOW(semctl(id, 0, IPC_RMID));
    SHOW(semctl(id, 0, IPC_RMID));
    SHOW(semget(1, 3, 0600));
    SHOW(op(id, 0, 1, 0));
    int again = semget(1, 1, IPC_CREAT | IPC_EXCL | 07777);
    printf("another %d\n", again >= 0 && again != id);
    semctl(again, 0, IPC_STAT, &ds);
    printf("mode %o\n", ds.sem_perm.mode);
    semctl(again, 0, IPC_RMID);
    int most = semget(IPC_PRIVATE, 32000, 0600);
    printf("most %d\n", most >= 0);
    SHOW(op(most, 31999, 7, 0));
    SHOW(op(most, 32000, 7, 0));
    SHOW(value(most, 31999));
    SHOW(semctl(most, 0, IPC_RMID));
    int one = semget(IPC_PRIVATE, 1, 0600), two = semget(IPC_PRIVATE, 1, 0600);
    printf("private ones differ %d\n", one != two);
    semctl(one, 0, IPC_RMID);
    semctl(two, 0, IPC_RMID);
    /* an id is not given out again at once */
    int ids[200], differ = 1;
    for (int i = 0; i < 200; i++) {
        ids[i] = semget(IPC_PRIVATE, 1, 0600);
        semctl(ids[i], 0, IPC_RMID);
        for (int j = 0; j < i; j++)
            differ &= ids[i] != ids[j];
    }
    printf("ids differ %d\n", differ);
}

static void operate(void) {
    int id = fresh(3);
    struct sembuf many[501];
    memset(many, 0, sizeof many);
    SHOW(semop(id, many, 0));
    SHOW(semop(id, many, 501));
    SHOW(semop(id, many, 500));
    SHOW(semop(id, (void *)0, 1));
    SHOW(semop(id, (void *)1, 1));
    SHOW(semop(id, (void *)-4096, 1));
    SHOW(semop(-1, many, 1));
    SHOW(semop(123456, many, 1));
    SHOW(semop(-1, many, 501));
    SHOW(semop(-1, many, 0));
    SHOW(semtimedop(id, many, 1, (void *)1));
    SHOW(semtimedop(id, many, 0, &(struct timespec){-1, 0}));
    SHOW(semtimedop(id, many, 501, &(struct timespec){-1, 0}));
    SHOW(semtimedop(id, many, 1, &(struct timespec){-1, 0}));
    SHOW(semtimedop(id, many, 1, &(struct timespec){0, 1000000000}));
    SHOW(semtimedop(id, many, 1, &(struct timespec){0, -1}));
    SHOW(semtimedop(id, many, 1, &(struct timespec){0, 0}));
    SHOW(semtimedop(id, many, 1, 0));
    SHOW(op(id, 3, 1, 0));
    SHOW(op(id, 65535, 1, 0));
    SHOW(op(id, 0, 32767, 0));
    SHOW(op(id, 0, 1, 0));
    SHOW(op(id, 0, -32767, 0));
    SHOW(op(id, 0, -1, IPC_NOWAIT));
    SHOW(op(id, 0, -32768, IPC_NOWAIT));
    SHOW(op(id, 0, 2, 0));
    SHOW(op(id, 0, 0, IPC_NOWAIT));
    SHOW(timed(id, 0, 0, 0, 0));
    SHOW(timed(id, 0, -3, 0, 0));
    double began = now();
    SHOW(timed(id, 0, -3, 0, 0.1));
    printf("waited %d\n", now() - began >= 0.1 && now() - began < 1);
    SHOW(timed(id, 0, -2, 0, 0.1));
    SHOW(timed(id, 0, 0, 0, 0.1));
    /* flags that mean nothing */
    SHOW(op(id, 0, 1, 0x7fff & ~SEM_UNDO & ~IPC_NOWAIT));
    SHOW(value(id, 0));
    set(id, 0, 0);

    /* arrays: in order, all or nothing */
    struct sembuf twice[] = {{0, 1, 0}, {0, 1, 0}, {0, -2, 0}, {0, 0, 0}, {1, 5, 0}};
    SHOW(semop(id, twice, 5));
    printf("values %d %d %d pids %s %s %s\n", value(id, 0), value(id, 1), value(id, 2), who(id, 0, 0), who(id, 1, 0),
           who(id, 2, 0));
    struct sembuf fails[] = {{0, 3, 0}, {1, -2, 0}, {2, -1, IPC_NOWAIT}};
    SHOW(semop(id, fails, 3));
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));
    struct sembuf order[] = {{2, -1, IPC_NOWAIT}, {2, 1, 0}};
    SHOW(semop(id, order, 2));
    struct sembuf other[] = {{2, 1, 0}, {2, -1, IPC_NOWAIT}};
    SHOW(semop(id, other, 2));
    struct sembuf over[] = {{0, 1, 0}, {1, 32767, 0}};
    SHOW(semop(id, over, 2));
    struct sembuf zero[] = {{0, 0, IPC_NOWAIT}, {0, 1, 0}};
    SHOW(semop(id, zero, 2));
    SHOW(semop(id, zero, 2));
    struct sembuf far[] = {{0, 1, 0}, {3, 1, 0}};
    SHOW(semop(id, far, 2));
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));
    for (int i = 0; i < 500; i++)
        many[i] = (struct sembuf){i % 3, i % 2 ? 2 : 1, 0};
    SHOW(semop(id, many, 500));
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));
    /* the flag of the operation that has to wait counts */
    struct sembuf mixed[] = {{0, 1, IPC_NOWAIT}, {1, -30000, 0}};
    SHOW(semtimedop(id, mixed, 2, &(struct timespec){0, 1000}));

    /* the time of the last operation, also of one that only looks */
    struct semid_ds ds;
    int other_id = fresh(1);
    semctl(other_id, 0, IPC_STAT, &ds);
    printf("otime %ld\n", (long)ds.sem_otime);
    op(other_id, 0, -1, IPC_NOWAIT);
    semctl(other_id, 0, IPC_STAT, &ds);
    printf("otime after failing %ld\n", (long)ds.sem_otime);
    SHOW(op(other_id, 0, 0, 0));
    semctl(other_id, 0, IPC_STAT, &ds);
    printf("otime near %d pid %s\n", labs(time(0) - ds.sem_otime) < 3, who(other_id, 0, 0));
    semctl(other_id, 0, IPC_RMID);
    /* errno is left alone */
    errno = 77;
    op(id, 0, 1, 0);
    printf("errno %d\n", errno);
    semctl(id, 0, IPC_RMID);
}

static void control(void) {
    int id = fresh(3);
    SHOW(semctl(-1, 0, GETVAL));
    SHOW(semctl(id + 1, 0, GETVAL));
    SHOW(semctl(id, 0, 99));
    SHOW(semctl(id, 0, -1));
    int commands[] = {GETVAL, GETPID, GETNCNT, GETZCNT};
    for (int i = 0; i < 4; i++) {
        printf("command %d: ", commands[i]);
        show("0", semctl(id, 0, commands[i]));
        show("3", semctl(id, 3, commands[i]));
        show("-1", semctl(id, -1, commands[i]));
    }
    SHOW(set(id, 0, 32768));
    SHOW(set(id, 0, -1));
    SHOW(set(id, 3, 1));
    SHOW(set(id, -1, 1));
    SHOW(set(id, 3, 32768));
    SHOW(set(id + 1, 0, 32768));
    SHOW(set(id, 0, 32767));
    SHOW(value(id, 0));
    printf("pid %s\n", who(id, 0, 0));
    unsigned short all[3] = {1, 2, 3};
    SHOW(semctl(id, 77, SETALL, all));
    memset(all, 0, sizeof all);
    SHOW(semctl(id, -77, GETALL, all));
    printf("%d %d %d %s\n", all[0], all[1], all[2], who(id, 2, 0));
    unsigned short bad[3] = {9, 9, 32768};
    SHOW(semctl(id, 0, SETALL, bad));
    SHOW(semctl(id, 0, GETALL, (void *)1));
    SHOW(semctl(id, 0, GETALL, (void *)0));
    SHOW(semctl(id, 0, SETALL, (void *)1));
    SHOW(semctl(id, 0, IPC_STAT, (void *)1));
    SHOW(semctl(id, 0, IPC_SET, (void *)1));
    SHOW(semctl(0, 0, IPC_INFO, (void *)1));
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));
    struct semid_ds ds;
    semctl(id, 0, IPC_STAT, &ds);
    printf("otime after setting %ld\n", (long)ds.sem_otime);
    ds.sem_perm.uid = 12;
    ds.sem_perm.gid = 34;
    ds.sem_perm.mode = 017642;
    ds.sem_nsems = 99;
    ds.sem_otime = 99;
    SHOW(semctl(id, 0, IPC_SET, &ds));
    SHOW(semctl(id, 0, IPC_STAT, &ds));
    printf("mode %o uid %d gid %d cuid %d cgid %d nsems %lu otime %ld ctime near %d\n", ds.sem_perm.mode,
           ds.sem_perm.uid, ds.sem_perm.gid, ds.sem_perm.cuid, ds.sem_perm.cgid, ds.sem_nsems, (long)ds.sem_otime,
           labs(time(0) - ds.sem_ctime) < 3);
    SHOW(value(id, 1));
    ds.sem_perm.uid = -1;
    SHOW(semctl(id, 0, IPC_SET, &ds));
    SHOW(semctl(id + 1, 0, IPC_SET, &ds));
    SHOW(semctl(id + 1, 0, IPC_RMID));
    SHOW(semctl(-1, 0, IPC_RMID));
    semctl(id, 0, IPC_RMID);
}

static void info(void) {
    struct seminfo i;
    memset(&i, 0x55, sizeof i);
    SHOW(semctl(0, 0, IPC_INFO, &i));
    printf("%d %d %d %d %d %d %d %d %d %d\n", i.semmap, i.semmni, i.semmns, i.semmnu, i.semmsl, i.semopm, i.semume,
           i.semusz, i.semvmx, i.semaem);
    SHOW(semctl(-1, 0, IPC_INFO, &i));
    int one = fresh(3), two = fresh(5);
    SHOW(semctl(0, 0, SEM_INFO, &i));
    printf("%d %d %d %d %d %d %d %d %d %d\n", i.semmap, i.semmni, i.semmns, i.semmnu, i.semmsl, i.semopm, i.semume,
           i.semusz, i.semvmx, i.semaem);
    struct semid_ds ds;
    printf("stat 0 %d\n", semctl(0, 0, SEM_STAT, &ds) == one);
    printf("stat 1 %d\n", semctl(1, 0, SEM_STAT, &ds) == two);
    printf("nsems %lu\n", ds.sem_nsems);
    printf("any 1 %d\n", semctl(1, 0, SEM_STAT_ANY, &ds) == two);
    SHOW(semctl(2, 0, SEM_STAT, &ds));
    SHOW(semctl(30000, 0, SEM_STAT_ANY, &ds));
    SHOW(semctl(1, 0, SEM_STAT, (void *)1));
    semctl(one, 0, IPC_RMID);
    SHOW(semctl(0, 0, SEM_STAT, &ds));
    SHOW(semctl(0, 0, SEM_INFO, &i));
    printf("%d %d\n", i.semusz, i.semaem);
    semctl(two, 0, IPC_RMID);
}

static void waiting(void) {
    int id = fresh(3);
    CHILD(grows, show("grows", op(id, 0, -3, 0)));
    until(id, 0, GETNCNT, 1);
    CHILD(zero, op(id, 1, 0, 0); show("zero", 0));
    until(id, 1, GETZCNT, 0); /* it is zero already */
    reap("zero", zero);
    printf("counts %d %d %d %d\n", semctl(id, 0, GETNCNT), semctl(id, 0, GETZCNT), semctl(id, 1, GETNCNT),
           semctl(id, 1, GETZCNT));
    op(id, 0, 2, 0);
    printf("not enough %d %d\n", value(id, 0), semctl(id, 0, GETNCNT));
    op(id, 0, 2, 0);
    reap("grows", grows);
    printf("left %d waiting %d pid %s\n", value(id, 0), semctl(id, 0, GETNCNT), who(id, 0, grows));

    /* for zero */
    CHILD(empty, show("empty", op(id, 0, 0, 0)));
    until(id, 0, GETZCNT, 1);
    printf("counts %d %d\n", semctl(id, 0, GETNCNT), semctl(id, 0, GETZCNT));
    op(id, 0, -1, 0);
    reap("empty", empty);
    printf("pid %s\n", who(id, 0, empty));

    /* who waits is served before who comes later */
    CHILD(first, op(id, 0, -1, 0));
    until(id, 0, GETNCNT, 1);
    op(id, 0, 1, 0);
    SHOW(op(id, 0, -1, IPC_NOWAIT));
    reap("first", first);

    /* in the order of coming, but for who cannot be served yet */
    int pipes[2];
    if (pipe(pipes))
        exit(1);
    pid_t row[4];
    int wants[4] = {-1, -3, -1, -2};
    for (int i = 0; i < 4; i++) {
        row[i] = fork();
        if (!row[i]) {
            op(id, 0, wants[i], 0);
            char name = '0' + i;
            _exit(write(pipes[1], &name, 1) != 1);
        }
        until(id, 0, GETNCNT, i + 1);
    }
    for (int i = 0; i < 7; i++) {
        op(id, 0, 1, 0);
        int left = semctl(id, 0, GETNCNT);
        printf("after %d: value %d waiting %d\n", i + 1, value(id, 0), left);
    }
    for (int i = 0; i < 4; i++)
        reap("one of a row", row[i]);

    /* an array waits for all, and counts for the one that it waits for */
    struct sembuf array[] = {{0, -1, 0}, {1, -1, 0}, {2, 0, 0}};
    set(id, 0, 0);
    op(id, 2, 1, 0);
    CHILD(all, show("all", semop(id, array, 3)));
    until(id, 0, GETNCNT, 1);
    printf("counts %d %d %d\n", semctl(id, 0, GETNCNT), semctl(id, 1, GETNCNT), semctl(id, 2, GETZCNT));
    op(id, 0, 1, 0);
    printf("counts %d %d %d value %d\n", semctl(id, 0, GETNCNT), semctl(id, 1, GETNCNT), semctl(id, 2, GETZCNT),
           value(id, 0));
    op(id, 1, 1, 0);
    printf("counts %d %d %d\n", semctl(id, 0, GETNCNT), semctl(id, 1, GETNCNT), semctl(id, 2, GETZCNT));
    op(id, 2, -1, 0);
    reap("all", all);
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));

    /* a long array */
    struct sembuf lengthy[20];
    for (int i = 0; i < 20; i++)
        lengthy[i] = (struct sembuf){i % 2, -1, 0};
    CHILD(long_one, show("long", semop(id, lengthy, 20)));
    until(id, 0, GETNCNT, 1);
    op(id, 0, 10, 0);
    until(id, 1, GETNCNT, 1);
    printf("values %d %d\n", value(id, 0), value(id, 1));
    op(id, 1, 10, 0);
    reap("long", long_one);
    printf("values %d %d\n", value(id, 0), value(id, 1));

    /* who lets others go on, for whom others wait */
    struct sembuf relay[] = {{0, -1, 0}, {1, 1, 0}};
    CHILD(second, op(id, 1, -1, 0));
    until(id, 1, GETNCNT, 1);
    CHILD(relays, semop(id, relay, 2));
    until(id, 0, GETNCNT, 1);
    op(id, 0, 1, 0);
    reap("relays", relays);
    reap("second", second);
    printf("values %d %d\n", value(id, 0), value(id, 1));

    /* woken by SETVAL and SETALL */
    CHILD(by_value, op(id, 0, -2, 0));
    until(id, 0, GETNCNT, 1);
    set(id, 0, 5);
    reap("by SETVAL", by_value);
    printf("value %d pid %s\n", value(id, 0), who(id, 0, by_value));
    CHILD(by_all, op(id, 1, -2, 0));
    until(id, 1, GETNCNT, 1);
    unsigned short values[] = {0, 3, 0};
    semctl(id, 0, SETALL, values);
    reap("by SETALL", by_all);
    printf("value %d\n", value(id, 1));

    /* what becomes impossible while waiting */
    struct sembuf much[] = {{0, -1, 0}, {2, 32767, 0}};
    CHILD(ranges, show("out of range", semop(id, much, 2)));
    until(id, 0, GETNCNT, 1);
    set(id, 2, 1);
    op(id, 0, 1, 0);
    reap("out of range", ranges);
    struct sembuf later[] = {{0, -2, 0}, {1, -7, IPC_NOWAIT}};
    set(id, 0, 0);
    CHILD(no_wait, show("would wait", semop(id, later, 2)));
    until(id, 0, GETNCNT, 1);
    op(id, 0, 2, 0);
    reap("would wait", no_wait);

    /* a waiter that is killed counts no more, and takes nothing */
    set(id, 0, 0);
    CHILD(killed, op(id, 0, -1, 0));
    until(id, 0, GETNCNT, 1);
    kill(killed, SIGKILL);
    reap("waiter", killed);
    printf("waiting %d\n", semctl(id, 0, GETNCNT));
    op(id, 0, 1, 0);
    SHOW(op(id, 0, -1, IPC_NOWAIT));

    /* removed while waiting */
    CHILD(removed, show("removed", op(id, 0, -1, 0)); show("later", op(id, 0, -1, 0)));
    until(id, 0, GETNCNT, 1);
    SHOW(semctl(id, 0, IPC_RMID));
    reap("removed", removed);
    SHOW(value(id, 0));
}

static void nothing(int signal) { (void)signal; }

/* Signals that come as soon as the waiter is seen to wait: a few may come in the instant before it sleeps. */
static void at_once(int id) {
    int lost = 0;
    for (int i = 0; i < 1000; i++) {
        CHILD(child, {
            struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
            sigaction(SIGUSR1, &action, 0);
            if (op(id, 0, -1, 0) != -1 || errno != EINTR) _exit(1);
        });
        while (semctl(id, 0, GETNCNT) != 1) {
        }
        kill(child, SIGUSR1);
        siginfo_t info = {0};
        for (int waited = 0; waited < 300 && !info.si_pid; waited++) {
            waitid(P_PID, child, &info, WEXITED | WNOHANG | WNOWAIT);
            if (!info.si_pid) nap(0.001);
        }
        if (!info.si_pid) {
            lost++;
            kill(child, SIGKILL);
        }
        waitpid(child, 0, 0);
    }
    printf("at most one is lost: %d\n", lost <= 1);
}

/* Until the child has ended: one signal may come in the instant in which the drop-in is awake between two sleeps. */
static void interrupt(pid_t child) {
    for (int i = 0; i < 200; i++) {
        siginfo_t info = {0};
        kill(child, SIGUSR1);
        nap(0.013);
        if (waitid(P_PID, child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child) return;
    }
}

static void signals(void) {
    int id = fresh(1);
    int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 2; i++) {
        CHILD(child, {
            struct sigaction action = {.sa_handler = nothing, .sa_flags = flags[i]};
            sigaction(SIGUSR1, &action, 0);
            show("plain", op(id, 0, -1, 0));
        });
        until(id, 0, GETNCNT, 1);
        nap(0.02);
        interrupt(child);
        reap("plain", child);
        CHILD(timing, {
            struct sigaction action = {.sa_handler = nothing, .sa_flags = flags[i]};
            sigaction(SIGUSR1, &action, 0);
            show("timed", timed(id, 0, -1, 0, 5));
        });
        until(id, 0, GETNCNT, 1);
        nap(0.2);
        interrupt(timing);
        reap("timed", timing);
        printf("waiting %d\n", semctl(id, 0, GETNCNT));
    }
    /* ignored signals do not end it */
    CHILD(ignores, {
        signal(SIGUSR1, SIG_IGN);
        show("ignored", timed(id, 0, -1, 0, 0.3));
    });
    until(id, 0, GETNCNT, 1);
    nap(0.05);
    kill(ignores, SIGUSR1);
    reap("ignores", ignores);
    /* an alarm, long after it began to wait */
    CHILD(alarmed, {
        struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
        sigaction(SIGALRM, &action, 0);
        struct itimerval after = {.it_value = {1, 0}, .it_interval = {0, 13000}};
        setitimer(ITIMER_REAL, &after, 0);
        show("alarm", op(id, 0, -1, 0));
    });
    reap("alarmed", alarmed);
    at_once(id);
    semctl(id, 0, IPC_RMID);
}

static void *thread_waits(void *of) { return (void *)(long)op(*(int *)of, 0, -1, SEM_UNDO); }
static void *thread_gives(void *of) { return (void *)(long)op(*(int *)of, 0, 1, SEM_UNDO); }

static void *thread_waits_plainly(void *of) {
    /* blocked while the other thread ends the process */
    return (void *)(long)op(*(int *)of, 1, -1, 0);
}

static void undo(void) {
    int id = fresh(3);
    set(id, 0, 5);
    CHILD(leaves, op(id, 0, -2, SEM_UNDO));
    reap("leaves by _exit", leaves);
    printf("value %d pid %s\n", value(id, 0), who(id, 0, leaves));
    pid_t exits = fork();
    if (!exits) {
        op(id, 0, -2, SEM_UNDO);
        fclose(stdout);
        exit(0);
    }
    reap("exits", exits);
    printf("value %d pid %s\n", value(id, 0), who(id, 0, exits));
    CHILD(dies, op(id, 0, -2, SEM_UNDO); op(id, 0, -1, 0); kill(getpid(), SIGKILL));
    reap("dies", dies);
    printf("value %d pid %s\n", value(id, 0), who(id, 0, dies));
    CHILD(balanced, op(id, 0, -2, SEM_UNDO); op(id, 0, 2, SEM_UNDO); kill(getpid(), SIGKILL));
    reap("balanced", balanced);
    printf("value %d pid %s\n", value(id, 0), who(id, 0, balanced));

    /* the value is kept between its bounds */
    set(id, 0, 0);
    CHILD(gives, op(id, 0, 5, SEM_UNDO); op(id, 0, -3, 0); kill(getpid(), SIGKILL));
    reap("gives", gives);
    printf("value %d\n", value(id, 0));
    set(id, 0, 3);
    CHILD(takes, op(id, 0, -3, SEM_UNDO); op(id, 0, 32767, 0); kill(getpid(), SIGKILL));
    reap("takes", takes);
    printf("value %d\n", value(id, 0));

    /* its own bounds */
    set(id, 0, 0);
    CHILD(much, {
        show("give", op(id, 0, 32767, SEM_UNDO));
        op(id, 0, -32767, 0);
        show("give one more", op(id, 0, 1, SEM_UNDO));
        show("and one more", op(id, 0, 1, SEM_UNDO));
        show("value", value(id, 0));
        set(id, 0, 0);
        op(id, 0, 32767, 0);
        show("take", op(id, 0, -32767, SEM_UNDO));
        op(id, 0, 1, 0);
        show("take one more", op(id, 0, -1, SEM_UNDO));
    });
    reap("much", much);
    printf("value %d\n", value(id, 0));

    /* SETVAL and SETALL clear it */
    set(id, 0, 5);
    set(id, 1, 5);
    CHILD(cleared, op(id, 0, -2, SEM_UNDO); op(id, 1, -2, SEM_UNDO); set(id, 0, 4));
    reap("cleared", cleared);
    printf("values %d %d\n", value(id, 0), value(id, 1));
    CHILD(all_cleared, {
        op(id, 0, -2, SEM_UNDO);
        op(id, 1, -2, SEM_UNDO);
        unsigned short values[] = {7, 8, 9};
        semctl(id, 0, SETALL, values);
        op(id, 2, -1, SEM_UNDO);
    });
    reap("all cleared", all_cleared);
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));
    int pipes[2];
    char byte = 0;
    if (pipe(pipes))
        exit(1);
    CHILD(by_another, op(id, 0, -2, SEM_UNDO); if (read(pipes[0], &byte, 1) < 0) _exit(1));
    while (value(id, 0) != 5)
        nap(0.001);
    set(id, 0, 6);
    if (write(pipes[1], &byte, 1) < 0)
        exit(1);
    reap("by another", by_another);
    printf("value %d\n", value(id, 0));

    /* arrays that fail owe nothing */
    struct sembuf fails[] = {{0, -1, SEM_UNDO}, {1, -1, SEM_UNDO}, {2, -30000, IPC_NOWAIT | SEM_UNDO}};
    CHILD(fail, show("fails", semop(id, fails, 3)));
    reap("fails", fail);
    struct sembuf succeeds[] = {{0, -1, SEM_UNDO}, {1, -1, 0}, {0, -1, SEM_UNDO}};
    CHILD(succeed, show("succeeds", semop(id, succeeds, 3)); printf("meanwhile %d\n", value(id, 0)); fflush(stdout));
    reap("succeeds", succeed);
    printf("values %d %d %d\n", value(id, 0), value(id, 1), value(id, 2));

    /* a waiter goes on when the one dies who has what it waits for */
    set(id, 0, 1);
    CHILD(holder, op(id, 0, -1, SEM_UNDO); pause());
    while (value(id, 0) != 0)
        nap(0.001);
    CHILD(waiter, op(id, 0, -1, 0));
    until(id, 0, GETNCNT, 1);
    nap(0.2);
    double began = now();
    kill(holder, SIGKILL);
    reap("holder", holder);
    reap("waiter", waiter);
    printf("soon %d\n", now() - began < 0.3);
    /* what is done for a waiter is undone as well */
    set(id, 0, 0);
    set(id, 1, 0);
    CHILD(served, op(id, 0, -1, SEM_UNDO); op(id, 1, -1, 0); pause());
    until(id, 0, GETNCNT, 1);
    op(id, 0, 1, 0);
    set(id, 1, 1);
    while (value(id, 1) != 0)
        nap(0.001);
    printf("served %d\n", value(id, 0));
    kill(served, SIGKILL);
    reap("served", served);
    printf("value %d\n", value(id, 0));
    /* the dead are heard of before a zero is believed, and before anything is taken that they gave */
    set(id, 0, 1);
    CHILD(had, op(id, 0, -1, SEM_UNDO); kill(getpid(), SIGKILL));
    reap("had", had);
    SHOW(op(id, 0, 0, IPC_NOWAIT));
    set(id, 0, 0);
    CHILD(gave, op(id, 0, 1, SEM_UNDO); kill(getpid(), SIGKILL));
    reap("gave", gave);
    SHOW(op(id, 0, -1, IPC_NOWAIT));
    set(id, 0, 32767);
    CHILD(took, op(id, 0, -7, 0); op(id, 0, 7, SEM_UNDO); kill(getpid(), SIGKILL));
    reap("took", took);
    SHOW(op(id, 0, 7, 0));

    /* not inherited by a child, and a child's own */
    set(id, 0, 5);
    CHILD(parent, {
        op(id, 0, -1, SEM_UNDO);
        pid_t child = fork();
        if (!child)
            _exit(0);
        waitpid(child, 0, 0);
        show("after the child", value(id, 0));
        child = fork();
        if (!child) {
            op(id, 0, -2, SEM_UNDO);
            show("child took", value(id, 0));
            _exit(0);
        }
        waitpid(child, 0, 0);
        show("after the other child", value(id, 0));
        child = fork();
        if (!child) {
            nap(0.3);
            _exit(0);
        }
        /* dies before that child */
    });
    reap("parent", parent);
    printf("value %d\n", value(id, 0));
    nap(0.4);

    /* a program spawned meanwhile does not keep it */
    CHILD(spawns, {
        op(id, 0, -1, SEM_UNDO);
        if (system("exec sleep 0.5 >/dev/null 2>&1 &"))
            _exit(1);
    });
    reap("spawns", spawns);
    printf("value %d\n", value(id, 0));

    /* shared by threads, and no thread's own */
    CHILD(threads, {
        pthread_t thread;
        op(id, 0, -1, SEM_UNDO);
        pthread_create(&thread, 0, thread_waits, &id);
        pthread_join(thread, 0);
        show("thread took", value(id, 0));
        pthread_create(&thread, 0, thread_gives, &id);
        pthread_join(thread, 0);
        show("thread gave", value(id, 0));
    });
    reap("threads", threads);
    printf("value %d\n", value(id, 0));
    set(id, 1, 0);
    CHILD(blocked, {
        pthread_t thread;
        op(id, 0, -1, SEM_UNDO);
        pthread_create(&thread, 0, thread_waits_plainly, &id);
        until(id, 1, GETNCNT, 1);
        _exit(3);
    });
    reap("with a blocked thread", blocked);
    printf("value %d waiting %d\n", value(id, 0), semctl(id, 1, GETNCNT));

    /* removed with undo outstanding */
    CHILD(removes, op(id, 0, -1, SEM_UNDO); semctl(id, 0, IPC_RMID));
    reap("removes", removes);
    SHOW(value(id, 0));
}

/* What a program that was executed does with the set that its process owes something to. */
static void executed(int id, const char *how) {
    if (!strcmp(how, "holds")) {
        show("after exec", value(id, 0));
        kill(getpid(), SIGKILL);
    } else if (!strcmp(how, "gives")) {
        show("gives back", op(id, 0, 1, SEM_UNDO));
        show("value", value(id, 0));
        _exit(0);
    } else if (!strcmp(how, "again")) {
        char number[20];
        snprintf(number, sizeof number, "%d", id);
        execl(self, self, "executed", number, "holds", (char *)0);
        _exit(1);
    } else if (!strcmp(how, "ends")) {
        show("took more", op(id, 0, -1, SEM_UNDO));
        exit(0);
    }
}

extern char **environ;

static void exec_keeps(void) {
    int id = fresh(1);
    char number[20];
    snprintf(number, sizeof number, "%d", id);
    const char *ways[] = {"holds", "gives", "again", "ends"};
    for (int i = 0; i < 4; i++) {
        set(id, 0, 5);
        CHILD(child, {
            op(id, 0, -1, SEM_UNDO);
            char *arguments[] = {self, "executed", number, (char *)ways[i], 0};
            if (i == 0)
                execv(self, arguments);
            else if (i == 1)
                execve(self, arguments, environ);
            else if (i == 2)
                execvp(self, arguments);
            else
                execle(self, self, "executed", number, ways[i], (char *)0, environ);
            perror("exec");
        });
        reap(ways[i], child);
        printf("value %d\n", value(id, 0));
        fflush(stdout);
    }
    /* executing nothing changes nothing, and leaves no descriptor */
    CHILD(fails, {
        op(id, 0, -1, SEM_UNDO);
        int before = dup(0);
        close(before);
        execl("/nowhere", "nowhere", (char *)0);
        show("exec", -1);
        show("descriptors", dup(0) - before);
        show("value", value(id, 0));
    });
    reap("fails", fails);
    printf("value %d\n", value(id, 0));
    /* a program that knows nothing of it keeps it until it ends */
    CHILD(plain, {
        op(id, 0, -1, SEM_UNDO);
        unsetenv("LD_PRELOAD");
        execl("/bin/sleep", "sleep", "0.3", (char *)0);
    });
    nap(0.15);
    printf("while it runs %d\n", value(id, 0));
    reap("plain", plain);
    printf("value %d\n", value(id, 0));
    semctl(id, 0, IPC_RMID);
}

static void *thread_adds(void *of) {
    int id = *(int *)of;
    for (int i = 0; i < 20000; i++) {
        op(id, 0, -1, i % 3 ? 0 : SEM_UNDO);
        set(id, 1, value(id, 1) + 1);
        op(id, 0, 1, i % 3 ? 0 : SEM_UNDO);
    }
    return 0;
}

static void many(void) {
    int id = fresh(4);
    set(id, 0, 1);
    pthread_t threads[4];
    pid_t children[2];
    for (int i = 0; i < 2; i++)
        if (!(children[i] = fork())) {
            for (int j = 0; j < 2; j++)
                pthread_create(&threads[j], 0, thread_adds, &id);
            for (int j = 0; j < 2; j++)
                pthread_join(threads[j], 0);
            _exit(0);
        }
    for (int i = 0; i < 2; i++)
        reap("adder", children[i]);
    /* 80,000 additions: a value has 15 bits */
    printf("count %d free %d\n", value(id, 1), value(id, 0));
    /* a hundred waiters */
    set(id, 2, 0);
    pid_t row[100];
    for (int i = 0; i < 100; i++)
        if (!(row[i] = fork())) {
            _exit(op(id, 2, -1, i % 2 ? SEM_UNDO : 0) != 0);
        }
    until(id, 2, GETNCNT, 100);
    op(id, 2, 100, 0);
    int well = 0, status;
    for (int i = 0; i < 100; i++)
        well += waitpid(row[i], &status, 0) == row[i] && status == 0;
    printf("well %d value %d\n", well, value(id, 2));
    /* many sets, one after the other, and no descriptor kept */
    int before = dup(0);
    close(before);
    for (int i = 0; i < 3000; i++) {
        int one = fresh(1);
        op(one, 0, 1, SEM_UNDO);
        op(one, 0, -1, 0);
        semctl(one, 0, IPC_RMID);
    }
    printf("descriptors %d\n", dup(0) - before);
    semctl(id, 0, IPC_RMID);
}

static void permissions(void) {
    if (getuid() != 0) {
        printf("not root\n");
        return;
    }
    int modes[] = {0600, 0644, 0666, 0622, 0000};
    for (int i = 0; i < 5; i++) {
        int id = semget(4711, 2, IPC_CREAT | IPC_EXCL | modes[i]);
        set(id, 0, 3);
        printf("mode %o root %d\n", modes[i], op(id, 0, 1, 0));
        fflush(stdout);
        CHILD(other, {
            if (setgid(65534) || setuid(65534))
                _exit(1);
            struct semid_ds ds;
            unsigned short all[2] = {1, 1};
            SHOW(semget(4711, 0, 0) == id ? 0 : -1);
            SHOW(semget(4711, 0, 0400) == id ? 0 : -1);
            SHOW(semget(4711, 0, 0200) == id ? 0 : -1);
            SHOW(op(id, 0, 1, 0));
            SHOW(op(id, 0, -1, IPC_NOWAIT));
            SHOW(value(id, 0));
            SHOW(semctl(id, 0, GETPID) > 0);
            SHOW(semctl(id, 0, GETNCNT));
            SHOW(semctl(id, 0, GETALL, all));
            SHOW(set(id, 1, 5));
            SHOW(semctl(id, 0, SETALL, all));
            SHOW(semctl(id, 0, IPC_STAT, &ds));
            SHOW(semctl(0, 0, SEM_STAT, &ds) == id ? 0 : -1);
            SHOW(semctl(0, 0, SEM_STAT_ANY, &ds) == id ? 0 : -1);
            SHOW(semctl(id, 0, IPC_SET, &ds));
            SHOW(semctl(id, 0, IPC_RMID));
        });
        reap("other", other);
        semctl(id, 0, IPC_RMID);
    }
    /* given to another */
    int id = fresh(1);
    struct semid_ds ds;
    semctl(id, 0, IPC_STAT, &ds);
    ds.sem_perm.uid = 65534;
    ds.sem_perm.mode = 0600;
    SHOW(semctl(id, 0, IPC_SET, &ds));
    CHILD(owner, {
        if (setgid(65534) || setuid(65534))
            _exit(1);
        SHOW(op(id, 0, 1, 0));
        SHOW(semctl(id, 0, IPC_RMID));
    });
    reap("owner", owner);
    SHOW(value(id, 0));
}

int main(int count, char **arguments) {
    self = arguments[0];
    setvbuf(stdout, 0, _IOLBF, 0);
    alarm(60);
    const char *section = count > 1 ? arguments[1] : "";
    if (!strcmp(section, "executed")) {
        executed(atoi(arguments[2]), arguments[3]);
        return 0;
    }
    struct {
        const char *name;
        void (*run)(void);
    } sections[] = {{"get", get},         {"operate", operate}, {"control", control},       {"info", info},
                    {"waiting", waiting}, {"signals", signals}, {"undo", undo},             {"exec", exec_keeps},
                    {"many", many},       {"permissions", permissions}};
    for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
        if (!strcmp(section, sections[i].name)) {
            sections[i].run();
            return 0;
        }
    return 2;
}
