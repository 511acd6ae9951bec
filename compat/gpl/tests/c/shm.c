/* shm_util: each function, and each row of its behaviour. What differs from libgpl on purpose says DIFFERS. */
#include "check.h"
#include "nob_util.h"
#include "shm_util.h"

static int count(const char *name) {
    NamedObject object = nobExists(name, multiCPU);
    if (object == NULL) {
        return 0;
    }
    int references = nobCount(object) - 1;
    nobDestroy(object);
    return references;
}

static void null_handles_are_no_crash(void) {
    SharedMemory memory = (SharedMemory)1;
    CHECK_DONE(shmDestroy(NULL));
    CHECK(shmAddress(NULL) == NULL && shmId(NULL) == -1 && shmSizeOf(NULL) == -1);
    CHECK_CODE(shmLoad(NULL, "x"), EINVAL); /* DIFFERS: libgpl crashes. */
    CHECK_CODE(shmSave(NULL, "x"), EINVAL);
    CHECK_CODE(shmCreate(NULL, 10, NULL, &memory), EINVAL);
    CHECK(memory == NULL);
    CHECK_CODE(shmCreate("x", 10, NULL, NULL), EINVAL);
    CHECK(count("x") == 0);
}

static void a_new_one_needs_a_size(void) {
    SharedMemory memory = (SharedMemory)1;
    CHECK_CODE(shmCreate("none", 0, NULL, &memory), ENOENT);
    CHECK(memory == NULL);
    CHECK_CODE(shmCreate("none", -1, NULL, &memory), ENOENT);
    errno = 0;
    CHECK(nobExists("none", multiCPU) == NULL && errno == ENOENT);
    CHECK_CODE(shmCreate("none", 0x7fffffffffffffff, NULL, &memory), EINVAL);
    CHECK(shmCreate("none", 1L << 50, NULL, &memory) != 0 && memory == NULL);
    CHECK(count("none") == 0);
}

static void new_and_existing(void) {
    SharedMemory one, two, three;
    void *first = NULL, *second = NULL;
    int before = descriptors();
    CHECK_DONE(shmCreate("jobs", 5000, &first, &one));
    CHECK(first != NULL && shmAddress(one) == first && shmSizeOf(one) == 5000);
    for (int i = 0; i < 5000; i++) {
        CHECK(((char *)first)[i] == 0);
    }
    /* Up to the page's end, as a System V segment. */
    ((char *)first)[8191] = 1;
    CHECK(shmId(one) >= 0 && (shmId(one) & 0x7fff) >= 16384);

    errno = 77;
    CHECK(shmCreate("jobs", 5000, &second, &two) == 0);
    CHECK(errno == EEXIST); /* as libgpl leaves it */
    CHECK(second != first && shmId(two) == shmId(one));
    strcpy(first, "hello");
    CHECK(strcmp(second, "hello") == 0);
    CHECK(count("jobs") == 2);

    /* Smaller, and 0: the size is what it was. */
    CHECK(shmCreate("jobs", 10, NULL, &three) == 0 && shmSizeOf(three) == 5000);
    CHECK_DONE(shmDestroy(three));
    CHECK(shmCreate("jobs", 0, NULL, &three) == 0 && shmSizeOf(three) == 5000);
    CHECK_DONE(shmDestroy(three));
    CHECK(shmCreate("jobs", -7, NULL, &three) == 0);
    CHECK_DONE(shmDestroy(three));
    /* DIFFERS: libgpl's code lets it pass; its documentation says that it is an error. */
    CHECK_CODE(shmCreate("jobs", 5001, NULL, &three), EINVAL);
    CHECK(three == NULL && count("jobs") == 2);

    CHECK(descriptors() == before);
    CHECK_DONE(shmDestroy(one));
    CHECK(count("jobs") == 1 && strcmp(second, "hello") == 0);
    CHECK_DONE(shmDestroy(two));
    CHECK(count("jobs") == 0);
    /* DIFFERS: libgpl crashes, now or later. */
    CHECK_CODE(shmDestroy(two), EINVAL);
    CHECK(shmAddress(two) == NULL && shmId(two) == -1 && shmSizeOf(two) == -1);

    /* A new one of that name is another one. */
    CHECK_DONE(shmCreate("jobs", 1, NULL, &one));
    CHECK(*(char *)shmAddress(one) == 0 && shmSizeOf(one) == 1);
    CHECK_DONE(shmDestroy(one));
}

static void addresses(void) {
    SharedMemory one, two;
    char *free_place = mmap(NULL, 16 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(free_place != MAP_FAILED);
    CHECK(munmap(free_place, 16 * 4096) == 0);
    void *address = free_place + 4096 + 123;
    CHECK(shmCreate("at", 5000, &address, &one) == 0);
    CHECK(address == free_place + 4096 && shmAddress(one) == address);

    address = free_place + 4096;
    CHECK_CODE(shmCreate("at", 5000, &address, &two), EINVAL);
    /* DIFFERS: libgpl keeps the reference, so that the memory stays for ever, and hands out a handle. */
    CHECK(two == NULL && count("at") == 1 && address == free_place + 4096);
    address = free_place + 8191;
    CHECK_CODE(shmCreate("at", 5000, &address, &two), EINVAL);
    address = (void *)17; /* rounded down it is page 0 */
    CHECK_CODE(shmCreate("at", 5000, &address, &two), EINVAL);
    address = (void *)0x7ffffffffffff000;
    CHECK_CODE(shmCreate("at", 5000, &address, &two), EINVAL);
    CHECK(count("at") == 1);
    CHECK_DONE(shmDestroy(one));

    /* A new name, at an occupied address: nothing is left of it. */
    address = (void *)(((unsigned long)&addresses) & ~4095UL);
    CHECK_CODE(shmCreate("at", 5000, &address, &one), EINVAL);
    CHECK(one == NULL && count("at") == 0);
}

static void any_name(void) {
    char long_name[1001], longer[1002];
    memset(long_name, 'n', 1000);
    memset(longer, 'n', 1001);
    long_name[1000] = longer[1001] = 0;
    const char *names[] = {"", "/", "//", "/a", "a", "a/b", "../x", ".", "..", "~", "~database", "%2F", "sem.x",
                           "\xff\xfe", "two\nlines", long_name, longer};
    enum { COUNT = sizeof names / sizeof *names };
    SharedMemory memories[COUNT];
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(shmCreate(names[i], 100 + i, NULL, &memories[i]));
        sprintf(shmAddress(memories[i]), "%d", i);
    }
    for (int i = 0; i < COUNT; i++) {
        SharedMemory again;
        CHECK(shmCreate(names[i], 0, NULL, &again) == 0);
        CHECK(shmSizeOf(again) == 100 + i && atoi(shmAddress(again)) == i && shmId(again) == shmId(memories[i]));
        for (int j = 0; j < i; j++) {
            CHECK(shmId(memories[j]) != shmId(memories[i]));
        }
        CHECK_DONE(shmDestroy(again));
        NamedObject object = nobExists(names[i], singleCPU);
        CHECK(object != NULL && strcmp(nobName(object), names[i]) == 0 && nobCount(object) == 2);
        CHECK(nobDestroy(object) == EWOULDBLOCK);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(shmDestroy(memories[i]));
        CHECK(count(names[i]) == 0);
    }
}

/* Memory and objects are in one database. */
static void one_database(void) {
    SharedMemory memory;
    NamedObject object;
    CHECK_DONE(shmCreate("both", 10, NULL, &memory));
    object = nobExists("both", multiCPU);
    CHECK(object != NULL && (long)nobValue(object) == shmId(memory) && nobCount(object) == 2);
    NamedObject found;
    CHECK_CODE(nobCreate("both", multiCPU, &found), EEXIST);
    CHECK((long)nobValue(found) == shmId(memory) && nobCount(found) == 3);
    CHECK_CODE(nobDestroy(found), EWOULDBLOCK);
    /* A reference keeps the memory. */
    strcpy(shmAddress(memory), "kept");
    CHECK_DONE(shmDestroy(memory));
    CHECK(nobCount(object) == 1);
    CHECK(shmCreate("both", 0, NULL, &memory) == 0 && strcmp(shmAddress(memory), "kept") == 0);
    CHECK_DONE(shmDestroy(memory));
    CHECK_DONE(nobDestroy(object));
    CHECK_CODE(shmCreate("both", 0, NULL, &memory), ENOENT);

    /* An object whose value is no memory's. */
    CHECK_DONE(nobCreate("both", multiCPU, &object));
    /* DIFFERS: libgpl finds an object whose value is 0. */
    CHECK_CODE(shmCreate("both", 10, NULL, &memory), EDEADLK);
    CHECK_CODE(nobCreate("both", multiCPU, &found), EDEADLK);
    CHECK_DONE(shmCreate("other", 10, NULL, &memory));
    CHECK_DONE(shmDestroy(memory));
    CHECK_DONE(nobCommit(object, (void *)5));
    CHECK_CODE(shmCreate("both", 10, NULL, &memory), EINVAL);
    CHECK_CODE(shmCreate("both", 0, NULL, &memory), EINVAL);
    CHECK(nobCount(object) == 1);
    CHECK_DONE(nobDestroy(object));
}

static void between_processes(void) {
    Line ready = new_line(), go = new_line();
    SharedMemory memory;
    /* The other one is not forked from one that has it: it is a process like any other. */
    pid_t child = begin_child();
    if (child == 0) {
        CHECK(shmCreate("between", 4096, NULL, &memory) == 0);
        strcpy(shmAddress(memory), "from the child");
        say(ready);
        hear(go);
        exit(0); /* without giving it up */
    }
    hear(ready);
    CHECK(shmCreate("between", 0, NULL, &memory) == 0 && errno == EEXIST);
    CHECK(strcmp(shmAddress(memory), "from the child") == 0 && count("between") == 2);
    say(go);
    must_succeed(child);
    /* DIFFERS: libgpl counts the dead for ever. */
    CHECK(count("between") == 1);
    CHECK_DONE(shmDestroy(memory));
    CHECK(count("between") == 0);

    /* Killed, alone: nothing is left to find. */
    child = begin_child();
    if (child == 0) {
        CHECK(shmCreate("between", 4096, NULL, &memory) == 0);
        strcpy(shmAddress(memory), "ghost");
        say(ready);
        hear(go);
    }
    hear(ready);
    CHECK(count("between") == 1);
    kill_child(child);
    /* DIFFERS: libgpl finds the ghost. */
    CHECK_CODE(shmCreate("between", 0, NULL, &memory), ENOENT);
    CHECK_DONE(shmCreate("between", 10, NULL, &memory));
    CHECK(*(char *)shmAddress(memory) == 0);
    CHECK_DONE(shmDestroy(memory));
}

/* A forked child has the memory, under the reference of its parent, which stays as long as either has it. */
static void forks(void) {
    Line ready = new_line(), go = new_line();
    SharedMemory memory, again;
    CHECK_DONE(shmCreate("forked", 100, NULL, &memory));
    pid_t child = begin_child();
    if (child == 0) {
        CHECK(count("forked") == 1);
        strcpy(shmAddress(memory), "child");
        CHECK_DONE(shmDestroy(memory)); /* its own mapping; the parent's stays */
        exit(0);
    }
    must_succeed(child);
    CHECK(count("forked") == 1 && strcmp(shmAddress(memory), "child") == 0);

    child = begin_child();
    if (child == 0) {
        say(ready);
        hear(go);
        CHECK(strcmp(shmAddress(memory), "child") == 0);
        CHECK(count("forked") == 1);
        CHECK_DONE(shmDestroy(memory)); /* the last */
        CHECK(count("forked") == 0);
        exit(0);
    }
    hear(ready);
    CHECK_DONE(shmDestroy(memory));
    /* DIFFERS: in libgpl the name is gone by now. */
    CHECK(count("forked") == 1);
    say(go);
    must_succeed(child);
    CHECK_CODE(shmCreate("forked", 0, NULL, &again), ENOENT);
}

static long size_of_file(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (long)status.st_size : -1;
}

static void write_file(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void files(void) {
    SharedMemory memory;
    struct stat status;
    char *address, bytes[200];
    CHECK_DONE(shmCreate("files", 100, (void **)(address = NULL, &address), &memory));
    memset(address, 'a', 100);
    umask(022);
    CHECK_DONE(shmSave(memory, "raw"));
    CHECK(size_of_file("raw") == 100);
    CHECK(stat("raw", &status) == 0 && (status.st_mode & 0777) == 0644);
    int fd = open("raw", O_RDONLY);
    CHECK(read(fd, bytes, 200) == 100 && memcmp(bytes, address, 100) == 0 && close(fd) == 0);

    /* In the place of a larger one, whose permissions stay; nothing else is left there. */
    memset(bytes, 'x', 200);
    write_file("raw", bytes, 200);
    CHECK(chmod("raw", 0604) == 0);
    CHECK_DONE(shmSave(memory, "raw"));
    CHECK(size_of_file("raw") == 100 && stat("raw", &status) == 0 && (status.st_mode & 0777) == 0604);
    CHECK(chmod("raw", 0644) == 0);
    /* Through a link, which stays one; one that leads nowhere; to a file with another name. */
    CHECK(symlink("raw", "link") == 0 && symlink("later", "dangling") == 0 && link("raw", "twin") == 0);
    memset(address, 'b', 100);
    CHECK_DONE(shmSave(memory, "link"));
    CHECK(lstat("link", &status) == 0 && S_ISLNK(status.st_mode));
    CHECK_DONE(shmSave(memory, "dangling"));
    CHECK(size_of_file("later") == 100);
    fd = open("twin", O_RDONLY);
    CHECK(read(fd, bytes, 1) == 1 && bytes[0] == 'b' && close(fd) == 0);
    /* What one left that was killed on its way is removed by the next; what looks like it stays. */
    write_file("later.12345.gpl-part", "half", 4);
    write_file("later.x.gpl-part", "mine", 4);
    CHECK_DONE(shmSave(memory, "later"));
    CHECK(size_of_file("later.12345.gpl-part") == -1 && size_of_file("later.x.gpl-part") == 4);
    /* Devices and pipes are written to. */
    CHECK_DONE(shmSave(memory, "/dev/null"));
    CHECK(stat("/dev/null", &status) == 0 && S_ISCHR(status.st_mode));
    int ends[2];
    char name[64];
    CHECK(pipe(ends) == 0);
    sprintf(name, "/dev/fd/%d", ends[1]);
    CHECK_DONE(shmSave(memory, name));
    CHECK(read(ends[0], bytes, 200) == 100 && bytes[99] == 'b');
    CHECK_CODE(shmSave(memory, "/nowhere/x"), ENOENT);
    CHECK_CODE(shmSave(memory, "."), EISDIR);
    CHECK_CODE(shmSave(memory, NULL), EINVAL);
    CHECK_CODE(shmSave(memory, ""), ENOENT);

    /* Loading: as much as there is, as much as fits; the rest stays. */
    memset(address, 'm', 100);
    write_file("short", "0123456789", 10);
    CHECK_DONE(shmLoad(memory, "short"));
    CHECK(memcmp(address, "0123456789mm", 12) == 0 && address[99] == 'm');
    memset(bytes, 'L', 200);
    write_file("large", bytes, 200);
    CHECK_DONE(shmLoad(memory, "large"));
    CHECK(address[0] == 'L' && address[99] == 'L' && address[100] == 0);
    CHECK_CODE(shmLoad(memory, "missing"), ENOENT);
    CHECK_CODE(shmLoad(memory, "."), EISDIR);
    CHECK_CODE(shmLoad(memory, NULL), EINVAL);
    write_file("empty", "", 0);
    CHECK_CODE(shmLoad(memory, "empty"), ENODATA); /* DIFFERS: libgpl fails with code 0. */
    CHECK(address[0] == 'L');

    /* Names of files. */
    char here[4096];
    CHECK(getcwd(here, sizeof here) != NULL);
    setenv("GPL_DIRECTORY", here, 1);
    setenv("GPL_FILE", "short", 1);
    CHECK_DONE(shmLoad(memory, "$GPL_DIRECTORY/$GPL_FILE"));
    CHECK(address[0] == '0');
    CHECK_DONE(shmSave(memory, "${GPL_FILE}_copy"));
    CHECK(size_of_file("short_copy") == 100);
    CHECK_DONE(shmSave(memory, "$GPL_NOTHING"));
    CHECK(size_of_file("$GPL_NOTHING") == 100);
    CHECK_DONE(shmDestroy(memory));
}

/* What was saved comes back after everybody has gone. */
static void a_snapshot_comes_back(void) {
    SharedMemory memory;
    const long size = 3 * 1000 * 1000 + 7;
    CHECK_DONE(shmCreate("snapshot", size, NULL, &memory));
    unsigned char *bytes = shmAddress(memory);
    for (long i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(i * 31 >> 3);
    }
    CHECK_DONE(shmSave(memory, "snapshot"));
    CHECK(size_of_file("snapshot") == size);
    CHECK_DONE(shmDestroy(memory));
    CHECK_DONE(shmCreate("snapshot", size, NULL, &memory));
    CHECK_DONE(shmLoad(memory, "snapshot"));
    bytes = shmAddress(memory);
    for (long i = 0; i < size; i++) {
        CHECK(bytes[i] == (unsigned char)(i * 31 >> 3));
    }
    CHECK_DONE(shmDestroy(memory));
}

/* Lines for debugging come when they are asked for, and only then. */
static void debugging(void) {
    SharedMemory memory;
    int ends[2], keep = dup(2);
    char lines[1000];
    CHECK(pipe(ends) == 0 && dup2(ends[1], 2) == 2 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    CHECK(shmCreate("debug", 10, NULL, &memory) == 0);
    ssize_t quiet = read(ends[0], lines, sizeof lines);
    shm_util_debug = 1;
    CHECK(shmDestroy(memory) == 0);
    shm_util_debug = 0;
    ssize_t loud = read(ends[0], lines, sizeof lines - 1);
    CHECK(dup2(keep, 2) == 2);
    CHECK(quiet == -1 && loud > 0);
    lines[loud] = 0;
    CHECK(strstr(lines, "shmDestroy") != NULL && lines[loud - 1] == '\n');
    close(ends[0]), close(ends[1]), close(keep);
}

int main(void) {
    null_handles_are_no_crash();
    a_new_one_needs_a_size();
    new_and_existing();
    addresses();
    any_name();
    one_database();
    between_processes();
    forks();
    files();
    a_snapshot_comes_back();
    debugging();
    return 0;
}
