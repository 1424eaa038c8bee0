/* `Lock` and `RLock` that record: who held them, who waited, what let the waiter through.
 *
 * A lock is a word to sleep on (futex): 0 free, 1 taken. The fast path is one compare-and-swap, two clock readings, the
 * exact totals (in the shared mapping, so a kill loses none) and the held stack; whether a hold gets a record of its own is
 * the budget's affair.
 *
 * What let a waiter through is stamped *under the lock*: a release that finds somebody waiting stores its time in the lock
 * before it lets go. Whoever gets the lock next after waiting reads the stamp while it holds the lock, so it is the
 * release that came just before; a stamp older than the wait is not its cause and is not used.
 *
 * Two holds explain a wait: the one during which it began, and the one whose release ended it. Both get a record, whatever
 * the budget: the first because the waiter marks the lock as wanted, the second written by the waiter, from what the
 * releaser left in the lock (`pending`); most releases under contention let nobody through.
 *
 * The end of a wait is stamped when the lock is got, before the GIL is back: with busy threads about, that is 5 to 15 ms later.
 */
#include "core.h"

#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND_NS 1000000000u

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
    uint64_t releases;
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

static PyObject *real_allocate, *real_lock_type, *real_rlock_type;

static bool
is_recursive(const struct ct_lock *self)
{
    return PyObject_TypeCheck((PyObject *)self, &ct_rlock_type);
}

uint64_t
ct_held_since(const struct ct_lock *lock)
{
    return lock->since;
}

uint64_t
ct_held_word(const struct ct_lock *lock)
{
    return (uint64_t)lock->number << 32 | lock->cell->site;
}

/* Totals ------------------------------------------------------------------------------------------------------------------ */

static inline void
save(struct ct_cell *cell)
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
add_hold(struct ct_cell *cell, uint64_t hold)
{
    cell->counts[CT_TOTALS_COUNT_HOLDS]++;
    cell->counts[CT_TOTALS_COUNT_HOLD_NS] += hold;
    if (hold > cell->counts[CT_TOTALS_COUNT_HOLD_MAX_NS]) {
        cell->counts[CT_TOTALS_COUNT_HOLD_MAX_NS] = hold;
    }
    save(cell);
}

static void
add_wait(struct ct_cell *cell, uint64_t waited, bool failed)
{
    cell->counts[CT_TOTALS_COUNT_WAITS]++;
    cell->counts[CT_TOTALS_COUNT_WAIT_NS] += waited;
    if (waited > cell->counts[CT_TOTALS_COUNT_WAIT_MAX_NS]) {
        cell->counts[CT_TOTALS_COUNT_WAIT_MAX_NS] = waited;
    }
    cell->counts[CT_TOTALS_COUNT_FAILED] += failed;
    save(cell);
}

static uint32_t
bucket(const struct ct_lock *lock, const PyCodeObject *code, int lasti, uint32_t mask)
{
    uint64_t hash = lock->number * 0x9E3779B97F4A7C15u + ((uintptr_t)code >> 4) * 0xC2B2AE3D27D4EB4Fu + (unsigned)lasti;
    return (uint32_t)(hash ^ (hash >> 31)) & mask;
}

static bool
make_buckets(struct ct_thread *thread)
{
    uint32_t size = thread->cells == NULL ? 16 : 2 * (thread->cells_mask + 1);
    struct ct_cell **buckets = calloc(size, sizeof *buckets);
    if (buckets == NULL) {
        return thread->cells != NULL;
    }
    for (uint32_t i = 0; thread->cells != NULL && i <= thread->cells_mask; i++) {
        struct ct_cell *cell = thread->cells[i];
        while (cell != NULL) {
            struct ct_cell *next = cell->next;
            struct ct_cell **head = &buckets[bucket(cell->lock, cell->code, cell->lasti, size - 1)];
            cell->next = *head;
            *head = cell;
            cell = next;
        }
    }
    free(thread->cells);
    thread->cells = buckets;
    thread->cells_mask = size - 1;
    return true;
}

/* In a forked child nobody waits but who says so there: the others are the parent's threads. */
static void
count_waiters_anew(struct ct_lock *self)
{
    if (self->forks != ct.forks) {
        self->forks = ct.forks;
        atomic_store(&self->waiters, 0);
    }
}

/* The lock is met for the first time in this image, or in this session: define it, start its totals anew. */
static void
define_lock(struct ct_lock *self)
{
    self->epoch = ct.epoch;
    self->cells = self->cell = NULL;
    self->slot = NULL;
    self->holder = NULL;
    self->has_pending = false;
    count_waiters_anew(self);
    if (self->session != ct.session) {
        self->session = ct.session;
        self->number = ct_new_number();
        self->made_at = 0;
    }
    char site[16];
    int size = snprintf(site, sizeof site, "%u", self->made_at);
    struct ct_text kind = is_recursive(self) ? (struct ct_text){"RLock", 5} : (struct ct_text){"Lock", 4};
    struct ct_text fields[4] = {kind, {"", 0}, {site, (size_t)size}, {"", 0}};
    ct_define(CT_DEFINE_OBJECT, self->number, fields, 4);
}

static struct ct_cell *
new_cell(struct ct_lock *self, struct ct_thread *thread, PyFrameObject *frame, PyCodeObject *code, int lasti)
{
    if (thread->cells_count >= thread->cells_mask && !make_buckets(thread)) {
        return NULL;
    }
    struct ct_cell *cell = calloc(1, sizeof *cell);
    if (cell == NULL) {
        return NULL;
    }
    for (struct ct_cell *other = self->cells; other != NULL && cell->allowance == NULL; other = other->next_of_lock) {
        if (other->thread == thread) {
            cell->allowance = other->allowance;
        }
    }
    if (cell->allowance == NULL) {
        cell->allowance = malloc(sizeof *cell->allowance);
        if (cell->allowance == NULL) {
            free(cell);
            return NULL;
        }
        *cell->allowance = (struct allowance){ct.budget_first, 0};
    }
    cell->allowance->users++;
    cell->lock = self;
    cell->thread = thread;
    cell->lasti = lasti;
    cell->site = code == NULL ? 0 : ct_site_of(frame, code, lasti);
    Py_XINCREF(code);
    cell->code = code;
    cell->entry = ct_take_entry(CT_TOTALS);
    if (cell->entry != NULL) {
        uint32_t key[4] = {0, self->number, thread->index, cell->site};
        memcpy(cell->entry, key, sizeof key);
        atomic_thread_fence(memory_order_release);
        *(volatile uint32_t *)cell->entry = 1; /* used */
    }
    struct ct_cell **head = &thread->cells[bucket(self, code, lasti, thread->cells_mask)];
    cell->next = *head;
    *head = cell;
    thread->cells_count++;
    cell->next_of_lock = self->cells;
    cell->link_of_lock = &self->cells;
    if (self->cells != NULL) {
        self->cells->link_of_lock = &cell->next_of_lock;
    }
    self->cells = cell;
    return cell;
}

static struct ct_cell *
cell_of(struct ct_lock *self, struct ct_thread *thread, PyFrameObject *frame, PyCodeObject *code, int lasti)
{
    if (self->epoch != ct.epoch) {
        define_lock(self);
    }
    if (thread->cells != NULL) {
        struct ct_cell *cell = thread->cells[bucket(self, code, lasti, thread->cells_mask)];
        for (; cell != NULL; cell = cell->next) {
            if (cell->lock == self && cell->code == code && cell->lasti == lasti) {
                return cell;
            }
        }
    }
    return new_cell(self, thread, frame, code, lasti);
}

/* Its thread or its lock is gone: the totals become a definition, the entry is free again. */
static void
close_cell(struct ct_cell *cell)
{
    struct ct_thread *thread = cell->thread;
    struct ct_lock *lock = cell->lock;
    struct ct_cell **link = &thread->cells[bucket(lock, cell->code, cell->lasti, thread->cells_mask)];
    while (*link != cell) {
        link = &(*link)->next;
    }
    *link = cell->next;
    thread->cells_count--;
    *cell->link_of_lock = cell->next_of_lock;
    if (cell->next_of_lock != NULL) {
        cell->next_of_lock->link_of_lock = cell->link_of_lock;
    }
    if (lock->cell == cell) {
        lock->cell = NULL;
    }
    if (cell->entry != NULL) {
        uint64_t fields[3 + CT_TOTALS_COUNT_FAILED + 1] = {lock->number, thread->index, cell->site};
        memcpy(fields + 3, cell->counts, sizeof cell->counts);
        ct_define_numbers(CT_DEFINE_TOTALS, lock->number, fields, sizeof fields / sizeof *fields);
        ct_give_entry(CT_TOTALS, cell->entry);
    }
    if (--cell->allowance->users == 0) {
        free(cell->allowance);
    }
    PyCodeObject *code = cell->code;
    free(cell);
    Py_XDECREF(code);
}

/* Those of locks that it still holds stay: whoever releases these will add to them. */
void
ct_close_cells(struct ct_thread *thread)
{
    for (uint32_t i = 0; thread->cells != NULL && i <= thread->cells_mask; i++) {
        struct ct_cell *cell = thread->cells[i];
        while (cell != NULL) {
            struct ct_cell *next = cell->next;
            if (cell->lock->holder != thread) {
                close_cell(cell);
            }
            cell = next;
        }
    }
}

/* The thread has ended, and now one more of the locks that it held is released. */
static void
bury(struct ct_lock *self, struct ct_thread *thread)
{
    struct ct_cell *next;
    for (struct ct_cell *cell = self->cells; cell != NULL; cell = next) {
        next = cell->next_of_lock;
        if (cell->thread == thread) {
            close_cell(cell);
        }
    }
    if (thread->held_count == 0) {
        ct_free_thread(thread);
    }
}

/* Taken and let go ------------------------------------------------------------------------------------------------------------ */

/* Who is here, and where: looked up before the lock is touched, as it may run Python code (see gil.h, 5). */
struct here {
    struct ct_thread *thread; /* NULL: nothing is to be recorded */
    PyFrameObject *frame;     /* borrowed */
};

static inline struct here
look_around(struct ct_lock *self)
{
    if (ct_unlikely(self->number == 0) || ct_unlikely(!ct_alive())) {
        return (struct here){NULL, NULL};
    }
    PyFrameObject *frame = PyEval_GetFrame();
    return (struct here){ct_here(), frame};
}

static inline bool
try_to_take(struct ct_lock *self)
{
    uint32_t free_word = 0;
    return atomic_compare_exchange_strong_explicit(
        &self->word, &free_word, 1, memory_order_acquire, memory_order_relaxed);
}

/* Without the GIL, or with it; by whoever has the lock. */
static inline void
show_owner(uint8_t *slot, uint64_t since, uint64_t owner)
{
    volatile uint64_t *words = (uint64_t *)(slot + CT_OBJECT_OWNER_OFFSET);
    words[1] = 0;
    atomic_thread_fence(memory_order_release);
    words[0] = since;
    atomic_thread_fence(memory_order_release);
    words[1] = owner;
}

static uint64_t
owner_word(const struct ct_thread *thread, uint32_t site)
{
    return (uint64_t)(thread->index + 1) << 32 | site;
}

/* Somebody released it unseen (before the waiter that had got it had the GIL back), or it is gone while taken. */
static void
drop_holder(struct ct_lock *self)
{
    struct ct_thread *holder = self->holder;
    self->holder = NULL;
    if (ct_recording() && self->epoch == ct.epoch) {
        ct_drop_held(holder, self);
        if (holder->gone) {
            bury(self, holder);
        }
    }
}

/* The current thread has got the lock: note it. */
static inline void
took(struct ct_lock *self, struct here here, uint64_t since)
{
    struct ct_thread *thread = here.thread;
    if (ct_unlikely(self->holder != NULL)) {
        drop_holder(self);
    }
    if (ct_unlikely(thread == NULL)) {
        return;
    }
    PyCodeObject *code = ct_unlikely(here.frame == NULL) ? NULL : PyFrame_GetCode(here.frame);
    int lasti = ct_unlikely(code == NULL) ? 0 : ct_lasti(here.frame);
    struct ct_cell *cell = self->cell;
    if (ct_unlikely(cell == NULL || cell->thread != thread || cell->code != code || cell->lasti != lasti)) {
        cell = cell_of(self, thread, here.frame, code, lasti);
        if (cell == NULL) {
            ct_count(CT_LIVE_TOTALS_DROPPED, 1);
            Py_XDECREF(code);
            return;
        }
        self->cell = cell;
    }
    Py_XDECREF(code);
    self->holder = thread;
    self->since = since != 0 ? since : ct_now();
    uint32_t at = thread->held_count;
    if (ct_likely(at < thread->held_room && at < CT_THREAD_HELD_MAX && thread->entry != NULL)) {
        thread->held[at] = self;
        thread->held_count = at + 1;
        volatile uint64_t *pair = (uint64_t *)(thread->entry + CT_THREAD_HELD_OFFSET) + 2 * at;
        pair[3] = 0; /* the end */
        pair[0] = self->since;
        pair[1] = ct_held_word(self);
    }
    else {
        ct_push_held_slow(thread, self);
    }
    if (ct_unlikely(self->slot != NULL)) {
        show_owner(self->slot, self->since, owner_word(thread, cell->site));
    }
}

/* Whether an uncontended, short operation gets a record of its own; takes it off the budget. */
static bool
in_budget(struct ct_cell *cell, uint64_t now)
{
    if (cell->allowance->left > 0) {
        cell->allowance->left--;
        return true;
    }
    if (now >= ct.budget_until) {
        ct.budget_until = now + SECOND_NS;
        ct.budget_left = CT_BUDGET_PER_SECOND;
    }
    if (ct.budget_left == 0) {
        return false;
    }
    ct.budget_left--;
    return true;
}

/* Give this hold a record if it explains a wait, was long, or the budget has room; else leave it to a waiter. */
static void
record_hold(struct ct_lock *self, struct ct_thread *thread, uint64_t end, uint64_t hold)
{
    struct ct_cell *cell = self->cell;
    struct ct_thread *releaser = ct_here();
    bool waiters = atomic_load_explicit(&self->waiters, memory_order_relaxed) > 0;
    bool wanted = self->wanted;
    bool stored = wanted || hold >= CT_SHORT_NS || in_budget(cell, end);
    if (!stored && !waiters) {
        return;
    }
    struct ct_record record = {
        .kind = CT_KIND_LOCK_HOLD, .time = self->since, .duration = hold, .object = self->number,
        .thread = thread->index, .stack = cell->site, .value = ct_site(PyEval_GetFrame()),
        .other = releaser == thread || releaser == NULL ? 0 : 1 + releaser->index,
        .outcome = waiters || wanted ? CT_OUTCOME_CONTENDED : 0};
    if (stored) {
        self->wanted = false;
        ct_store(&record);
    }
    if (waiters) {
        self->released = end;
        self->has_pending = !stored;
        self->pending = record;
    }
}

/* The lock is about to be released: note it, under the lock. */
static inline void
let_go(struct ct_lock *self)
{
    struct ct_thread *thread = self->holder;
    if (ct_unlikely(thread == NULL)) {
        return;
    }
    if (ct_unlikely(!ct_recording() || self->epoch != ct.epoch)) {
        self->holder = NULL; /* switched off since, or got before a fork, by the parent's image */
        return;
    }
    uint64_t end = ct_now();
    uint64_t hold = end - self->since;
    struct ct_cell *cell = self->cell;
    if (ct_unlikely(cell->allowance->left || ct.budget_left || end >= ct.budget_until || hold >= CT_SHORT_NS ||
                    self->wanted || atomic_load_explicit(&self->waiters, memory_order_relaxed))) {
        record_hold(self, thread, end, hold);
    }
    self->holder = NULL;
    add_hold(cell, hold);
    uint32_t at = thread->held_count - 1;
    if (ct_likely(thread->held_count > 0 && thread->held[at] == self)) {
        thread->held_count = at;
        if (ct_likely(at < CT_THREAD_HELD_MAX && thread->entry != NULL)) {
            ((volatile uint64_t *)(thread->entry + CT_THREAD_HELD_OFFSET))[2 * at + 1] = 0;
        }
    }
    else {
        ct_drop_held(thread, self);
    }
    if (ct_unlikely(self->slot != NULL)) {
        show_owner(self->slot, 0, 0);
    }
    if (ct_unlikely(thread->gone)) {
        bury(self, thread);
    }
}

static inline void
unlock(struct ct_lock *self)
{
    self->releases++;
    atomic_store(&self->word, 0);
    if (ct_unlikely(atomic_load(&self->waiters) > 0)) {
        syscall(SYS_futex, &self->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* Waiting ------------------------------------------------------------------------------------------------------------------------- */

enum attempt { GOT, TIMED_OUT, INTERRUPTED };

/* Without the GIL. `deadline`: monotonic ns, or CT_NEVER. */
static enum attempt
sleep_for(struct ct_lock *self, uint64_t deadline)
{
    struct timespec until = {(time_t)(deadline / SECOND_NS), (long)(deadline % SECOND_NS)};
    while (!try_to_take(self)) {
        long result = syscall(SYS_futex, &self->word, FUTEX_WAIT_BITSET_PRIVATE, 1, deadline >= CT_NEVER ? NULL : &until,
                              NULL, FUTEX_BITSET_MATCH_ANY);
        if (result < 0 && errno == EINTR) {
            return INTERRUPTED;
        }
        if (result < 0 && errno == ETIMEDOUT) {
            return try_to_take(self) ? GOT : TIMED_OUT;
        }
    }
    return GOT;
}

/* A wait as it goes on; what its waiter finds out when it gets the lock, before it has the GIL back. */
struct waiting {
    struct here here;
    struct ct_cell *cell; /* NULL: not recorded */
    struct ct_wait shown;
    uint32_t epoch, forks;
    uint64_t got, released, releases;
    bool has_pending;
    struct ct_record pending;
};

static void
begin_wait(struct ct_lock *self, struct waiting *waiting)
{
    struct ct_thread *thread = waiting->here.thread;
    PyFrameObject *frame = waiting->here.frame;
    ct_alive(); /* which notices a fork; a lock that is not recorded has not looked */
    count_waiters_anew(self);
    waiting->epoch = ct.epoch;
    waiting->forks = ct.forks;
    if (thread != NULL) {
        PyCodeObject *code = frame == NULL ? NULL : PyFrame_GetCode(frame);
        waiting->cell = cell_of(self, thread, frame, code, code == NULL ? 0 : ct_lasti(frame));
        Py_XDECREF(code);
    }
    if (waiting->cell != NULL && self->slot == NULL && (self->slot = ct_take_entry(CT_OBJECTS)) != NULL) {
        memcpy(self->slot, &self->number, sizeof self->number);
        if (self->holder != NULL) {
            show_owner(self->slot, self->since, owner_word(self->holder, self->cell->site));
        }
    }
    uint32_t stack = waiting->cell == NULL ? 0 : ct_stack(frame);
    /* First the mark, then the stamp: whoever holds the lock at that moment finds the mark at its release, so the trace knows
     * who held it when the wait began. */
    atomic_fetch_add(&self->waiters, 1);
    if (waiting->cell != NULL) {
        self->wanted = true;
        waiting->shown = (struct ct_wait){.since = ct_now(), .thing = self->number, .stack = stack, .kind = CT_KIND_LOCK_WAIT};
        if (!ct_wait_begins(thread, &waiting->shown)) {
            waiting->cell = NULL;
        }
    }
}

/* Without the GIL, but with the lock. */
static void
note_got(struct ct_lock *self, struct waiting *waiting)
{
    atomic_fetch_sub(&self->waiters, 1);
    waiting->releases = self->releases;
    if (waiting->cell == NULL) {
        return;
    }
    waiting->got = ct_now();
    if (self->released >= waiting->shown.since) {
        waiting->released = self->released;
        waiting->has_pending = self->has_pending;
        waiting->pending = self->pending;
        self->has_pending = false;
    }
    if (self->slot != NULL && ct_recording()) {
        show_owner(self->slot, waiting->got, owner_word(waiting->here.thread, waiting->cell->site));
    }
}

static void
end_wait(struct waiting *waiting, uint8_t outcome)
{
    if (waiting->cell == NULL || !ct_recording() || waiting->epoch != ct.epoch) {
        return; /* not recorded, switched off since, or a child that was forked in a signal's handler meanwhile */
    }
    struct ct_thread *thread = waiting->here.thread;
    struct ct_wait wait = ct_wait_ends(thread);
    uint64_t now = ct_now();
    uint64_t end = outcome == CT_OUTCOME_ACQUIRED ? waiting->got : now;
    if (waiting->has_pending) {
        ct_store(&waiting->pending);
    }
    struct ct_record record = {
        .kind = CT_KIND_LOCK_WAIT, .time = wait.since, .duration = end - wait.since, .object = wait.thing,
        .thread = thread->index, .stack = wait.stack, .outcome = outcome,
        .other = outcome == CT_OUTCOME_ACQUIRED ? waiting->released : 0, .value = (int64_t)(now - end)};
    ct_reading(thread, now, &record);
    ct_store(&record);
    add_wait(waiting->cell, end - wait.since, outcome == CT_OUTCOME_TIMEOUT);
}

/* A signal's handler has run, and may have forked: this may be the child, where nobody else waits. */
static void
count_again_in_child(struct ct_lock *self, struct waiting *waiting)
{
    ct_alive();
    if (waiting->forks != ct.forks) {
        count_waiters_anew(self);
        waiting->forks = ct.forks;
        atomic_fetch_add(&self->waiters, 1);
    }
}

/* The lock is taken: sleep until it is got (1) or the deadline is over (0), and record the wait with what ended it. -1 with an
 * exception: a signal's handler raised it. */
static int
wait_for(struct ct_lock *self, struct here here, uint64_t deadline, bool interruptible)
{
    struct waiting waiting = {.here = here};
    enum attempt attempt;
    bool raised = false;
    begin_wait(self, &waiting);
    do {
        Py_BEGIN_ALLOW_THREADS
        attempt = sleep_for(self, deadline);
        if (attempt == GOT) {
            note_got(self, &waiting);
        }
        Py_END_ALLOW_THREADS
        if (attempt == INTERRUPTED && interruptible) {
            raised = Py_MakePendingCalls() < 0;
            count_again_in_child(self, &waiting);
        }
    } while (attempt == INTERRUPTED && !raised);
    if (attempt != GOT) {
        atomic_fetch_sub(&self->waiters, 1);
    }
    end_wait(&waiting, raised ? CT_OUTCOME_ERROR : attempt == GOT ? CT_OUTCOME_ACQUIRED : CT_OUTCOME_TIMEOUT);
    if (attempt == GOT && self->releases == waiting.releases) { /* else it has been released already, by somebody else */
        if (here.thread != NULL && waiting.epoch != ct.epoch) {
            here = look_around(self);
        }
        took(self, here, waiting.got);
    }
    return raised ? -1 : attempt == GOT;
}

/* acquire(False) found the lock taken: counted, and recorded as far as the budget goes. Not when the standard library asked:
 * that is how `Condition` finds out whether its Lock is held. */
static void
missed(struct ct_lock *self, struct here here)
{
    if (here.thread == NULL || here.frame == NULL) {
        return;
    }
    PyCodeObject *code = PyFrame_GetCode(here.frame);
    struct ct_cell *cell = NULL;
    if (!(ct_code_flags(code) & CT_LIBRARY)) {
        cell = cell_of(self, here.thread, here.frame, code, ct_lasti(here.frame));
    }
    Py_DECREF(code);
    if (cell == NULL) {
        return;
    }
    uint64_t now = ct_now();
    cell->counts[CT_TOTALS_COUNT_FAILED]++;
    save(cell);
    self->wanted = true;
    if (in_budget(cell, now)) {
        ct_store(&(struct ct_record){
            .kind = CT_KIND_LOCK_WAIT, .time = now, .object = self->number, .thread = here.thread->index,
            .stack = cell->site, .outcome = CT_OUTCOME_TIMEOUT});
    }
}

/* acquire's arguments ---------------------------------------------------------------------------------------------------------------- */

struct patience {
    bool blocking;
    double seconds; /* -1: for ever */
};

/* What a lock of the interpreter's own makes of these arguments: an exception (-1), or nothing to say (0). */
static int
judge(const struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *judge = is_recursive(self) ? PyObject_CallNoArgs(real_rlock_type) : PyObject_CallNoArgs(real_allocate);
    PyObject *function = judge == NULL ? NULL : PyObject_GetAttrString(judge, method);
    PyObject *verdict = function == NULL ? NULL : PyObject_Vectorcall(function, args, (size_t)count, names);
    Py_XDECREF(function);
    Py_XDECREF(judge);
    Py_XDECREF(verdict);
    return verdict == NULL ? -1 : 0;
}

static bool
is_plain(PyObject *blocking, PyObject *timeout, struct patience *patience)
{
    if (blocking != NULL && blocking != Py_True && blocking != Py_False) {
        return false;
    }
    patience->blocking = blocking != Py_False;
    if (timeout == NULL) {
        return true;
    }
    if (PyFloat_CheckExact(timeout)) {
        patience->seconds = PyFloat_AS_DOUBLE(timeout);
    }
    else if (PyLong_CheckExact(timeout)) {
        patience->seconds = PyLong_AsDouble(timeout);
        PyErr_Clear(); /* -1.0 then: told apart below */
        if (patience->seconds == -1) {
            return false;
        }
    }
    else {
        return false;
    }
    return patience->blocking && patience->seconds >= 0 && patience->seconds < 1e9;
}

/* -1 with the exception that a lock of the interpreter's own raises for such arguments. */
static int
parse(const struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names,
      struct patience *patience)
{
    PyObject *blocking = count > 0 ? args[0] : NULL;
    PyObject *timeout = count > 1 ? args[1] : NULL;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    bool odd = count > 2;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "blocking") == 0 && blocking == NULL) {
            blocking = args[count + i];
        }
        else if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0 && timeout == NULL) {
            timeout = args[count + i];
        }
        else {
            odd = true;
        }
    }
    *patience = (struct patience){true, -1};
    if (!odd && is_plain(blocking, timeout, patience)) {
        return 0;
    }
    if (judge(self, method, args, count, names)) {
        return -1;
    }
    int truth = blocking == NULL ? 1 : PyObject_IsTrue(blocking);
    patience->seconds = timeout == NULL ? -1 : PyFloat_AsDouble(timeout);
    patience->blocking = truth > 0;
    return PyErr_Occurred() ? -1 : 0;
}

/* 1 got, 0 not, -1 with an exception */
static int
acquire_patiently(struct ct_lock *self, struct patience patience)
{
    struct here here = look_around(self);
    if (try_to_take(self)) {
        took(self, here, 0);
        return 1;
    }
    if (!patience.blocking || patience.seconds == 0) {
        missed(self, here);
        return 0;
    }
    uint64_t deadline = CT_NEVER;
    if (patience.seconds >= 0 && patience.seconds < 4e9) {
        deadline = ct_now() + (uint64_t)ceil(patience.seconds * 1e9);
    }
    return wait_for(self, here, deadline, true);
}

/* Lock -------------------------------------------------------------------------------------------------------------------------------- */

static PyObject *
lock_acquire_with(struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct patience patience;
    if (parse(self, method, args, count, names, &patience)) {
        return NULL;
    }
    int got = acquire_patiently(self, patience);
    return got < 0 ? NULL : PyBool_FromLong(got);
}

static inline PyObject *
lock_take(struct ct_lock *self)
{
    struct here here = look_around(self);
    if (ct_likely(try_to_take(self))) {
        took(self, here, 0);
    }
    else if (wait_for(self, here, CT_NEVER, true) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *
lock_acquire(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_likely(count == 0 && names == NULL)) {
        return lock_take(self);
    }
    return lock_acquire_with(self, "acquire", args, count, names);
}

static PyObject *
lock_enter(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_likely(count == 0 && names == NULL)) {
        return lock_take(self);
    }
    return lock_acquire_with(self, "__enter__", args, count, names);
}

static inline PyObject *
lock_drop(struct ct_lock *self)
{
    if (ct_unlikely(atomic_load_explicit(&self->word, memory_order_relaxed) == 0)) {
        PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
        return NULL;
    }
    let_go(self);
    unlock(self);
    Py_RETURN_NONE;
}

static PyObject *
lock_release(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return lock_drop(self);
}

static PyObject *
lock_exit(struct ct_lock *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count))
{
    return lock_drop(self);
}

static PyObject *
lock_locked(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(atomic_load(&self->word) != 0);
}

static PyObject *
lock_at_fork_reinit(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    if (self->holder != NULL) {
        drop_holder(self);
    }
    atomic_store(&self->word, 0);
    atomic_store(&self->waiters, 0);
    self->wanted = self->has_pending = false;
    self->owner = self->depth = 0;
    Py_RETURN_NONE;
}

static PyObject *
lock_repr(struct ct_lock *self)
{
    return PyUnicode_FromFormat("<%s %s object at %p>", atomic_load(&self->word) ? "locked" : "unlocked",
                                Py_TYPE(self)->tp_name, self);
}

static void
lock_dealloc(struct ct_lock *self)
{
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    if (self->holder != NULL) {
        drop_holder(self);
    }
    if (ct.wipe != NULL && ct_recording() && self->epoch == ct.epoch) {
        while (self->cells != NULL) {
            close_cell(self->cells);
        }
        if (self->slot != NULL) {
            ct_give_entry(CT_OBJECTS, self->slot);
        }
    }
    PyErr_Restore(kind, value, trace);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* isinstance(lock, _thread.LockType) stays true */
static PyObject *
lock_class(PyObject *self, void *Py_UNUSED(closure))
{
    PyTypeObject *type = Py_TYPE(self);
    if (type == &ct_lock_type) {
        return Py_NewRef(real_lock_type);
    }
    return Py_NewRef(type == &ct_rlock_type ? real_rlock_type : (PyObject *)type);
}

/* The type's own number of a lock: made by what calls it, e.g. `type(lock)()`. */
static PyObject *
make_lock(PyTypeObject *type, PyFrameObject *frame)
{
    struct ct_lock *self = (struct ct_lock *)type->tp_alloc(type, 0);
    if (self != NULL && frame != NULL && ct_alive()) {
        self->session = ct.session;
        self->forks = ct.forks;
        self->number = ct_new_number();
        self->made_at = ct_site(frame);
    }
    return (PyObject *)self;
}

static PyFrameObject *
users_frame(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL) {
        return NULL;
    }
    PyCodeObject *code = PyFrame_GetCode(frame);
    int flags = ct_code_flags(code);
    Py_DECREF(code);
    return flags & CT_LIBRARY ? NULL : frame;
}

static PyObject *
lock_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    if (type == &ct_lock_type) { /* no arguments are taken */
        PyObject *judged = PyObject_Call(real_lock_type, args, names);
        if (judged == NULL) {
            return NULL;
        }
        Py_DECREF(judged);
    }
    return make_lock(type, users_frame());
}

/* RLock --------------------------------------------------------------------------------------------------------------------------------- */

static inline bool
is_mine(const struct ct_lock *self)
{
    return self->depth > 0 && self->owner == PyThread_get_thread_ident();
}

static int
go_deeper(struct ct_lock *self)
{
    if (self->depth == ULONG_MAX) {
        PyErr_SetString(PyExc_OverflowError, "Internal lock count overflowed");
        return -1;
    }
    self->depth++;
    return 0;
}

static inline void
own(struct ct_lock *self, unsigned long depth)
{
    self->owner = PyThread_get_thread_ident();
    self->depth = depth;
}

static PyObject *
rlock_acquire_with(struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct patience patience;
    if (parse(self, method, args, count, names, &patience)) {
        return NULL;
    }
    int got = 1;
    if (is_mine(self)) {
        if (go_deeper(self)) {
            return NULL;
        }
    }
    else if ((got = acquire_patiently(self, patience)) > 0) {
        own(self, 1);
    }
    return got < 0 ? NULL : PyBool_FromLong(got);
}

static inline PyObject *
rlock_take(struct ct_lock *self)
{
    if (is_mine(self)) {
        if (go_deeper(self)) {
            return NULL;
        }
        Py_RETURN_TRUE;
    }
    struct here here = look_around(self);
    if (ct_likely(try_to_take(self))) {
        took(self, here, 0);
    }
    else if (wait_for(self, here, CT_NEVER, true) < 0) {
        return NULL;
    }
    own(self, 1);
    Py_RETURN_TRUE;
}

static PyObject *
rlock_acquire(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_likely(count == 0 && names == NULL)) {
        return rlock_take(self);
    }
    return rlock_acquire_with(self, "acquire", args, count, names);
}

static PyObject *
rlock_enter(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_likely(count == 0 && names == NULL)) {
        return rlock_take(self);
    }
    return rlock_acquire_with(self, "__enter__", args, count, names);
}

static inline void
rlock_free(struct ct_lock *self)
{
    let_go(self);
    self->depth = 0;
    self->owner = 0;
    unlock(self);
}

static inline PyObject *
rlock_drop(struct ct_lock *self)
{
    if (ct_unlikely(!is_mine(self))) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    if (self->depth > 1) {
        self->depth--;
    }
    else {
        rlock_free(self);
    }
    Py_RETURN_NONE;
}

static PyObject *
rlock_release(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return rlock_drop(self);
}

static PyObject *
rlock_exit(struct ct_lock *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count))
{
    return rlock_drop(self);
}

static PyObject *
rlock_is_owned(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(is_mine(self));
}

static PyObject *
rlock_recursion_count(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(is_mine(self) ? self->depth : 0);
}

static PyObject *
rlock_release_save(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    if (self->depth == 0) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    PyObject *saved = Py_BuildValue("kk", self->depth, self->owner);
    if (saved != NULL) {
        rlock_free(self);
    }
    return saved;
}

/* Whatever handlers of signals do meanwhile, it ends with the lock taken: so does the interpreter's own. */
static PyObject *
rlock_acquire_restore(struct ct_lock *self, PyObject *args)
{
    unsigned long depth, owner;
    if (!PyArg_ParseTuple(args, "(kk):_acquire_restore", &depth, &owner)) {
        return NULL;
    }
    struct here here = look_around(self);
    if (try_to_take(self)) {
        took(self, here, 0);
    }
    else {
        wait_for(self, here, CT_NEVER, false);
    }
    self->owner = owner;
    self->depth = depth;
    Py_RETURN_NONE;
}

static PyObject *
rlock_repr(struct ct_lock *self)
{
    return PyUnicode_FromFormat("<%s %s object owner=%lu count=%lu at %p>", self->depth ? "locked" : "unlocked",
                                Py_TYPE(self)->tp_name, self->owner, self->depth, self);
}

static PyObject *
rlock_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(names))
{
    return make_lock(type, users_frame());
}

/* The types -------------------------------------------------------------------------------------------------------------------------------- */

#define FAST (METH_FASTCALL | METH_KEYWORDS)
#define METHOD(name, function, flags) {name, (PyCFunction)(void (*)(void))function, flags, NULL}

/* Those that the interpreter's own lock does not have in this version are left out, documentation is taken from it. */
static PyMethodDef lock_methods[] = {
    METHOD("acquire", lock_acquire, FAST),
    METHOD("acquire_lock", lock_acquire, FAST),
    METHOD("release", lock_release, METH_NOARGS),
    METHOD("release_lock", lock_release, METH_NOARGS),
    METHOD("locked", lock_locked, METH_NOARGS),
    METHOD("locked_lock", lock_locked, METH_NOARGS),
    METHOD("_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS),
    METHOD("__enter__", lock_enter, FAST),
    METHOD("__exit__", lock_exit, METH_FASTCALL),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef rlock_methods[] = {
    METHOD("acquire", rlock_acquire, FAST),
    METHOD("release", rlock_release, METH_NOARGS),
    METHOD("locked", lock_locked, METH_NOARGS),
    METHOD("_is_owned", rlock_is_owned, METH_NOARGS),
    METHOD("_recursion_count", rlock_recursion_count, METH_NOARGS),
    METHOD("_acquire_restore", rlock_acquire_restore, METH_VARARGS),
    METHOD("_release_save", rlock_release_save, METH_NOARGS),
    METHOD("_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS),
    METHOD("__enter__", rlock_enter, FAST),
    METHOD("__exit__", rlock_exit, METH_FASTCALL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getset[] = {
    {"__class__", lock_class, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject ct_lock_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_thread.lock",
    .tp_basicsize = sizeof(struct ct_lock),
    .tp_dealloc = (destructor)lock_dealloc,
    .tp_repr = (reprfunc)lock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_weaklistoffset = offsetof(struct ct_lock, weak),
    .tp_methods = lock_methods,
    .tp_getset = lock_getset,
};

PyTypeObject ct_rlock_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_thread.RLock",
    .tp_basicsize = sizeof(struct ct_lock),
    .tp_dealloc = (destructor)lock_dealloc,
    .tp_repr = (reprfunc)rlock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_weaklistoffset = offsetof(struct ct_lock, weak),
    .tp_methods = rlock_methods,
    .tp_getset = lock_getset,
    .tp_new = rlock_new,
};

static int
imitate(PyTypeObject *type, PyTypeObject *real)
{
    PyMethodDef *kept = type->tp_methods;
    for (PyMethodDef *method = type->tp_methods; method->ml_name != NULL; method++) {
        PyObject *original = PyObject_GetAttrString((PyObject *)real, method->ml_name);
        if (original == NULL) {
            PyErr_Clear();
            continue;
        }
        *kept = *method;
        if (Py_IS_TYPE(original, &PyMethodDescr_Type)) {
            kept->ml_doc = ((PyMethodDescrObject *)original)->d_method->ml_doc;
        }
        Py_DECREF(original);
        kept++;
    }
    *kept = (PyMethodDef){NULL, NULL, 0, NULL};
    type->tp_doc = real->tp_doc;
    return PyType_Ready(type);
}

int
ct_locks_init(PyObject *stdlib)
{
    real_allocate = PyObject_GetAttrString(stdlib, "allocate_lock");
    real_lock_type = PyObject_GetAttrString(stdlib, "LockType");
    real_rlock_type = PyObject_GetAttrString(stdlib, "RLockType");
    if (real_allocate == NULL || real_lock_type == NULL || real_rlock_type == NULL) {
        return -1;
    }
    if (((PyTypeObject *)real_lock_type)->tp_new != NULL) { /* before 3.13 it cannot be called */
        ct_lock_type.tp_new = lock_new;
    }
    return imitate(&ct_lock_type, (PyTypeObject *)real_lock_type) ||
                   imitate(&ct_rlock_type, (PyTypeObject *)real_rlock_type)
               ? -1
               : 0;
}

PyObject *
ct_new_lock(PyFrameObject *frame, bool recursive)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    int flags = ct_code_flags(code);
    Py_DECREF(code);
    PyTypeObject *type = recursive ? &ct_rlock_type : &ct_lock_type;
    if (ct_alive()) {
        if (!(flags & CT_LIBRARY)) {
            return make_lock(type, frame);
        }
        if (flags & CT_QUEUE) {
            return make_lock(type, NULL); /* quiet: quicker than the interpreter's own, which this is nobody's business */
        }
    }
    return PyObject_CallNoArgs(recursive ? real_rlock_type : real_allocate);
}
