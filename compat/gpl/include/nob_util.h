/*
 * nob_util.h - the database of named objects, on Commons.
 *
 * A named object is a name with a value, shared by programs, which goes with its last reference. Link with
 * -lcommons_gpl. See docs/libgpl.md.
 *
 * Functions that return a status return 0 or a value of errno, which errno is then set to.
 */
#ifndef NOB_UTIL_H
#define NOB_UTIL_H

#ifdef __cplusplus
extern "C" {
#endif

/* A reference to a named object. */
typedef struct _NamedObject *NamedObject;

/* Where an object is known. Does not matter: all are known to all programs of the user. */
typedef enum NamedObjectScope {
    singleCPU,
    multiCPU
} NamedObjectScope;

/* Set it to anything but 0 for lines on standard error. */
extern int nob_util_debug;

/*
 * EEXIST: found; *object is one reference more, with the value.
 * 0: new; the database is locked, and *object waits for nobCommit or nobAbort, by the same thread. Others that ask for a
 *    name that is not there wait meanwhile; if the creator dies, they go on as if it had never been.
 * EDEADLK: this thread itself is making an object of that name.
 */
extern int nobCreate(const char *name, NamedObjectScope scope, NamedObject *object);

/* Gives a new object its value, makes it known with one reference, and unlocks the database. After an error the
 * database is unlocked too, and what is left to do is nobAbort. EPERM: another thread's or process's to commit. */
extern int nobCommit(NamedObject object, void *value);

/* Gives a new object up, frees the handle, and unlocks the database. */
extern int nobAbort(NamedObject object);

/* How many references there are, in all programs; -1 on an error. */
extern int nobCount(NamedObject object);

/* Gives a reference up, and frees the handle. 0: it was the last, and the object is gone. EWOULDBLOCK: others remain. */
extern int nobDestroy(NamedObject object);

/* One reference more to the object of that name, to be given up with nobDestroy; NULL if there is none, with ENOENT in
 * errno. */
extern NamedObject nobExists(const char *name, NamedObjectScope scope);

/* The object's name; "<nil>" for NULL. */
extern const char *nobName(NamedObject object);

/* The object's value, as it was found or committed; NULL for NULL. Of shared memory, its identifier. */
extern void *nobValue(NamedObject object);

#ifdef __cplusplus
}
#endif

#endif
