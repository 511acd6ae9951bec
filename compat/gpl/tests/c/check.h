/* What the test programs share: checks that end the program, children, and waiting for them. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what)                                                                                                  \
    do {                                                                                                             \
        int before_ = errno;                                                                                         \
        if (!(what)) {                                                                                               \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #what, before_);                   \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

/* The function gives this code, and so does errno. */
#define CHECK_CODE(call, code)                                                                                       \
    do {                                                                                                             \
        errno = 77;                                                                                                  \
        int got_ = (call);                                                                                           \
        if (got_ != (code) || errno != (code)) {                                                                     \
            fprintf(stderr, "%s:%d: %s gave %d, errno %d, not %d\n", __FILE__, __LINE__, #call, got_, errno, code);  \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

/* The function gives 0, and errno stays what it was. */
#define CHECK_DONE(call)                                                                                             \
    do {                                                                                                             \
        errno = 77;                                                                                                  \
        int got_ = (call);                                                                                           \
        if (got_ != 0 || errno != 77) {                                                                              \
            fprintf(stderr, "%s:%d: %s gave %d, errno %d\n", __FILE__, __LINE__, #call, got_, errno);                \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

/* A child that goes with its parent. */
static inline pid_t begin_child(void) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(100);
    }
    return child;
}

static inline void must_succeed(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void kill_child(pid_t child) {
    int status;
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
}

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A line between processes: one says, the other hears. */
typedef struct {
    int ends[2];
} Line;

static inline Line new_line(void) {
    Line line;
    CHECK(pipe(line.ends) == 0);
    return line;
}

static inline void say(Line line) { CHECK(write(line.ends[1], ".", 1) == 1); }

static inline void hear(Line line) {
    char byte;
    CHECK(read(line.ends[0], &byte, 1) == 1);
}

/* Whether somebody has said something by now. */
static inline int is_said(Line line, int milliseconds) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(line.ends[0], &set);
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    return select(line.ends[0] + 1, &set, NULL, NULL, &time) == 1;
}

static inline int descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) != -1;
    }
    return count;
}

#endif
