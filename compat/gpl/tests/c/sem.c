/* sem_util: each function. What differs from libgpl on purpose says DIFFERS. */
#include <math.h>
#include <pthread.h>

#include "check.h"
#include "sem_util.h"

static void null_handles_are_no_crash(void) {
    Semaphore semaphore;
    CHECK_CODE(sem_create("x", 1, NULL), EINVAL);
    CHECK_CODE(sem_create("x", -1, &semaphore), EINVAL);
    CHECK(semaphore == NULL);
    CHECK_CODE(sem_create("x", 32768, &semaphore), ERANGE);
    CHECK_CODE(sem_delete(NULL), EINVAL);
    CHECK_CODE(sem_give(NULL), EINVAL);
    CHECK_CODE(sem_take(NULL, -1), EINVAL);
    CHECK(sem_id(NULL) == -1 && sem_value(NULL) == -1);
}

static void giving_and_taking(void) {
    Semaphore one, two;
    CHECK_DONE(sem_create("label", 2, &one));
    CHECK_DONE(sem_create("label", 0, &two)); /* another one */
    CHECK(sem_value(one) == 2 && sem_value(two) == 0 && sem_id(one) >= 0 && sem_id(one) != sem_id(two));
    CHECK_DONE(sem_take(one, -1.0));
    CHECK_DONE(sem_take(one, 0.0));
    CHECK(sem_value(one) == 0);
    CHECK_CODE(sem_take(one, 0.0), EWOULDBLOCK);
    /* DIFFERS: libgpl waits for ever, whatever is asked for. */
    double begun = now();
    CHECK_CODE(sem_take(one, 0.2), EWOULDBLOCK);
    double took = now() - begun;
    CHECK(took > 0.19 && took < 1.0);
    CHECK_CODE(sem_take(one, NAN), EINVAL);
    CHECK_DONE(sem_give(one));
    CHECK_DONE(sem_take(one, INFINITY));
    CHECK_DONE(sem_give(one));
    CHECK_DONE(sem_take(one, 1e300));
    CHECK_DONE(sem_delete(two));
    CHECK_CODE(sem_give(two), EINVAL);
    CHECK_CODE(sem_delete(two), EINVAL);
    CHECK_DONE(sem_create(NULL, 32767, &two));
    CHECK_CODE(sem_give(two), ERANGE);
    CHECK(sem_value(two) == 32767);
    CHECK_DONE(sem_delete(two));
    CHECK_DONE(sem_delete(one));
}

static void between_parent_and_child(void) {
    Semaphore ask, answer;
    CHECK_DONE(sem_create("ask", 0, &ask));
    CHECK_DONE(sem_create("answer", 0, &answer));
    pid_t child = begin_child();
    if (child == 0) {
        for (int i = 0; i < 1000; i++) {
            CHECK_DONE(sem_take(ask, -1));
            CHECK_DONE(sem_give(answer));
        }
        exit(0);
    }
    for (int i = 0; i < 1000; i++) {
        CHECK_DONE(sem_give(ask));
        CHECK_DONE(sem_take(answer, 10));
    }
    must_succeed(child);
    CHECK(sem_value(ask) == 0 && sem_value(answer) == 0);
    CHECK_DONE(sem_delete(ask));
    CHECK_DONE(sem_delete(answer));
}

static void *takes(void *semaphore) {
    CHECK_CODE(sem_take(semaphore, -1), EIDRM);
    return NULL;
}

/* Deleting wakes all who wait, in all processes, and is seen by all. */
static void deleting(void) {
    Semaphore semaphore;
    CHECK_DONE(sem_create("deleted", 0, &semaphore));
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = begin_child();
        if (children[i] == 0) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, takes, semaphore) == 0);
            CHECK_CODE(sem_take(semaphore, 20), EIDRM);
            CHECK(pthread_join(thread, NULL) == 0);
            CHECK_CODE(sem_give(semaphore), EINVAL);
            CHECK_CODE(sem_take(semaphore, -1), EINVAL);
            CHECK(sem_value(semaphore) == -1);
            CHECK_CODE(sem_delete(semaphore), EINVAL);
            exit(0);
        }
    }
    usleep(200 * 1000);
    CHECK_DONE(sem_delete(semaphore));
    for (int i = 0; i < 3; i++) {
        must_succeed(children[i]);
    }
}

/* Who waits and is killed takes nothing with it. */
static void killed_waiters(void) {
    Semaphore semaphore;
    CHECK_DONE(sem_create("killed", 0, &semaphore));
    for (int round = 0; round < 50; round++) {
        pid_t child = begin_child();
        if (child == 0) {
            sem_take(semaphore, -1);
            exit(1);
        }
        usleep((useconds_t)(round * 40));
        kill_child(child);
        CHECK_DONE(sem_give(semaphore));
        CHECK_DONE(sem_take(semaphore, 5));
    }
    CHECK(sem_value(semaphore) == 0);
    CHECK_DONE(sem_delete(semaphore));
}

int main(void) {
    null_handles_are_no_crash();
    giving_and_taking();
    between_parent_and_child();
    deleting();
    killed_waiters();
    sem_util_debug = 0;
    return 0;
}
