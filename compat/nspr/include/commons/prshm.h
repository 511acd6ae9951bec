/* NSPR's named shared memory and IPC semaphores, for programs that link libcommons_nspr without libnspr4.
 *
 * Self-contained: the types, flags and error codes that these calls need are here, in C (C99 or later) and C++. Where
 * NSPR's own headers can be found, the types and codes are taken from those, so that both can be used in one program,
 * in any order.
 *
 *   cc program.c $(pkg-config --cflags --libs commons-nspr)
 */
#ifndef COMMONS_PRSHM_H
#define COMMONS_PRSHM_H

#if !defined(prtypes_h___) && defined(__has_include)
#if __has_include(<prtypes.h>) && __has_include(<prerror.h>) && __has_include(<prio.h>)
#include <prerror.h>
#include <prio.h>
#include <prtypes.h>
#endif
#endif

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef prtypes_h___
typedef int PRIntn;
typedef unsigned int PRUintn;
typedef int32_t PRInt32;
typedef size_t PRSize; /* bytes */
typedef enum { PR_FAILURE = -1, PR_SUCCESS = 0 } PRStatus;
#endif

/* Errors: of the calling thread, set by every call that fails. Where libnspr4 is loaded, they are its own. */

#ifndef prerror_h___
typedef PRInt32 PRErrorCode;

/* The code of the last error. */
PRErrorCode PR_GetError(void);

/* The operating system's code for it: an errno. */
PRInt32 PR_GetOSError(void);
#endif

#ifndef prerr_h___
#define PR_OUT_OF_MEMORY_ERROR (-6000L)
#define PR_BAD_DESCRIPTOR_ERROR (-5999L)
#define PR_WOULD_BLOCK_ERROR (-5998L)
#define PR_ACCESS_FAULT_ERROR (-5997L)
#define PR_INVALID_METHOD_ERROR (-5996L)
#define PR_UNKNOWN_ERROR (-5994L)
#define PR_PENDING_INTERRUPT_ERROR (-5993L)
#define PR_NOT_IMPLEMENTED_ERROR (-5992L)
#define PR_IO_ERROR (-5991L)
#define PR_IO_TIMEOUT_ERROR (-5990L)
#define PR_INVALID_ARGUMENT_ERROR (-5987L)
#define PR_INSUFFICIENT_RESOURCES_ERROR (-5974L)
#define PR_PROC_DESC_TABLE_FULL_ERROR (-5971L)
#define PR_SYS_DESC_TABLE_FULL_ERROR (-5970L)
#define PR_NOT_TCP_SOCKET_ERROR (-5968L)
#define PR_NO_ACCESS_RIGHTS_ERROR (-5966L)
#define PR_FILE_IS_LOCKED_ERROR (-5958L)
#define PR_FILE_TOO_BIG_ERROR (-5957L)
#define PR_NO_DEVICE_SPACE_ERROR (-5956L)
#define PR_IS_DIRECTORY_ERROR (-5953L)
#define PR_LOOP_ERROR (-5952L)
#define PR_NAME_TOO_LONG_ERROR (-5951L)
#define PR_FILE_NOT_FOUND_ERROR (-5950L)
#define PR_NOT_DIRECTORY_ERROR (-5949L)
#define PR_READ_ONLY_FILESYSTEM_ERROR (-5948L)
#define PR_FILESYSTEM_MOUNTED_ERROR (-5946L)
#define PR_FILE_EXISTS_ERROR (-5943L)
#define PR_MAX_DIRECTORY_ENTRIES_ERROR (-5942L)
#endif

/* Shared memory. */

#ifndef prshm_h___
#define prshm_h___

/* A handle. */
typedef struct PRSharedMemory PRSharedMemory;

/* For PR_OpenSharedMemory: make the segment if there is none; and fail if there is one. */
#define PR_SHM_CREATE 0x1
#define PR_SHM_EXCL 0x2

/* For PR_AttachSharedMemory: for reading only. */
#define PR_SHM_READONLY 0x01

/* Opens the segment that belongs to the file `name`, and with PR_SHM_CREATE makes both if they are not there: an empty
 * file, whose mode the umask narrows, and a zeroed segment of `size` bytes with exactly the permissions `mode`. An
 * existing segment has to have `size` bytes at least. NULL on failure. */
PRSharedMemory *PR_OpenSharedMemory(const char *name, PRSize size, PRIntn flags, PRIntn mode);

/* Maps the whole segment; each time at another address. NULL on failure. */
void *PR_AttachSharedMemory(PRSharedMemory *shm, PRIntn flags);

/* Unmaps what was attached at this address. */
PRStatus PR_DetachSharedMemory(PRSharedMemory *shm, void *addr);

/* Gives the handle up; what is attached stays. */
PRStatus PR_CloseSharedMemory(PRSharedMemory *shm);

/* Deletes the segment and the file `name`. Who has it open or attached keeps it. */
PRStatus PR_DeleteSharedMemory(const char *name);
#endif

/* Semaphores. */

#ifndef pripcsem_h___
#define pripcsem_h___

/* A handle. */
typedef struct PRSem PRSem;

/* For PR_OpenSemaphore: make it if there is none; and fail if there is one. */
#define PR_SEM_CREATE 0x1
#define PR_SEM_EXCL 0x2

/* Opens the semaphore that belongs to the file `name`, and with PR_SEM_CREATE makes both if they are not there, with
 * this value: 32767 at most. NULL on failure. */
PRSem *PR_OpenSemaphore(const char *name, PRIntn flags, PRIntn mode, PRUintn value);

/* Takes one; sleeps while the value is 0. Fails with PR_PENDING_INTERRUPT_ERROR when a signal was handled. */
PRStatus PR_WaitSemaphore(PRSem *sem);

/* Adds one. */
PRStatus PR_PostSemaphore(PRSem *sem);

/* Gives the handle up. */
PRStatus PR_CloseSemaphore(PRSem *sem);

/* Deletes the semaphore and the file `name`. Who waits is woken, with a failure. */
PRStatus PR_DeleteSemaphore(const char *name);
#endif

#ifdef __cplusplus
}
#endif

#endif
