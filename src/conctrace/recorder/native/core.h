/* What the parts of the native recorder share: the state of this process, and what is hot enough to be inline.
 *
 * The files' layout is that of `conctrace.events.layout`, by way of schema.h; the Python twin beside this folder writes
 * the same bytes.
 */
#ifndef CT_CORE_H
#define CT_CORE_H

#include "gil.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define CT_HAS_RSEQ
#include <sys/rseq.h>
#endif
#endif

#include "schema.h"

#define ct_likely(x) __builtin_expect(!!(x), 1)
#define ct_unlikely(x) __builtin_expect(!!(x), 0)

/* States of the word that every kind of fork wipes. */
enum { CT_WIPED = 0, CT_RECORDING = 1, CT_OFF = 2 };

enum ct_table { CT_THREADS, CT_TOTALS, CT_OBJECTS, CT_TABLES };

struct ct_segment {
    struct ct_record *slots;
    uint64_t limit;
    uint64_t next; /* may be beyond the limit */
    size_t size;
    uint32_t seq;
};

/* This process's recorder: one image at a time (see `ct_image_start`). */
struct ct_state {
    _Atomic uint32_t *wipe; /* CT_WIPED, …; on a page of its own */
    uint32_t epoch;         /* counts images and sessions: what belongs to an earlier one is known by it */
    uint32_t session;       /* counts sessions: numbers of an earlier one mean nothing */
    uint32_t images;        /* of this session: 1 in the process that began it, more in its forked children */
    uint32_t forks;         /* images begun because of a fork */
    uint32_t next_number;
    uint32_t next_thread;   /* 0 is the one that began the image */
    struct ct_segment segment; /* slots NULL: none yet */
    uint64_t no_room_until;
    uint64_t *live; /* live page */
    uint64_t nonce;
    uint64_t parent; /* nonce of the image it was forked from, or 0 */
    uint64_t born;
    uint32_t pid;
    uint64_t pid_namespace;
    uint64_t tick_ns;       /* 0: not known yet */
    uint64_t fork_ticks;    /* the time, in clock ticks since boot, before the latest fork */
    uint8_t *births;        /* nursery, its own or one inherited; NULL: none */
    uint64_t births_pages;
    uint64_t no_births_until;
    uint32_t births_made;   /* by this image */
    uint8_t *control;
    uint32_t detail;
    bool values;
    uint64_t cap_process;
    uint64_t cap_session;
    /* Individual records of short operations that are left in this second, and its end. */
    uint64_t budget_until;
    uint32_t budget_left;
    uint32_t budget_rate;  /* of this second */
    uint32_t budget_first; /* left for each lock and thread before that counts */
    char folder[4096];
    char *command;
    size_t command_size;
    uint32_t role;
};

extern struct ct_state ct __attribute__((visibility("hidden")));

#define CT_NEVER ((uint64_t)1 << 62)

/* Room for the path of any of the session's files. */
enum { CT_PATH_ROOM = sizeof(((struct ct_state *)0)->folder) + 64 };

static inline uint64_t
ct_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t
ct_now(void)
{
    return ct_clock(CLOCK_MONOTONIC);
}

/* The core that runs this: what sched_getcpu does, without the call where glibc tells in which word the kernel writes it. */
static inline uint16_t
ct_core(void)
{
#ifdef CT_HAS_RSEQ
    int core = *(volatile int *)((char *)__builtin_thread_pointer() + __rseq_offset + offsetof(struct rseq, cpu_id));
    if (ct_likely(core >= 0)) { /* else the kernel, or what stands in for it, does not */
        return (uint16_t)core;
    }
#endif
    return (uint16_t)sched_getcpu();
}

/* For what is asked a few times in the life of a process: by the system call, in a forked child, is two page faults less
 * than by the vDSO, and cheaper. */
static inline uint64_t
ct_clock_of_child(clockid_t clock)
{
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* files.c: the session's files ------------------------------------------------------------------------------- */

/* A new file of `size` zero bytes with room for them on disk, mapped; NULL and errno when that cannot be. No descriptor
 * stays open, and no file is left behind when it fails. */
void *ct_create_mapped(const char *path, size_t size);
int ct_open_control(const char *folder);             /* -1 and errno */
const char *ct_no_collector(bool *unknown);          /* why nobody will read what is written; NULL: somebody will, or it is unknown */
int ct_live_page(uint64_t parent, uint32_t inherited_below); /* makes this image's; -1 and errno */
uint64_t ct_new_nonce(void);                         /* 0 and errno */
uint64_t ct_start_ticks(void);                       /* when this process started; 0: cannot be known */
_Atomic uint32_t *ct_wiped_on_fork_word(void);       /* NULL and errno */
uint64_t ct_run_queue_ns(void);

static inline void
ct_count(unsigned offset, uint64_t by)
{
    ct.live[offset / 8] += by;
}

/* births.c: what a process does for the children that it is about to fork ------------------------------------------ */

void ct_before_fork(void);
uint8_t *ct_take_birth_page(uint64_t *nonce); /* in a forked child; NULL: none */
uint64_t ct_start_ticks_of_child(void);
void ct_leave_births(void);                  /* they are another session's */

/* image.c: from birth to end ---------------------------------------------------------------------------------- */

int ct_start(const char *folder, uint32_t role, const char *command, size_t command_size); /* -1 and errno */
bool ct_reopen_in_child(void);
void ct_switch_off(const char *reason);
void ct_stop(void);

/* Whether this process records; after a fork this makes the child an image of its own. */
static inline bool
ct_alive(void)
{
    uint32_t state = atomic_load_explicit(ct.wipe, memory_order_relaxed);
    return ct_likely(state == CT_RECORDING) || (state == CT_WIPED && ct_reopen_in_child());
}

/* In a forked child the word's page is not there: by this it is made at once for writing, and not for reading first. */
static inline void
ct_touch_wiped_word(void)
{
    uint32_t wiped = CT_WIPED;
    atomic_compare_exchange_strong(ct.wipe, &wiped, CT_WIPED);
}

/* Whether it records, without opening anything: for code that must not run long, or has not the GIL. */
static inline bool
ct_recording(void)
{
    return atomic_load_explicit(ct.wipe, memory_order_relaxed) == CT_RECORDING;
}

/* segments.c: records ------------------------------------------------------------------------------------------ */

struct ct_record *ct_reserve_elsewhere(uint32_t slots);

/* Room for so many records in a row, or NULL (counted). */
static inline struct ct_record *
ct_reserve(uint32_t slots)
{
    if (ct_likely(ct.segment.slots != NULL)) {
        uint64_t slot = ct.segment.next;
        ct.segment.next = slot + slots; /* also where there is no room: whoever needs less must not come after */
        if (ct_likely(slot + slots <= ct.segment.limit)) {
            return ct.segment.slots + slot;
        }
    }
    return ct_reserve_elsewhere(slots);
}

/* The kind, last: from now on the record counts. */
static inline void
ct_finish(struct ct_record *record, uint8_t kind)
{
    atomic_store_explicit((_Atomic uint8_t *)&record->kind, kind, memory_order_release);
}

/* Store a record (its `core` is filled in here). */
static inline void
ct_store(const struct ct_record *record)
{
    struct ct_record *slot = ct_reserve(1);
    if (slot == NULL) {
        return;
    }
    struct ct_record copy = *record;
    copy.core = ct_core();
    copy.kind = 0;
    *slot = copy;
    ct_finish(slot, record->kind);
}

struct ct_text {
    const char *bytes;
    size_t size;
};

enum { CT_DIGITS = 20 }; /* of the largest number */

/* A number as text, at the end of `room`. */
static inline struct ct_text
ct_digits(char room[CT_DIGITS], uint64_t number)
{
    char *at = room + CT_DIGITS;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return (struct ct_text){at, (size_t)(room + CT_DIGITS - at)};
}

/* Store a definition; its payload is these fields. False when there was no room: then it must not be taken for known. */
bool ct_define(uint8_t definition, uint32_t number, const struct ct_text *fields, size_t count);
/* The same with numbers for fields. */
bool ct_define_numbers(uint8_t definition, uint32_t number, const uint64_t *fields, size_t count);

static inline uint32_t
ct_new_number(void)
{
    return ct.next_number++;
}

/* tables.c: entries in the shared mapping ------------------------------------------------------------------------ */

uint8_t *ct_take_entry(enum ct_table table); /* all zero; NULL: no room */
void ct_give_entry(enum ct_table table, uint8_t *entry);
void ct_forget_tables(void); /* they are another image's */

/* sites.c: places in the program ---------------------------------------------------------------------------------- */

/* What is known of a code object's file. */
enum { CT_OWN = 1, CT_LIBRARY = 2, CT_QUEUE = 4 };

static inline int
ct_lasti(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    return PyFrame_GetLasti(frame);
#else
    return frame->f_lasti;
#endif
}

int ct_sites_init(PyObject *stdlib); /* -1 with an exception */
void ct_forget_sites(void);
int ct_code_flags(PyCodeObject *code);
bool ct_is_library(PyFrameObject *frame); /* false: the program's, or no frame at all */
uint32_t ct_site(PyFrameObject *frame);               /* 0: no room, or no frame */
uint32_t ct_site_of(PyFrameObject *frame, PyCodeObject *code, int lasti);
bool ct_sites_are_full(void);
uint32_t ct_stack(PyFrameObject *frame);              /* from `frame` outwards; 0: nothing there, or no room */
struct ct_text ct_utf8(PyObject *text, PyObject **owner); /* borrowed from *owner, which may be NULL; clears errors */

/* threads.c: what is known of each thread -------------------------------------------------------------------------- */

struct ct_wait {
    uint64_t since, other;
    int64_t value;
    uint32_t thing, stack, kind;
};

struct ct_lock;
struct ct_cell;

struct ct_thread {
    uint32_t epoch, index;
    int64_t thing;    /* number of its Thread object; -1 once its end is recorded */
    bool daemon;
    bool defined;     /* there was room for its definition */
    bool gone;        /* the thread has ended, and still holds locks */
    bool entry_taken; /* or tried */
    uint8_t *entry;
    uint64_t wait_seq;
    uint64_t last_reading;
    struct ct_wait *waits;
    uint32_t waits_count, waits_room;
    struct ct_lock **held; /* outermost first */
    uint32_t held_count, held_room;
    struct ct_cell **cells; /* buckets */
    uint32_t cells_count, cells_mask;
    PyObject *name;
};

extern __thread struct ct_thread *ct_this_thread __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* Epoch of the image that this thread began. */
extern __thread uint32_t ct_first_in __attribute__((visibility("hidden"), tls_model("initial-exec")));

struct ct_thread *ct_meet(void);

/* The current thread, announced if nobody has; NULL: no memory. Only while `ct_alive()`. */
static inline struct ct_thread *
ct_here(void)
{
    struct ct_thread *thread = ct_this_thread;
    return ct_likely(thread != NULL && thread->epoch == ct.epoch) ? thread : ct_meet();
}

struct ct_thread *ct_thread_begins(PyObject *name, bool daemon, uint32_t thing, uint8_t outcome);
void ct_thread_ends(PyObject *name, bool daemon);
void ct_free_thread(struct ct_thread *thread);
void ct_define_if_not_yet(struct ct_thread *thread);
bool ct_wait_begins(struct ct_thread *thread, const struct ct_wait *wait);
struct ct_wait ct_wait_ends(struct ct_thread *thread); /* of the innermost wait; there must be one */
void ct_push_held_slow(struct ct_thread *thread, struct ct_lock *lock);
void ct_drop_held(struct ct_thread *thread, struct ct_lock *lock);
/* CPU time and run-queue delay, read at most every 5 ms; else 0 and 0. */
void ct_reading(struct ct_thread *thread, uint64_t now, struct ct_record *record);

/* calls.c: what patches tell; all of it only while `ct_alive()` ------------------------------------------------------ */

void ct_drop(void); /* counts a record that cannot be stored */
void ct_emit(struct ct_record *record);                        /* of the current thread */
void ct_call(struct ct_record *record, PyFrameObject *frame);  /* that began at `record->time` and ends now */
uint32_t ct_begin_wait(struct ct_wait *wait, PyFrameObject *frame); /* a token; 0: the wait is not shown */
/* Of the innermost wait; NULL: as when it began. May be called at any time. */
void ct_end_wait(uint32_t token, uint8_t outcome, const uint64_t *other, const int64_t *value);
void ct_exits(uint64_t time, int64_t value, uint8_t outcome);

/* things.c: objects that have a number while they live -------------------------------------------------------------- */

/* Stores an object's definition: 1, no room: 0, an exception: -1. */
typedef int ct_definer(PyObject *thing, uint32_t number, PyObject *how);

int ct_things_init(void); /* -1 with an exception */
/* Only while `ct_alive()`; 0 with an exception. `define` is called once in each image that meets the thing. */
uint32_t ct_object_number(PyObject *thing, ct_definer *define, PyObject *how);
uint32_t ct_thread_number(PyObject *thread); /* of a Thread object */
/* Name (a new reference) and daemon flag of a Thread object; -1 with an exception. */
int ct_thread_facts(PyObject *thread, PyObject **name, bool *daemon);

/* locks.c ------------------------------------------------------------------------------------------------------------ */

int ct_locks_init(PyObject *stdlib); /* -1 with an exception */
void ct_close_cells(struct ct_thread *thread);
uint64_t ct_held_since(const struct ct_lock *lock);
uint64_t ct_held_word(const struct ct_lock *lock);
PyObject *ct_new_lock(PyFrameObject *frame, bool recursive);
extern PyTypeObject ct_lock_type __attribute__((visibility("hidden")));
extern PyTypeObject ct_rlock_type __attribute__((visibility("hidden")));

#endif
