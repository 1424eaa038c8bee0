/* The exact totals of locks, for each thread and call site: cells in memory, whose counts are also in the shared mapping. */
#include "locks.h"

#include <stdlib.h>
#include <string.h>

void
ct_add_wait(struct ct_cell *cell, uint64_t waited, bool failed)
{
    cell->counts[CT_TOTALS_COUNT_WAITS]++;
    cell->counts[CT_TOTALS_COUNT_WAIT_NS] += waited;
    if (waited > cell->counts[CT_TOTALS_COUNT_WAIT_MAX_NS]) {
        cell->counts[CT_TOTALS_COUNT_WAIT_MAX_NS] = waited;
    }
    cell->counts[CT_TOTALS_COUNT_FAILED] += failed;
    ct_save(cell);
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
void
ct_count_waiters_anew(struct ct_lock *self)
{
    if (self->forks != ct.forks) {
        self->forks = ct.forks;
        atomic_store(&self->waiters, 0);
    }
}

/* The lock is met for the first time in this image, or in this session: define it, start its totals anew. */
static bool
define_lock(struct ct_lock *self)
{
    self->epoch = ct.epoch;
    self->cells = self->cell = NULL;
    self->slot = NULL;
    self->holder = NULL;
    self->has_pending = false;
    ct_count_waiters_anew(self);
    if (self->session != ct.session) {
        self->session = ct.session;
        self->number = ct_new_number();
        self->made_at = 0;
    }
    char site[16];
    int size = snprintf(site, sizeof site, "%u", self->made_at);
    struct ct_text kind = ct_is_recursive(self) ? (struct ct_text){"RLock", 5} : (struct ct_text){"Lock", 4};
    struct ct_text fields[4] = {kind, {"", 0}, {site, (size_t)size}, {"", 0}};
    if (!ct_define(CT_DEFINE_OBJECT, self->number, fields, 4)) {
        self->epoch = 0; /* at the next occasion */
        return false;
    }
    return true;
}

static struct ct_cell *
new_cell(struct ct_lock *self, struct ct_thread *thread, PyFrameObject *frame, PyCodeObject *code, int lasti)
{
    ct_define_if_not_yet(thread);
    uint32_t site = code == NULL ? 0 : ct_site_of(frame, code, lasti);
    if ((site == 0 && code != NULL && !ct_sites_are_full()) ||
        (thread->cells_count >= thread->cells_mask && !make_buckets(thread))) {
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
    cell->site = site;
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

struct ct_cell *
ct_find_cell(struct ct_lock *self, struct ct_thread *thread, PyFrameObject *frame, PyCodeObject *code, int lasti)
{
    if (self->epoch != ct.epoch && !define_lock(self)) {
        return NULL;
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
void
ct_close_cell(struct ct_cell *cell)
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
        /* Without room for it, the entry stays and says it. */
        if (ct_define_numbers(CT_DEFINE_TOTALS, lock->number, fields, sizeof fields / sizeof *fields)) {
            ct_give_entry(CT_TOTALS, cell->entry);
        }
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
                ct_close_cell(cell);
            }
            cell = next;
        }
    }
}

/* The thread has ended, and now one more of the locks that it held is released. */
void
ct_bury(struct ct_lock *self, struct ct_thread *thread)
{
    struct ct_cell *next;
    for (struct ct_cell *cell = self->cells; cell != NULL; cell = next) {
        next = cell->next_of_lock;
        if (cell->thread == thread) {
            ct_close_cell(cell);
        }
    }
    if (thread->held_count == 0) {
        ct_free_thread(thread);
    }
}

