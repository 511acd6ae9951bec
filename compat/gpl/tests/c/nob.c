/* nob_util: each function, and each row of its behaviour. What differs from libgpl on purpose says DIFFERS. */
#include <pthread.h>

#include "check.h"
#include "nob_util.h"
#include "shm_util.h"

static void null_handles_are_no_crash(void) {
    NamedObject object = (NamedObject)1;
    CHECK_CODE(nobCommit(NULL, NULL), EINVAL);
    CHECK_CODE(nobAbort(NULL), EINVAL);
    CHECK_CODE(nobDestroy(NULL), EINVAL);
    errno = 0;
    CHECK(nobCount(NULL) == -1 && errno == EINVAL);
    CHECK(strcmp(nobName(NULL), "<nil>") == 0 && nobValue(NULL) == NULL);
    CHECK_CODE(nobCreate(NULL, multiCPU, &object), EINVAL);
    CHECK(object == NULL);
    CHECK_CODE(nobCreate("x", multiCPU, NULL), EINVAL);
    errno = 0;
    CHECK(nobExists(NULL, multiCPU) == NULL && errno == EINVAL);
}

static void new_and_existing(void) {
    NamedObject one, two, three;
    errno = 0;
    CHECK(nobExists("thing", multiCPU) == NULL && errno == ENOENT);
    CHECK_DONE(nobCreate("thing", multiCPU, &one));
    CHECK(nobCount(one) == 0 && nobValue(one) == NULL && strcmp(nobName(one), "thing") == 0);
    errno = 0;
    CHECK(nobExists("thing", multiCPU) == NULL && errno == ENOENT);
    CHECK_DONE(nobCommit(one, (void *)0x123456789abcdef0));
    CHECK(nobCount(one) == 1 && nobValue(one) == (void *)0x123456789abcdef0);
    CHECK_CODE(nobCommit(one, NULL), EINVAL);
    CHECK_CODE(nobAbort(one), EINVAL); /* DIFFERS: libgpl takes the name from those who have it. */

    /* The scope does not matter. */
    CHECK_CODE(nobCreate("thing", singleCPU, &two), EEXIST);
    CHECK(two != one && nobValue(two) == nobValue(one) && nobCount(one) == 2);
    three = nobExists("thing", multiCPU);
    CHECK(three != NULL && nobCount(two) == 3 && nobValue(three) == nobValue(one));

    CHECK_CODE(nobDestroy(one), EWOULDBLOCK);
    /* In libgpl the handle stays, here it is none any more. */
    CHECK_CODE(nobDestroy(one), EINVAL);
    CHECK(nobCount(one) == -1 && strcmp(nobName(one), "<nil>") == 0);
    CHECK_CODE(nobDestroy(three), EWOULDBLOCK);
    CHECK(nobCount(two) == 1);
    CHECK_DONE(nobDestroy(two));
    CHECK(nobExists("thing", multiCPU) == NULL && errno == ENOENT);
}

static void giving_up(void) {
    NamedObject object, other;
    CHECK_DONE(nobCreate("aborted", multiCPU, &object));
    CHECK_DONE(nobAbort(object));
    CHECK_CODE(nobAbort(object), EINVAL);
    CHECK(nobExists("aborted", multiCPU) == NULL && errno == ENOENT);
    /* What is given up before it is committed is given up. */
    CHECK_DONE(nobCreate("aborted", multiCPU, &object));
    CHECK_DONE(nobDestroy(object));
    CHECK(nobExists("aborted", multiCPU) == NULL);

    /* Several at once, in any order. */
    CHECK_DONE(nobCreate("first", multiCPU, &object));
    CHECK_DONE(nobCreate("second", multiCPU, &other));
    CHECK_DONE(nobCommit(object, (void *)1));
    CHECK(nobCount(object) == 1 && nobExists("second", multiCPU) == NULL);
    CHECK_DONE(nobCommit(other, (void *)2));
    CHECK_DONE(nobDestroy(object));
    CHECK_DONE(nobDestroy(other));
}

/* What one thread asks of the database while another has something in the making. */
typedef struct {
    const char *name;
    Line done;
    int status;
    NamedObject object;
} Asking;

static void *ask(void *argument) {
    Asking *asking = argument;
    asking->status = nobCreate(asking->name, multiCPU, &asking->object);
    if (asking->status == 0) {
        nobCommit(asking->object, (void *)99);
    }
    say(asking->done);
    return NULL;
}

static void *ask_whether_it_exists(void *argument) {
    Asking *asking = argument;
    asking->object = nobExists(asking->name, multiCPU);
    say(asking->done);
    return NULL;
}

static void *not_mine(void *argument) {
    NamedObject object = argument;
    CHECK_CODE(nobCommit(object, NULL), EPERM);
    CHECK_CODE(nobAbort(object), EPERM);
    CHECK_CODE(nobDestroy(object), EPERM);
    return NULL;
}

static void others_wait(void) {
    pthread_t thread;
    NamedObject object;
    Asking asking = {"waited", new_line(), -1, NULL};

    /* For the same name: it is there once it is committed. */
    CHECK_DONE(nobCreate("waited", multiCPU, &object));
    CHECK(pthread_create(&thread, NULL, ask, &asking) == 0);
    CHECK(!is_said(asking.done, 100));
    CHECK_DONE(nobCommit(object, (void *)7));
    hear(asking.done);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(asking.status == EEXIST && nobValue(asking.object) == (void *)7 && nobCount(object) == 2);
    CHECK_CODE(nobDestroy(asking.object), EWOULDBLOCK);

    /* What is there does not wait, for whatever is in the making. */
    NamedObject making;
    CHECK_DONE(nobCreate("other", multiCPU, &making));
    CHECK(pthread_create(&thread, NULL, ask, &asking) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    hear(asking.done);
    CHECK(asking.status == EEXIST);
    CHECK_CODE(nobDestroy(asking.object), EWOULDBLOCK);
    CHECK_DONE(nobDestroy(object));

    /* After an abort it is for the next one to make. */
    CHECK(pthread_create(&thread, NULL, ask, &asking) == 0);
    CHECK(!is_said(asking.done, 100));
    CHECK_DONE(nobAbort(making));
    hear(asking.done);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(asking.status == 0 && nobValue(asking.object) == (void *)99);
    CHECK_DONE(nobDestroy(asking.object));

    /* Who asks whether it exists waits too, and so does who wants shared memory. */
    asking.name = "asked";
    CHECK_DONE(nobCreate("asked", multiCPU, &object));
    CHECK(pthread_create(&thread, NULL, ask_whether_it_exists, &asking) == 0);
    CHECK(!is_said(asking.done, 100));
    CHECK_DONE(nobCommit(object, (void *)8));
    hear(asking.done);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(asking.object != NULL && nobValue(asking.object) == (void *)8);
    CHECK_CODE(nobDestroy(asking.object), EWOULDBLOCK);
    CHECK_DONE(nobDestroy(object));

    pthread_t stranger;
    CHECK_DONE(nobCreate("mine", multiCPU, &object));
    CHECK(pthread_create(&stranger, NULL, not_mine, object) == 0 && pthread_join(stranger, NULL) == 0);
    CHECK_DONE(nobCommit(object, (void *)8));
    CHECK_DONE(nobDestroy(object));
}

static void *creates_and_ends(void *argument) {
    NamedObject object;
    CHECK_DONE(nobCreate(argument, multiCPU, &object));
    return NULL;
}

/* A creator that dies has never been, and who waits goes on at once. */
static void creators_that_die(void) {
    Line ready = new_line(), go = new_line();
    NamedObject object;
    pthread_t thread;
    for (int way = 0; way < 3; way++) {
        pid_t child = begin_child();
        if (child == 0) {
            CHECK_DONE(nobCreate("dying", multiCPU, &object));
            say(ready);
            if (way == 1) {
                usleep(50 * 1000);
                exit(0);
            }
            if (way == 2) {
                usleep(50 * 1000);
                execlp("true", "true", (char *)NULL);
            }
            hear(go);
        }
        hear(ready);
        Asking asking = {"dying", new_line(), -1, NULL};
        CHECK(pthread_create(&thread, NULL, ask, &asking) == 0);
        if (way == 0) {
            CHECK(!is_said(asking.done, 50));
            double begun = now();
            kill_child(child);
            hear(asking.done);
            CHECK(now() - begun < 0.5);
        } else {
            hear(asking.done);
            must_succeed(child);
        }
        CHECK(pthread_join(thread, NULL) == 0);
        /* DIFFERS: in libgpl its value is 0, and nobody ever makes it good. */
        CHECK(asking.status == 0 && nobCount(asking.object) == 1);
        CHECK_DONE(nobDestroy(asking.object));
        close(asking.done.ends[0]), close(asking.done.ends[1]);
    }
    CHECK(pthread_create(&thread, NULL, creates_and_ends, "ended") == 0 && pthread_join(thread, NULL) == 0);
    CHECK_DONE(nobCreate("ended", multiCPU, &object));
    CHECK_DONE(nobAbort(object));
}

/* References that nobody gives up go with their process. */
static void references_of_the_dead(void) {
    Line ready = new_line(), go = new_line();
    NamedObject object;
    CHECK_DONE(nobCreate("counted", multiCPU, &object));
    CHECK_DONE(nobCommit(object, (void *)3));
    pid_t children[5];
    for (int i = 0; i < 5; i++) {
        children[i] = begin_child();
        if (children[i] == 0) {
            NamedObject found;
            CHECK_CODE(nobCreate("counted", multiCPU, &found), EEXIST);
            CHECK(nobExists("counted", multiCPU) != NULL);
            say(ready);
            hear(go);
        }
        hear(ready);
        /* Each child inherits what its parent has, which counts once, and has two of its own. */
        CHECK(nobCount(object) == 1 + 2 * (i + 1));
    }
    for (int i = 0; i < 5; i++) {
        kill_child(children[i]);
        CHECK(nobCount(object) == 1 + 2 * (4 - i));
    }
    CHECK_DONE(nobDestroy(object));
    CHECK(nobExists("counted", multiCPU) == NULL);
}

/* What a forked child inherits. */
static void forks(void) {
    NamedObject object, making, other;
    CHECK_DONE(nobCreate("inherited", multiCPU, &object));
    CHECK_DONE(nobCommit(object, (void *)4));
    CHECK_DONE(nobCreate("making", multiCPU, &making));
    Line ready = new_line();
    pid_t child = begin_child();
    if (child == 0) {
        /* Its parent's to commit, not its own. */
        CHECK_CODE(nobCommit(making, NULL), EPERM);
        CHECK_CODE(nobAbort(making), EPERM);
        /* One reference for both. */
        CHECK(nobCount(object) == 1 && nobValue(object) == (void *)4);
        CHECK_CODE(nobDestroy(object), EWOULDBLOCK);
        say(ready);
        /* It waits for its parent, as everybody does. */
        CHECK_CODE(nobCreate("making", multiCPU, &other), EEXIST);
        CHECK(nobValue(other) == (void *)5);
        exit(0);
    }
    hear(ready);
    usleep(50 * 1000);
    CHECK_DONE(nobCommit(making, (void *)5));
    must_succeed(child);
    CHECK(nobCount(object) == 1);
    CHECK_DONE(nobDestroy(object));
    CHECK_DONE(nobDestroy(making));
}

/* Of many that leave together one is told that it was the last. */
static void one_is_the_last(void) {
    enum { PROCESSES = 4, ROUNDS = 200 };
    Line ready = new_line(), go = new_line();
    for (int round = 0; round < ROUNDS; round++) {
        NamedObject object;
        pid_t children[PROCESSES];
        for (int i = 0; i < PROCESSES; i++) {
            children[i] = begin_child();
            if (children[i] == 0) {
                int status = nobCreate("leaving", multiCPU, &object);
                CHECK(status == EEXIST || (status == 0 && nobCommit(object, NULL) == 0));
                say(ready);
                hear(go);
                status = nobDestroy(object);
                CHECK(status == 0 || status == EWOULDBLOCK);
                _exit(status == 0 ? 10 : 0);
            }
        }
        for (int i = 0; i < PROCESSES; i++) {
            hear(ready);
        }
        CHECK(write(go.ends[1], "....", PROCESSES) == PROCESSES);
        int last = 0;
        for (int i = 0; i < PROCESSES; i++) {
            int status;
            CHECK(waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status));
            CHECK(WEXITSTATUS(status) == 10 || WEXITSTATUS(status) == 0);
            last += WEXITSTATUS(status) == 10;
        }
        CHECK(last == 1);
        CHECK(nobExists("leaving", multiCPU) == NULL);
    }
}

/* The lock works: DIFFERS from libgpl, which loses references (798 of 801 seen). */
static void creations_are_counted(void) {
    enum { PROCESSES = 4, CREATIONS = 200 };
    Line ready = new_line(), go = new_line();
    NamedObject object;
    CHECK_DONE(nobCreate("many", multiCPU, &object));
    CHECK_DONE(nobCommit(object, (void *)1));
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = begin_child();
        if (children[i] == 0) {
            for (int j = 0; j < CREATIONS; j++) {
                NamedObject another;
                CHECK_CODE(nobCreate("many", multiCPU, &another), EEXIST);
            }
            say(ready);
            hear(go);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        hear(ready);
    }
    CHECK(nobCount(object) == PROCESSES * CREATIONS + 1);
    for (int i = 0; i < PROCESSES; i++) {
        kill_child(children[i]);
    }
    CHECK(nobCount(object) == 1);
    CHECK_DONE(nobDestroy(object));
}

static void *makes_and_unmakes(void *argument) {
    long made = 0;
    char name[20];
    for (int round = 0; round < 500; round++) {
        NamedObject object;
        sprintf(name, "raced %d", round % 3);
        int status = nobCreate(name, multiCPU, &object);
        if (status == 0) {
            made++;
            CHECK(nobCommit(object, (void *)(long)(round % 3 + 1)) == 0);
        }
        CHECK(status == 0 || status == EEXIST);
        CHECK(nobValue(object) == (void *)(long)(round % 3 + 1));
        CHECK(nobCount(object) >= 1);
        status = nobDestroy(object);
        CHECK(status == 0 || status == EWOULDBLOCK);
    }
    *(long *)argument = made;
    return NULL;
}

static void threads(void) {
    enum { THREADS = 4 };
    pthread_t running[THREADS];
    long made[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&running[i], NULL, makes_and_unmakes, &made[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(running[i], NULL) == 0);
        CHECK(made[i] >= 0);
    }
    CHECK(nobExists("raced 0", multiCPU) == NULL && nobExists("raced 1", multiCPU) == NULL);
}

int main(void) {
    null_handles_are_no_crash();
    new_and_existing();
    giving_up();
    others_wait();
    creators_that_die();
    references_of_the_dead();
    forks();
    one_is_the_last();
    creations_are_counted();
    threads();
    return 0;
}
