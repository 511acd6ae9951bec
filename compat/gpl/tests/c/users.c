/* Two users that share a database. users hold: makes memory and an object, says so, and waits. users look: finds both. */
#include "check.h"
#include "nob_util.h"
#include "shm_util.h"

int main(int count, char **arguments) {
    SharedMemory memory;
    NamedObject object;
    char byte;
    CHECK(count == 2);
    if (strcmp(arguments[1], "hold") == 0) {
        CHECK_DONE(shmCreate("shared", 100, NULL, &memory));
        strcpy(shmAddress(memory), "for both");
        CHECK_DONE(nobCreate("object", multiCPU, &object));
        CHECK_DONE(nobCommit(object, (void *)12));
        CHECK(write(1, ".", 1) == 1);
        CHECK(read(0, &byte, 1) == 0);
        return 0; /* without giving up */
    }
    if (strcmp(arguments[1], "refused") == 0) {
        CHECK_CODE(shmCreate("shared", 0, NULL, &memory), EACCES);
        CHECK_CODE(shmCreate("shared", 100, NULL, &memory), EACCES);
        CHECK_CODE(nobCreate("object", multiCPU, &object), EACCES);
        return 0;
    }
    CHECK(shmCreate("shared", 100, NULL, &memory) == 0 && strcmp(shmAddress(memory), "for both") == 0);
    CHECK_CODE(nobCreate("object", multiCPU, &object), EEXIST);
    CHECK(nobValue(object) == (void *)12 && nobCount(object) == 2);
    CHECK(write(1, ".", 1) == 1);
    CHECK(read(0, &byte, 1) == 0);
    /* The other one has ended, and this one is the last: it deletes what is not its own. */
    CHECK(nobCount(object) == 1);
    CHECK_DONE(nobDestroy(object));
    CHECK_DONE(shmDestroy(memory));
    CHECK_CODE(shmCreate("shared", 0, NULL, &memory), ENOENT);
    CHECK_DONE(shmCreate("shared", 10, NULL, &memory));
    CHECK_DONE(shmDestroy(memory));
    return 0;
}
