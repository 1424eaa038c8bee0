/* The session's files as a traced process makes and reads them; all that is Linux here.
 *
 * No descriptor is kept: the program would see other descriptor numbers than without us, and one that closes all
 * descriptors would later have one of its own closed under it.
 */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static int
write_zeros(int file, size_t size)
{
    static const char zeros[4096];
    while (size > 0) {
        ssize_t written = write(file, zeros, size < sizeof zeros ? size : sizeof zeros);
        if (written < 0 && errno != EINTR) {
            return -1;
        }
        size -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Room for all of a new file: then a full disk is an error here, and not a SIGBUS at some later store. fallocate(2) and
 * not posix_fallocate(3), which might write to a file that others have mapped. */
static int
reserve_room(int file, size_t size)
{
    while (fallocate(file, 0, 0, (off_t)size)) {
        if (errno == EOPNOTSUPP) { /* some network file systems; nobody else writes to this file */
            return write_zeros(file, size);
        }
        if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* Growing a file past RLIMIT_FSIZE does not just fail: SIGXFSZ kills. */
static int
refuse_beyond_limit(size_t size)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
        errno = EFBIG;
        return -1;
    }
    return 0;
}

void *
ct_create_mapped(const char *path, size_t size)
{
    if (refuse_beyond_limit(size)) {
        return NULL;
    }
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
        return NULL;
    }
    void *mapping = MAP_FAILED;
    if (reserve_room(file, size) == 0) {
        mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    int error = errno;
    if (mapping == MAP_FAILED) {
        unlink(path);
    }
    close(file);
    errno = error;
    return mapping == MAP_FAILED ? NULL : mapping;
}

_Atomic uint32_t *
ct_wiped_on_fork_word(void)
{
    void *page = mmap(NULL, CT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || madvise(page, CT_PAGE, MADV_WIPEONFORK)) {
        return NULL;
    }
    return page;
}

/* The control page ------------------------------------------------------------------------------------------------ */

static char control_path[CT_PATH_ROOM];

int
ct_open_control(const char *folder)
{
    snprintf(control_path, sizeof control_path, "%s/%s", folder, CT_CONTROL_FILE);
    int file = open(control_path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        return -1;
    }
    struct stat facts;
    uint8_t *page = MAP_FAILED;
    if (fstat(file, &facts) == 0 && facts.st_size >= CT_SIZEOF_CONTROL) {
        page = mmap(NULL, CT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    else {
        errno = EINVAL;
    }
    int error = errno;
    close(file);
    errno = error;
    if (page == MAP_FAILED) {
        return -1;
    }
    uint32_t versions[2];
    memcpy(versions, page + 8, sizeof versions);
    if (memcmp(page, CT_CONTROL_MAGIC, 8) || versions[0] != CT_SCHEMA_VERSION || versions[1] != CT_ABI_VERSION) {
        munmap(page, CT_PAGE);
        errno = EPROTO; /* of another version of conctrace */
        return -1;
    }
    ct.control = page;
    memcpy(&ct.detail, page + CT_CONTROL_DETAIL_OFFSET, sizeof ct.detail);
    memcpy(&ct.cap_process, page + 32, sizeof ct.cap_process);
    memcpy(&ct.cap_session, page + 40, sizeof ct.cap_session);
    uint32_t values;
    memcpy(&values, page + 56, sizeof values);
    ct.values = values != 0;
    return 0;
}

const char *
ct_no_collector(bool *unknown)
{
    *unknown = false;
    int file = open(control_path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        if (errno == ENOENT || errno == ENOTDIR) { /* the session is over; or it is not, but we are in a chroot */
            return "the session's folder is gone or out of reach";
        }
        *unknown = true; /* no descriptor is free, or no permission */
        return NULL;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    *unknown = fcntl(file, F_OFD_GETLK, &lock) < 0;
    close(file);
    return *unknown || lock.l_type != F_UNLCK ? NULL : "the collector is gone";
}

/* The live page ----------------------------------------------------------------------------------------------------- */

/* The beginning of a small file of /proc; the number of bytes, 0 when there is none. */
static size_t
read_file(const char *path, char *buffer, size_t room)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    ssize_t size = read(file, buffer, room - 1);
    close(file);
    buffer[size > 0 ? size : 0] = 0;
    return size > 0 ? (size_t)size : 0;
}

/* In clock ticks since boot: field 22 of its stat; 0 where /proc is missing. */
uint64_t
ct_start_ticks(void)
{
    char text[1024];
    if (!read_file("/proc/self/stat", text, sizeof text)) {
        return 0;
    }
    const char *at = strrchr(text, ')'); /* the command stands in parentheses and may hold some itself */
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

static uint64_t
pid_namespace(void)
{
    struct stat facts;
    return stat("/proc/self/ns/pid", &facts) ? 0 : facts.st_ino;
}

uint64_t
ct_run_queue_ns(void)
{
    char text[128];
    if (!read_file("/proc/thread-self/schedstat", text, sizeof text)) {
        return 0;
    }
    const char *second = strchr(text, ' ');
    return second == NULL ? 0 : strtoull(second + 1, NULL, 10);
}

/* Values one behind the other, without padding; each is aligned. One store for each: put together by the compiler they
 * would come from a page of constants, which a forked child has not got yet. */
#define PUT(at, type, value)                                                                                           \
    do {                                                                                                               \
        *(volatile type *)(at) = (type)(value);                                                                        \
        (at) += sizeof(type);                                                                                          \
    } while (0)

uint64_t
ct_new_nonce(void)
{
    uint64_t nonce = 0;
    while (nonce == 0) {
        if (getrandom(&nonce, sizeof nonce, 0) < 0 && errno != EINTR) {
            return 0;
        }
    }
    return nonce;
}

static uint8_t *
live_page_of_its_own(uint64_t nonce)
{
    char path[CT_PATH_ROOM];
    snprintf(path, sizeof path, "%s/%016llx.live", ct.folder, (unsigned long long)nonce);
    return ct_create_mapped(path, CT_PAGE);
}

int
ct_live_page(uint64_t parent, uint32_t inherited_below)
{
    uint64_t nonce = 0;
    uint8_t *page = parent != 0 ? ct_take_birth_page(&nonce) : NULL;
    if (page == NULL) {
        nonce = ct_new_nonce();
        page = nonce == 0 ? NULL : live_page_of_its_own(nonce);
    }
    if (page == NULL) {
        return -1;
    }
    uint32_t parent_pid = (uint32_t)getppid();
    /* A child in another pid namespace has a parent that is not in it, and is told 0 or another process's number. */
    if (parent == 0 || parent_pid != ct.pid) {
        ct.pid_namespace = pid_namespace();
    }
    ct.pid = (uint32_t)getpid();
    ct.born = ct_clock_of_child(CLOCK_MONOTONIC);
    uint8_t *at = page + 8;
    PUT(at, uint32_t, CT_SCHEMA_VERSION);
    PUT(at, uint32_t, CT_ABI_VERSION);
    PUT(at, uint64_t, nonce);
    PUT(at, uint64_t, parent);
    PUT(at, uint32_t, ct.pid);
    PUT(at, uint32_t, parent_pid);
    PUT(at, uint64_t, parent == 0 ? ct_start_ticks() : ct_start_ticks_of_child());
    PUT(at, uint64_t, ct.pid_namespace);
    PUT(at, uint64_t, ct.born);
    PUT(at, uint64_t, ct_clock_of_child(CLOCK_REALTIME));
    PUT(at, uint64_t, inherited_below);
    PUT(at, uint32_t, 0); /* exec generation */
    PUT(at, uint32_t, CT_RECORDER_NATIVE);
    PUT(at, uint32_t, ct.images > 1 ? 0 : ct.role);
    PUT(at, uint32_t, PY_VERSION_HEX);
    assert(at - page == CT_SIZEOF_LIVE);
    at = page + CT_LIVE_COMMAND_0;
    size_t size = ct.command_size < CT_LIVE_COMMAND_1 - 4 ? ct.command_size : CT_LIVE_COMMAND_1 - 4;
    PUT(at, uint32_t, ct.command_size);
    if (size > 0) {
        memcpy(at, ct.command, size);
    }
    /* Last: from now on it counts. (A rename would say so, too, and cost a forked child a tenth of what it costs.) */
    atomic_thread_fence(memory_order_release);
    memcpy(page, CT_LIVE_MAGIC, 8);
    ct.live = (uint64_t *)page;
    ct.nonce = nonce;
    return 0;
}
