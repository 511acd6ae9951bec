/*
 * sem_util.h - counting semaphores for a process and those that it forks, on Commons.
 *
 * Link with -lcommons_gpl. See docs/libgpl.md.
 *
 * Functions that return a status return 0 or a value of errno, which errno is then set to.
 */
#ifndef SEM_UTIL_H
#define SEM_UTIL_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct _Semaphore *Semaphore;

/* Set it to anything but 0 for lines on standard error. */
extern int sem_util_debug;

/* Makes a semaphore with so many units, 0 to 32767. The name is a label: two of one name are two. Processes that are
 * forked have it too. */
extern int sem_create(const char *name, int initial, Semaphore *semaphore);

/* Deletes it, in all processes that have it, and frees the handle. Who waits for it gets EIDRM; who uses it later,
 * EINVAL. */
extern int sem_delete(Semaphore semaphore);

/* Adds a unit. ERANGE: there are 32767. */
extern int sem_give(Semaphore semaphore);

/* Its identifier; -1 for NULL. It is no System V set's. */
extern int sem_id(Semaphore semaphore);

/* Takes a unit, waiting so many seconds at most; below 0 for ever, 0 not at all. EWOULDBLOCK: there was none in time. */
extern int sem_take(Semaphore semaphore, double timeout);

/* How many units there are; -1 for NULL. */
extern int sem_value(Semaphore semaphore);

#ifdef __cplusplus
}
#endif

#endif
