/*
 * shm_util.h - shared memory under a name, on Commons.
 *
 * Shared memory goes with its last reference, however programs end. Link with -lcommons_gpl. See docs/libgpl.md.
 *
 * Functions that return a status return 0 or a value of errno, which errno is then set to.
 */
#ifndef SHM_UTIL_H
#define SHM_UTIL_H

#ifdef __cplusplus
extern "C" {
#endif

/* One attachment, which is one reference. */
typedef struct _SharedMemory *SharedMemory;

/* Set it to anything but 0 for lines on standard error. */
extern int shm_util_debug;

/*
 * Attaches the shared memory of that name; makes it first, of so many bytes, all zero, if there is none. At *address,
 * rounded down to a page, if address is not NULL and *address is not; *address is then where it is. 0 also if it was
 * there; errno is then EEXIST.
 *
 * ENOENT: there is none, and size is not above 0. EINVAL: the memory is smaller than size, or the address is occupied.
 * After an error *memory is NULL, and there is no reference.
 */
extern int shmCreate(const char *name, long size, void **address, SharedMemory *memory);

/* Detaches, and gives up the reference and the handle; the last one deletes. 0, also for NULL. */
extern int shmDestroy(SharedMemory memory);

/* Where it is attached; NULL for NULL. */
extern void *shmAddress(SharedMemory memory);

/* Its identifier; -1 for NULL. shmat() and shmctl() take it under libcommons_sysv. */
extern int shmId(SharedMemory memory);

/* How many bytes it has, exactly; -1 for NULL. */
extern long shmSizeOf(SharedMemory memory);

/* Reads a file to the memory's beginning, as much as fits; the rest of the memory stays as it is. $NAME and ${NAME} in
 * the file's name are environment variables. ENODATA: the file is empty. */
extern int shmLoad(SharedMemory memory, const char *fileName);

/* Writes the memory's bytes, and nothing else, to a file, which has them whole or is what it was. */
extern int shmSave(SharedMemory memory, const char *fileName);

#ifdef __cplusplus
}
#endif

#endif
