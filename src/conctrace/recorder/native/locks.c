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
#include "locks.h"

#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND_NS 1000000000u

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

/* Taken and let go ------------------------------------------------------------------------------------------------------------ */

/* Who is here, and where: looked up before the lock is touched, as it may run Python code (see gil.h, 5). */
struct here {
    struct ct_thread *thread; /* NULL: nothing is to be recorded */
    PyFrameObject *frame;     /* borrowed */
};

static inline struct here
look_around(struct ct_lock *self)
{
    if (ct_unlikely(self->number == 0)) {
        return (struct here){NULL, NULL};
    }
    /* First, as on 3.10 and 3.11 it may run Python code, which may fork. */
    PyFrameObject *frame = PyEval_GetFrame();
    if (ct_unlikely(!ct_alive())) {
        return (struct here){NULL, NULL};
    }
    return (struct here){ct_here(), frame};
}

/* Without the GIL, or with it. */
static inline bool
try_to_take(struct ct_lock *self)
{
    uint32_t free_word = 0;
    return atomic_compare_exchange_strong_explicit(
        &self->word, &free_word, 1, memory_order_acquire, memory_order_relaxed);
}

/* With the GIL. Only a waiter takes a lock without the GIL, and every waiter is counted, under the GIL, before it lets go of it, and
 * discounted only after it has taken the lock: where none is counted, nobody can come between looking and taking, and neither needs
 * the bus. */
static inline bool
take_if_free(struct ct_lock *self)
{
    if (ct_unlikely(atomic_load_explicit(&self->waiters, memory_order_acquire) > 0)) {
        return try_to_take(self);
    }
    if (ct_unlikely(atomic_load_explicit(&self->word, memory_order_acquire) != 0)) {
        return false;
    }
    atomic_store_explicit(&self->word, 1, memory_order_relaxed);
    return true;
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
void
ct_drop_holder(struct ct_lock *self)
{
    struct ct_thread *holder = self->holder;
    self->holder = NULL;
    if (ct_recording() && self->epoch == ct.epoch) {
        ct_drop_held(holder, self);
        if (holder->gone) {
            ct_bury(self, holder);
        }
    }
}

/* The current thread has got the lock: note it. */
static inline void
took(struct ct_lock *self, struct here here, uint64_t since)
{
    struct ct_thread *thread = here.thread;
    if (ct_unlikely(thread == NULL)) {
        if (self->holder != NULL) {
            ct_drop_holder(self);
        }
        return;
    }
    PyCodeObject *code = ct_unlikely(here.frame == NULL) ? NULL : PyFrame_GetCode(here.frame);
    int lasti = ct_unlikely(code == NULL) ? 0 : ct_lasti(here.frame);
    struct ct_cell *cell = self->cell;
    if (ct_unlikely(cell == NULL || cell->thread != thread || cell->code != code || cell->lasti != lasti)) {
        cell = ct_find_cell(self, thread, here.frame, code, lasti);
        if (cell == NULL) {
            ct_count(CT_LIVE_TOTALS_DROPPED, 1);
        }
    }
    Py_XDECREF(code);
    if (ct_unlikely(self->holder != NULL)) {
        ct_drop_holder(self);
    }
    if (ct_unlikely(cell == NULL)) {
        return;
    }
    self->cell = cell;
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

/* A second begins. A program that does the same for hours is not worth the same number of records all the while. */
static void
renew_budget(uint64_t now)
{
    uint32_t rate = ct.budget_rate;
    if (now - ct.budget_until >= SECOND_NS) { /* the first one, or there was none for a while */
        rate = CT_BUDGET_PER_SECOND;
    }
    else if (ct.budget_left == 0) {
        rate = rate / 2 > CT_BUDGET_LEAST ? rate / 2 : CT_BUDGET_LEAST;
    }
    else {
        rate = 2 * rate < CT_BUDGET_PER_SECOND ? 2 * rate : CT_BUDGET_PER_SECOND;
    }
    ct.budget_until = now + SECOND_NS;
    ct.budget_left = ct.budget_rate = rate;
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
        renew_budget(now);
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
    int collector = ct_collector_out();
    struct ct_thread *releaser = ct_here();
    bool waiters = atomic_load_explicit(&self->waiters, memory_order_relaxed) > 0;
    bool wanted = self->wanted;
    bool stored = wanted || hold >= CT_SHORT_NS || in_budget(cell, end);
    if (!stored && !waiters) {
        ct_collector_in(collector);
        return;
    }
    struct ct_record record = {
        .kind = CT_KIND_LOCK_HOLD, .time = self->since, .duration = hold, .object = self->number,
        .thread = thread->index, .stack = cell->site, .value = ct_site(PyEval_GetFrame()),
        .other = releaser == thread || releaser == NULL ? 0 : 1 + releaser->index,
        .outcome = waiters || wanted ? CT_OUTCOME_CONTENDED : 0};
    ct_collector_in(collector);
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
    ct_add_hold(cell, hold);
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
        ct_bury(self, thread);
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
    ct_count_waiters_anew(self);
    waiting->epoch = ct.epoch;
    waiting->forks = ct.forks;
    if (thread != NULL) {
        PyCodeObject *code = frame == NULL ? NULL : PyFrame_GetCode(frame);
        waiting->cell = ct_find_cell(self, thread, frame, code, code == NULL ? 0 : ct_lasti(frame));
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
    if (self->releases != waiting->releases) {
        waiting->has_pending = false; /* released by another thread meanwhile, which may have written there as it was read */
    }
    if (self->slot != NULL && ct_recording() && waiting->epoch == ct.epoch) {
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
    ct_add_wait(waiting->cell, end - wait.since, outcome == CT_OUTCOME_TIMEOUT);
}

/* A signal's handler has run, and may have forked: this may be the child, where nobody else waits. */
static void
count_again_in_child(struct ct_lock *self, struct waiting *waiting)
{
    ct_alive();
    if (waiting->forks != ct.forks) {
        ct_count_waiters_anew(self);
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
        cell = ct_find_cell(self, here.thread, here.frame, code, ct_lasti(here.frame));
    }
    Py_DECREF(code);
    if (cell == NULL) {
        return;
    }
    uint64_t now = ct_now();
    cell->counts[CT_TOTALS_COUNT_FAILED]++;
    ct_save(cell);
    self->wanted = true;
    if (in_budget(cell, now)) {
        ct_store(&(struct ct_record){
            .kind = CT_KIND_LOCK_WAIT, .time = now, .object = self->number, .thread = here.thread->index,
            .stack = cell->site, .outcome = CT_OUTCOME_TIMEOUT});
    }
}

int
ct_take_patiently(struct ct_lock *self, struct ct_patience patience)
{
    struct here here = look_around(self);
    if (take_if_free(self)) {
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

int
ct_take(struct ct_lock *self)
{
    struct here here = look_around(self);
    if (ct_likely(take_if_free(self))) {
        took(self, here, 0);
        return 1;
    }
    return wait_for(self, here, CT_NEVER, true);
}

void
ct_take_whatever_comes(struct ct_lock *self)
{
    struct here here = look_around(self);
    if (take_if_free(self)) {
        took(self, here, 0);
    }
    else {
        wait_for(self, here, CT_NEVER, false);
    }
}

void
ct_release(struct ct_lock *self)
{
    let_go(self);
    uint64_t releases = atomic_load_explicit(&self->releases, memory_order_relaxed);
    atomic_store_explicit(&self->releases, releases + 1, memory_order_relaxed);
    /* No fence between the two: a waiter counts itself under the GIL, so it has done that already, or will find the word 0. */
    atomic_store_explicit(&self->word, 0, memory_order_release);
    if (ct_unlikely(atomic_load_explicit(&self->waiters, memory_order_relaxed) > 0)) {
        syscall(SYS_futex, &self->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}
