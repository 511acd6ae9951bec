/* What NSPR's calls do in every case that programs can see: one line for each, `label: what came of it`.
 *
 * The same program runs on Debian's libnspr4 and, preloaded, on Commons, and the lines are compared. Labels that begin
 * with "mended:" are where Commons differs on purpose. Usage: rows DIRECTORY, which is empty. */
#include <errno.h>
#include <fcntl.h>
#include <prerror.h>
#include <prinit.h>
#include <pripcsem.h>
#include <prshm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[512];

static const char *at(const char *name) {
    static char paths[8][2048];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 2048, "%s/%s", base, name);
    return path;
}

static void status(const char *label, PRStatus status) {
    if (status == PR_SUCCESS)
        printf("%s: success\n", label);
    else
        printf("%s: failure %d/%d\n", label, PR_GetError(), PR_GetOSError());
}

static void *made(const char *label, void *pointer) {
    if (pointer)
        printf("%s: not null\n", label);
    else
        printf("%s: null %d/%d\n", label, PR_GetError(), PR_GetOSError());
    return pointer;
}

static void file(const char *label, const char *name) {
    struct stat found;
    if (stat(at(name), &found) == 0)
        printf("%s: file of %ld bytes, mode %o\n", label, (long)found.st_size, found.st_mode & 07777);
    else
        printf("%s: no file\n", label);
}

static sigjmp_buf back;
static void fault(int number) { siglongjmp(back, number); }

/* Whether a byte can be read (1), and written (2). */
static int access_to(volatile char *address) {
    int can = 0;
    struct sigaction new = {.sa_handler = fault}, old;
    sigaction(SIGSEGV, &new, &old);
    if (sigsetjmp(back, 1) == 0) {
        char value = *address;
        can |= 1;
        *address = value;
        can |= 2;
    }
    sigaction(SIGSEGV, &old, NULL);
    return can;
}

static void memory(void) {
    PRSharedMemory *shm, *again;
    char *a, *b;

    made("open, absent", PR_OpenSharedMemory(at("absent"), 100, 0, 0600));
    printf("opening initialises NSPR: %d\n", PR_Initialized());
    made("open exclusively without create, absent", PR_OpenSharedMemory(at("absent"), 100, PR_SHM_EXCL, 0600));
    file("after opening what is absent", "absent");

    umask(022);
    shm = made("create", PR_OpenSharedMemory(at("one"), 5000, PR_SHM_CREATE, 0666));
    file("after creating", "one");
    a = made("attach", PR_AttachSharedMemory(shm, 0));
    b = made("attach twice", PR_AttachSharedMemory(shm, 0));
    printf("two addresses: %d\n", a != b);
    int zeros = 1;
    for (int i = 0; i < 8192; i++) zeros &= a[i] == 0;
    printf("zeros to the end of the page: %d\n", zeros);
    strcpy(a, "hello");
    printf("seen through the other: %s\n", b);

    made("create exclusively what exists", PR_OpenSharedMemory(at("one"), 5000, PR_SHM_CREATE | PR_SHM_EXCL, 0666));
    made("create, larger", PR_OpenSharedMemory(at("one"), 6000, PR_SHM_CREATE, 0666));
    made("create, larger within the page", PR_OpenSharedMemory(at("one"), 5001, PR_SHM_CREATE, 0666));
    made("open, larger", PR_OpenSharedMemory(at("one"), 5001, 0, 0666));
    made("open, size 0", PR_OpenSharedMemory(at("one"), 0, 0, 0666));
    made("open, mode 0", PR_OpenSharedMemory(at("one"), 0, 0, 0));
    made("create, size 0, exists", PR_OpenSharedMemory(at("one"), 0, PR_SHM_CREATE, 0666));
    again = made("open, smaller", PR_OpenSharedMemory(at("one"), 100, 0, 0666));
    char *c = made("attach what was opened smaller", PR_AttachSharedMemory(again, 0));
    printf("its last page: %d\n", access_to(c + 8191));
    printf("it has the bytes: %s\n", c);
    status("detach through another handle", PR_DetachSharedMemory(shm, c));
    printf("a detached address: %d\n", access_to(c));
    status("detach twice", PR_DetachSharedMemory(again, c));
    status("detach null", PR_DetachSharedMemory(shm, NULL));
    status("detach a wrong address", PR_DetachSharedMemory(shm, a + 4096));
    status("detach an odd address", PR_DetachSharedMemory(shm, a + 1));
    int here;
    status("detach the stack", PR_DetachSharedMemory(shm, (void *)((unsigned long)&here & ~4095UL)));

    char *r = made("attach for reading", PR_AttachSharedMemory(shm, PR_SHM_READONLY));
    printf("it can be: %d\n", access_to(r));
    printf("made writable: %d\n", mprotect(r, 4096, PROT_READ | PROT_WRITE) == 0);
    char *r3 = made("attach, flags 3", PR_AttachSharedMemory(shm, 3));
    printf("it can be: %d\n", access_to(r3));
    char *w2 = made("attach, flags 2", PR_AttachSharedMemory(shm, 2));
    printf("it can be: %d\n", access_to(w2));
    status("detach one for reading", PR_DetachSharedMemory(shm, r));
    PRSharedMemory *odd = made("open, mode 010600", PR_OpenSharedMemory(at("one"), 0, 0, 010600));
    char *o = made("attach by that", PR_AttachSharedMemory(odd, 0));
    printf("it can be: %d\n", access_to(o));
    odd = made("open, mode 040600", PR_OpenSharedMemory(at("one"), 0, 0, 040600));
    made("attach by that", PR_AttachSharedMemory(odd, 0));
    odd = made("open, mode 0100600", PR_OpenSharedMemory(at("one"), 0, 0, 0100600));
    o = made("attach by that", PR_AttachSharedMemory(odd, 0));
    printf("it can be: %d\n", access_to(o));

    char turned[2048];
    snprintf(turned, sizeof turned, "%s/./../%s/one", base, strrchr(base, '/') + 1);
    again = made("open by another spelling", PR_OpenSharedMemory(turned, 0, 0, 0666));
    c = PR_AttachSharedMemory(again, 0);
    printf("it has the bytes: %s\n", c);
    if (symlink("one", at("link")) != 0) abort();
    again = made("open by a link", PR_OpenSharedMemory(at("link"), 0, PR_SHM_CREATE, 0666));
    c = PR_AttachSharedMemory(again, 0);
    printf("it has the bytes: %s\n", c);
    if (chdir(base) != 0) abort();
    again = made("open by a relative path", PR_OpenSharedMemory("one", 0, PR_SHM_CREATE, 0666));
    c = PR_AttachSharedMemory(again, 0);
    printf("it has the bytes: %s\n", c);

    /* A child has what its parent has. */
    fflush(stdout);
    if (fork() == 0) {
        strcpy(a + 100, "child");
        status("detach in a child", PR_DetachSharedMemory(shm, b));
        char *d = made("attach in a child", PR_AttachSharedMemory(shm, 0));
        printf("it has the bytes: %s\n", d);
        status("close in a child", PR_CloseSharedMemory(shm));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    printf("from the child: %s\n", a + 100);
    printf("attached in the parent still: %d\n", access_to(b));

    status("close while attached", PR_CloseSharedMemory(again));
    printf("attached still: %s\n", c);
    status("detach after closing", PR_DetachSharedMemory(shm, c));
    printf("a detached address: %d\n", access_to(c));

    status("delete while attached", PR_DeleteSharedMemory(at("one")));
    file("after deleting", "one");
    printf("attached still: %s\n", a);
    c = made("attach by an old handle", PR_AttachSharedMemory(shm, 0));
    printf("it has the bytes: %s\n", c);
    strcpy(c, "after");
    printf("seen through the other: %s\n", a);
    r = made("attach by an old handle for reading", PR_AttachSharedMemory(shm, 1));
    printf("it can be: %d\n", access_to(r));
    status("detach", PR_DetachSharedMemory(shm, a));
    status("detach", PR_DetachSharedMemory(shm, b));
    c = made("attach by an old handle, detached", PR_AttachSharedMemory(shm, 0));
    printf("it has the bytes: %s\n", c);
    made("open what is deleted", PR_OpenSharedMemory(at("one"), 0, 0, 0666));
    file("after opening that", "one");
    again = made("create anew", PR_OpenSharedMemory(at("one"), 5000, PR_SHM_CREATE | PR_SHM_EXCL, 0600));
    c = made("attach it", PR_AttachSharedMemory(again, 0));
    printf("its first byte: %d\n", c[0]);
    status("delete it", PR_DeleteSharedMemory(at("one")));
    status("delete it twice, the file is there", (fclose(fopen(at("one"), "w")), PR_DeleteSharedMemory(at("one"))));
    file("after that", "one");
    unlink(at("one"));

    /* Old handles, never attached before the deletion. */
    shm = made("create", PR_OpenSharedMemory(at("two"), 100, PR_SHM_CREATE, 0600));
    status("delete before attaching", PR_DeleteSharedMemory(at("two")));
    c = made("mended: attach after that, nobody attached", PR_AttachSharedMemory(shm, 0));
    printf("mended: it can be: %d\n", access_to(c));
    status("close", PR_CloseSharedMemory(shm));
    status("mended: detach after that", PR_DetachSharedMemory(NULL, c));

    /* A program that closes all its descriptors. */
    shm = made("create", PR_OpenSharedMemory(at("daemon"), 100, PR_SHM_CREATE, 0600));
    for (int i = 3; i < 64; i++) close(i);
    c = made("attach with all descriptors closed", PR_AttachSharedMemory(shm, 0));
    strcpy(c, "daemon");
    b = made("attach again", PR_AttachSharedMemory(shm, 0));
    printf("it has the bytes: %s\n", b);
    int lowest = open("/dev/null", O_RDONLY);
    printf("descriptors that are kept: %d\n", lowest - 3);
    close(lowest);

    /* The file is what names the segment. */
    unlink(at("daemon"));
    made("mended: create after the file was removed by hand, its number used again",
         PR_OpenSharedMemory(at("daemon"), 100, PR_SHM_CREATE | PR_SHM_EXCL, 0600));
    status("delete", PR_DeleteSharedMemory(at("daemon")));
    FILE *full = fopen(at("full"), "w");
    fputs("content", full);
    fclose(full);
    shm = made("create where a file is", PR_OpenSharedMemory(at("full"), 10, PR_SHM_CREATE, 0600));
    file("its file", "full");
    status("delete", PR_DeleteSharedMemory(at("full")));
    file("its file", "full");

    made("create in a missing directory", PR_OpenSharedMemory(at("missing/x"), 10, PR_SHM_CREATE, 0600));
    made("create with an empty name", PR_OpenSharedMemory("", 10, PR_SHM_CREATE, 0600));
    made("open with an empty name", PR_OpenSharedMemory("", 10, 0, 0600));
    made("create, a directory", PR_OpenSharedMemory(base, 10, PR_SHM_CREATE, 0600));
    made("open, a directory", PR_OpenSharedMemory(base, 10, 0, 0600));
    status("delete a directory", PR_DeleteSharedMemory(base));
    status("delete in a missing directory", PR_DeleteSharedMemory(at("missing/x")));
    status("delete an empty name", PR_DeleteSharedMemory(""));
    char name[600];
    memset(name, 'n', 300);
    name[300] = 0;
    made("create, a component too long", PR_OpenSharedMemory(at(name), 10, PR_SHM_CREATE, 0600));
    made("open, a component too long", PR_OpenSharedMemory(at(name), 10, 0, 0600));
    status("delete, a component too long", PR_DeleteSharedMemory(at(name)));
    made("create below a file", (fclose(fopen(at("plain"), "w")), PR_OpenSharedMemory(at("plain/x"), 10, PR_SHM_CREATE, 0600)));
    made("open below a file", PR_OpenSharedMemory(at("plain/x"), 10, 0, 0600));
    status("delete below a file", PR_DeleteSharedMemory(at("plain/x")));

    made("mended: create, size 0", PR_OpenSharedMemory(at("zero"), 0, PR_SHM_CREATE, 0600));
    file("mended: after that", "zero");
    made("mended: create, impossible size", PR_OpenSharedMemory(at("vast"), (PRSize)1 << 62, PR_SHM_CREATE, 0600));
    file("mended: after that impossible size", "vast");
    made("mended: create, a size that cannot be expressed", PR_OpenSharedMemory(at("vast"), ~(PRSize)0, PR_SHM_CREATE, 0600));
    unlink(at("zero"));
    unlink(at("vast"));
    status("delete what does not exist", PR_DeleteSharedMemory(at("never")));
    file("mended: after deleting what does not exist", "never");
    made("open what did not exist", PR_OpenSharedMemory(at("never"), 10, 0, 0600));
    char longest[1100];
    memset(longest, '/', 1099);
    longest[1099] = 0;
    errno = 0;
    made("mended: create, a name of 1099 bytes", PR_OpenSharedMemory(longest, 10, PR_SHM_CREATE, 0600));
    errno = 0;
    status("mended: delete a name of 1099 bytes", PR_DeleteSharedMemory(longest));

    umask(0);
    shm = made("create, mode 0640, umask 0", PR_OpenSharedMemory(at("modes"), 10, PR_SHM_CREATE, 0640));
    file("its file", "modes");
    status("delete", PR_DeleteSharedMemory(at("modes")));
    umask(0777);
    shm = made("create, umask 0777", PR_OpenSharedMemory(at("modes"), 10, PR_SHM_CREATE, 0600));
    file("its file", "modes");
    c = made("attach", PR_AttachSharedMemory(shm, 0));
    printf("it can be: %d\n", access_to(c));
    status("delete", PR_DeleteSharedMemory(at("modes")));
    umask(022);
}

/* As another user, in directories that this user may write to. */
static void others(void) {
    if (geteuid() != 0) return;
    umask(0);
    PRSharedMemory *shm;
    char *a;
    chmod(base, 0777);
    made("root creates 0640", PR_OpenSharedMemory(at("roots"), 10, PR_SHM_CREATE, 0640));
    made("root creates 0604", PR_OpenSharedMemory(at("readable"), 10, PR_SHM_CREATE, 0604));
    made("root creates 0666", PR_OpenSharedMemory(at("open"), 10, PR_SHM_CREATE, 0666));
    made("root creates a semaphore 0640", PR_OpenSemaphore(at("sem640"), PR_SEM_CREATE, 0640, 1));
    chmod(at("sem640"), 0666);
    chmod(at("roots"), 0666);
    chmod(at("readable"), 0666);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (setgid(12345) != 0 || setuid(12345) != 0) _exit(1);
        made("another opens 0640", PR_OpenSharedMemory(at("roots"), 10, 0, 0600));
        made("another opens 0640, larger", PR_OpenSharedMemory(at("roots"), 11, 0, 0600));
        shm = made("another opens 0640, mode 0", PR_OpenSharedMemory(at("roots"), 10, 0, 0));
        made("another attaches that", PR_AttachSharedMemory(shm, 0));
        made("another attaches that for reading", PR_AttachSharedMemory(shm, 1));
        made("another opens 0604, mode 0600", PR_OpenSharedMemory(at("readable"), 10, 0, 0600));
        shm = made("another opens 0604, mode 0400", PR_OpenSharedMemory(at("readable"), 10, PR_SHM_CREATE, 0400));
        made("another attaches that", PR_AttachSharedMemory(shm, 0));
        a = made("another attaches that for reading", PR_AttachSharedMemory(shm, 1));
        printf("it can be: %d\n", access_to(a));
        shm = made("another opens 0666", PR_OpenSharedMemory(at("open"), 10, 0, 0666));
        a = made("another attaches that", PR_AttachSharedMemory(shm, 0));
        printf("it can be: %d\n", access_to(a));
        made("another opens a semaphore 0640", PR_OpenSemaphore(at("sem640"), 0, 0, 0));
        shm = made("another creates 0400", PR_OpenSharedMemory(at("mine"), 10, PR_SHM_CREATE, 0400));
        made("another attaches that", PR_AttachSharedMemory(shm, 0));
        made("another attaches that for reading", PR_AttachSharedMemory(shm, 1));
        shm = made("another creates 0000", PR_OpenSharedMemory(at("mine0"), 10, PR_SHM_CREATE, 0));
        made("another attaches that for reading", PR_AttachSharedMemory(shm, 1));
        made("another opens 0000 with mode 0", PR_OpenSharedMemory(at("mine0"), 10, 0, 0));
        made("another opens 0000 with mode 0600", PR_OpenSharedMemory(at("mine0"), 10, 0, 0600));
        made("another creates a semaphore 0400", PR_OpenSemaphore(at("sem400"), PR_SEM_CREATE, 0400, 1));
        chmod(at("mine"), 0600);
        chmod(at("mine0"), 0600);
        status("another deletes its own", PR_DeleteSharedMemory(at("mine")));
        status("another deletes its own 0000", PR_DeleteSharedMemory(at("mine0")));
        PR_DeleteSemaphore(at("sem400"));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    status("root deletes", PR_DeleteSharedMemory(at("roots")));
    status("root deletes", PR_DeleteSharedMemory(at("readable")));
    status("root deletes", PR_DeleteSharedMemory(at("open")));
    status("root deletes the semaphore", PR_DeleteSemaphore(at("sem640")));
}

static void nothing(int number) { (void)number; }

static void semaphores(void) {
    PRSem *sem, *again;
    umask(022);
    made("semaphore, open, absent", PR_OpenSemaphore(at("sem"), 0, 0600, 1));
    made("semaphore, exclusively without create", PR_OpenSemaphore(at("sem"), PR_SEM_EXCL, 0600, 1));
    file("after that", "sem");
    sem = made("semaphore, create with 2", PR_OpenSemaphore(at("sem"), PR_SEM_CREATE, 0666, 2));
    file("after that", "sem");
    made("semaphore, create exclusively", PR_OpenSemaphore(at("sem"), PR_SEM_CREATE | PR_SEM_EXCL, 0600, 9));
    again = made("semaphore, create again with 9", PR_OpenSemaphore(at("sem"), PR_SEM_CREATE, 0600, 9));
    status("wait", PR_WaitSemaphore(sem));
    status("wait through the other", PR_WaitSemaphore(again));

    /* Nothing is left: a signal ends the wait, whether or not it restarts calls. */
    for (int restart = 0; restart < 2; restart++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            struct sigaction action = {.sa_handler = nothing, .sa_flags = restart ? SA_RESTART : 0};
            sigaction(SIGUSR1, &action, NULL);
            status(restart ? "wait, interrupted, restarting" : "wait, interrupted", PR_WaitSemaphore(sem));
            fflush(stdout);
            _exit(0);
        }
        int ended = 0;
        while (!ended) {
            usleep(20000);
            kill(child, SIGUSR1);
            ended = waitpid(child, NULL, WNOHANG) == child;
        }
    }

    status("post", PR_PostSemaphore(again));
    status("wait", PR_WaitSemaphore(sem));

    /* Another process waits, and is woken by a post. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        status("a child waits", PR_WaitSemaphore(sem));
        fflush(stdout);
        _exit(0);
    }
    usleep(50000);
    status("post for it", PR_PostSemaphore(sem));
    waitpid(child, NULL, 0);

    /* Another process waits, and the semaphore is deleted. */
    fflush(stdout);
    child = fork();
    if (child == 0) {
        status("a child waits when it is deleted", PR_WaitSemaphore(sem));
        fflush(stdout);
        _exit(0);
    }
    usleep(100000);
    status("delete what is waited for", PR_DeleteSemaphore(at("sem")));
    waitpid(child, NULL, 0);
    file("after deleting", "sem");
    status("wait after deleting", PR_WaitSemaphore(sem));
    status("post after deleting", PR_PostSemaphore(sem));
    made("semaphore, open what is deleted", PR_OpenSemaphore(at("sem"), 0, 0600, 1));
    status("close", PR_CloseSemaphore(sem));
    status("close the other", PR_CloseSemaphore(again));

    sem = made("semaphore, create with 0", PR_OpenSemaphore(at("sem"), PR_SEM_CREATE | PR_SEM_EXCL, 0600, 0));
    status("post", PR_PostSemaphore(sem));
    status("wait", PR_WaitSemaphore(sem));
    status("delete", PR_DeleteSemaphore(at("sem")));
    sem = made("semaphore, create with 32767", PR_OpenSemaphore(at("sem"), PR_SEM_CREATE, 0600, 32767));
    status("post to a full one", PR_PostSemaphore(sem));
    status("wait", PR_WaitSemaphore(sem));
    status("post", PR_PostSemaphore(sem));
    status("delete", PR_DeleteSemaphore(at("sem")));

    status("delete what does not exist, a semaphore", PR_DeleteSemaphore(at("nosem")));
    file("after that", "nosem");
    fclose(fopen(at("nosem"), "w"));
    status("delete where only a file is, a semaphore", PR_DeleteSemaphore(at("nosem")));
    file("after that", "nosem");
    made("semaphore, in a missing directory", PR_OpenSemaphore(at("missing/x"), PR_SEM_CREATE, 0600, 1));
    made("semaphore, an empty name", PR_OpenSemaphore("", PR_SEM_CREATE, 0600, 1));
    made("semaphore, a directory", PR_OpenSemaphore(base, PR_SEM_CREATE, 0600, 1));
    made("semaphore, open a directory", PR_OpenSemaphore(base, 0, 0600, 1));
    status("delete a directory, a semaphore", PR_DeleteSemaphore(base));

    /* Memory and semaphore may share a path. */
    PRSharedMemory *shm = made("memory at a path", PR_OpenSharedMemory(at("both"), 10, PR_SHM_CREATE, 0600));
    sem = made("a semaphore at the same path", PR_OpenSemaphore(at("both"), PR_SEM_CREATE | PR_SEM_EXCL, 0600, 1));
    status("wait", PR_WaitSemaphore(sem));
    status("delete the memory", PR_DeleteSharedMemory(at("both")));
    status("post", PR_PostSemaphore(sem));
    made("semaphore, open by that path", PR_OpenSemaphore(at("both"), 0, 0600, 1));
    status("delete by that path", PR_DeleteSemaphore(at("both")));
    made("mended: attach the memory, nobody attached", PR_AttachSharedMemory(shm, 0));

    /* Many processes, one semaphore as a lock. */
    sem = PR_OpenSemaphore(at("lock"), PR_SEM_CREATE, 0600, 1);
    shm = PR_OpenSharedMemory(at("count"), sizeof(long), PR_SHM_CREATE, 0600);
    volatile long *count = PR_AttachSharedMemory(shm, 0);
    fflush(stdout);
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            PRSem *mine = PR_OpenSemaphore(at("lock"), PR_SEM_CREATE, 0600, 1);
            PRSharedMemory *memory = PR_OpenSharedMemory(at("count"), sizeof(long), PR_SHM_CREATE, 0600);
            volatile long *number = PR_AttachSharedMemory(memory, 0);
            for (int j = 0; j < 1000; j++) {
                if (PR_WaitSemaphore(mine) != PR_SUCCESS) _exit(1);
                ++*number;
                if (PR_PostSemaphore(mine) != PR_SUCCESS) _exit(1);
            }
            _exit(0);
        }
    }
    int failed = 0, code;
    for (int i = 0; i < 4; i++) {
        wait(&code);
        failed += code != 0;
    }
    printf("counted under a semaphore: %ld, failed %d\n", *count, failed);
    status("delete", PR_DeleteSemaphore(at("lock")));
    status("delete", PR_DeleteSharedMemory(at("count")));
}

/* What NSPR never returns from. */
static void large_value(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(1);
        made("mended: semaphore, create with 40000", PR_OpenSemaphore(at("large"), PR_SEM_CREATE, 0600, 40000));
        fflush(stdout);
        _exit(0);
    }
    int code;
    waitpid(child, &code, 0);
    if (WIFSIGNALED(code)) printf("mended: semaphore, create with 40000: never returns\n");
    file("mended: after that large value", "large");
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    snprintf(base, sizeof base, "%s", argv[1]);
    memory();
    others();
    semaphores();
    large_value();
    return 0;
}
