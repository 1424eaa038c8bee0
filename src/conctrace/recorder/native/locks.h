/* Locks and their totals, as locks.c, totals.c and lock_types.c share them. */
#ifndef CT_LOCKS_H
#define CT_LOCKS_H

#include "core.h"

/* Records that a lock may have in a thread before the process's budget counts, shared by its call sites there. */
struct allowance {
    uint32_t left, users;
};

/* Totals of one lock, one thread, one call site. */
struct ct_cell {
    struct ct_cell *next; /* in its thread's bucket */
    struct ct_cell *next_of_lock, **link_of_lock;
    struct ct_lock *lock;
    struct ct_thread *thread;
    PyCodeObject *code; /* NULL: no Python frame */
    int lasti;
    uint32_t site;
    struct allowance *allowance;
    uint8_t *entry; /* NULL: no room */
    uint64_t seq;
    uint64_t counts[CT_TOTALS_COUNT_FAILED + 1];
};

struct ct_lock {
    PyObject_HEAD
    _Atomic uint32_t word;
    _Atomic uint32_t waiters; /* blocked, or about to be */
    uint32_t forks;           /* `ct.forks` when `waiters` was last right */
    uint32_t epoch;           /* of the image in which `cells` and `slot` are its */
    uint32_t session;         /* in which `number` and `made_at` mean something */
    uint32_t number;          /* 0: not recorded at all (quiet) */
    uint32_t made_at;
    bool wanted;              /* somebody found it taken since it was got: this hold explains a wait */
    bool has_pending;
    _Atomic uint64_t releases;
    struct ct_thread *holder; /* whose hold is recorded; NULL: free, or not recorded */
    uint64_t since;
    struct ct_cell *cell;     /* of the hold, or of the last one */
    struct ct_cell *cells;
    uint8_t *slot;            /* its entry of the objects table, from the first contention on */
    uint64_t released;        /* moment of the last release that left somebody waiting … */
    struct ct_record pending; /* … and the record of that hold, if it was not stored */
    unsigned long owner;      /* RLock: thread ident, 0: free */
    unsigned long depth;
    PyObject *weak;
};

static inline bool
ct_is_recursive(const struct ct_lock *self)
{
    return PyObject_TypeCheck((PyObject *)self, &ct_rlock_type);
}

/* totals.c ---------------------------------------------------------------------------------------------------- */

struct ct_cell *ct_find_cell(struct ct_lock *self, struct ct_thread *thread, PyFrameObject *frame, PyCodeObject *code,
                             int lasti); /* NULL: no memory */
void ct_close_cell(struct ct_cell *cell);
void ct_bury(struct ct_lock *self, struct ct_thread *thread);
void ct_count_waiters_anew(struct ct_lock *self);
void ct_add_wait(struct ct_cell *cell, uint64_t waited, bool failed);

/* The counts as they are now, where a kill leaves them. A half whose first and last word do not agree is not read. */
static inline void
ct_save(struct ct_cell *cell)
{
    if (ct_unlikely(cell->entry == NULL)) {
        ct_count(CT_LIVE_TOTALS_DROPPED, 1);
        return;
    }
    uint64_t seq = ++cell->seq;
    uint64_t *half = (uint64_t *)(cell->entry + (seq & 1 ? CT_TOTALS_HALF_OFFSETS_1 : CT_TOTALS_HALF_OFFSETS_0));
    enum { COUNTS = CT_TOTALS_COUNT_FAILED + 1 };
    ((volatile uint64_t *)half)[0] = seq;
    atomic_thread_fence(memory_order_release);
    memcpy(half + 1, cell->counts, sizeof cell->counts);
    atomic_thread_fence(memory_order_release);
    ((volatile uint64_t *)half)[COUNTS + 1] = seq;
}

static inline void
ct_add_hold(struct ct_cell *cell, uint64_t hold)
{
    cell->counts[CT_TOTALS_COUNT_HOLDS]++;
    cell->counts[CT_TOTALS_COUNT_HOLD_NS] += hold;
    if (hold > cell->counts[CT_TOTALS_COUNT_HOLD_MAX_NS]) {
        cell->counts[CT_TOTALS_COUNT_HOLD_MAX_NS] = hold;
    }
    ct_save(cell);
}

/* locks.c ------------------------------------------------------------------------------------------------------- */

/* What `acquire` is asked for. */
struct ct_patience {
    bool blocking;
    double seconds; /* -1: for ever */
};

/* They return 1 when the lock was got, 0 when not, -1 with an exception that a signal's handler raised. */
int ct_take(struct ct_lock *self);
int ct_take_patiently(struct ct_lock *self, struct ct_patience patience);
void ct_take_whatever_comes(struct ct_lock *self); /* no handler's exception ends it */
/* Of a lock that is taken. */
void ct_release(struct ct_lock *self);
/* Its holder, if any, does not hold it any more, though nobody released it. */
void ct_drop_holder(struct ct_lock *self);

#endif
