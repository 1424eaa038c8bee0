/* What a process does for the children that it is about to fork, so that they need not: a nursery, which has live pages
 * for them (`events.layout`), and the time.
 *
 * A nursery is inherited with the mapping, by children of children too; all of them take its pages by one atomic word. A
 * child for which there is no page makes a file.
 */
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* After a nursery could not be made, do not try again for this long. */
#define RETRY_NS 100000000u

static inline _Atomic uint64_t *
head_word(size_t offset)
{
    return (_Atomic uint64_t *)(ct.births + offset);
}

/* Nurseries -------------------------------------------------------------------------------------------------------- */

static size_t
births_size(uint64_t pages)
{
    return (size_t)(1 + pages) * CT_PAGE;
}

void
ct_leave_births(void)
{
    uint8_t *live = (uint8_t *)ct.live;
    size_t size = births_size(ct.births_pages);
    if (ct.births != NULL && !(live >= ct.births && live < ct.births + size)) { /* else its own page is in there */
        munmap(ct.births, size);
    }
    ct.births = NULL;
}

/* The session is on, and what waits to be read is below its cap. */
static bool
may_make_births(void)
{
    uint32_t on;
    uint64_t undrained;
    memcpy(&on, ct.control + CT_CONTROL_ON_OFFSET, sizeof on);
    memcpy(&undrained, ct.control + CT_CONTROL_UNDRAINED_OFFSET, sizeof undrained);
    return on && undrained <= ct.cap_session;
}

static uint64_t
pages_of_next(void)
{
    uint64_t pages = CT_FIRST_BIRTHS;
    for (uint32_t i = 0; i < ct.births_made && pages < CT_LARGEST_BIRTHS; i++) {
        pages *= 4;
    }
    return pages < CT_LARGEST_BIRTHS ? pages : CT_LARGEST_BIRTHS;
}

static bool
make_births(void)
{
    char path[CT_PATH_ROOM];
    uint64_t pages = pages_of_next(), seed = ct_new_nonce();
    snprintf(path, sizeof path, "%s/%016llx.%u.births", ct.folder, (unsigned long long)ct.nonce, ct.births_made);
    uint8_t *births = ct_create_mapped(path, births_size(pages));
    if (births == NULL) {
        return false;
    }
    uint32_t versions[2] = {CT_SCHEMA_VERSION, CT_ABI_VERSION};
    uint64_t words[3] = {ct.nonce, pages, seed};
    uint64_t clock = ct.births == NULL ? 0 : atomic_load(head_word(CT_BIRTHS_CLOCK_OFFSET));
    memcpy(births + 8, versions, sizeof versions);
    memcpy(births + 16, words, sizeof words);
    ct_leave_births();
    ct.births = births;
    ct.births_pages = pages;
    ct.births_made++;
    atomic_store(head_word(CT_BIRTHS_CLOCK_OFFSET), clock);
    atomic_thread_fence(memory_order_release);
    memcpy(births, CT_BIRTHS_MAGIC, 8);
    return true;
}

static bool
births_are_usable(void)
{
    return ct.births != NULL && atomic_load(head_word(CT_BIRTHS_TAKEN_OFFSET)) < ct.births_pages &&
           !atomic_load(head_word(CT_BIRTHS_CLOSED_OFFSET));
}

/* One to one, so that no two children of a nursery get the same; and 0 for one number of 2^64 only. */
static uint64_t
scrambled(uint64_t number)
{
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9u;
    number = (number ^ number >> 27) * 0x94D049BB133111EBu;
    return number ^ number >> 31;
}

/* It adds before it looks at anything: to read first would be one page fault more. */
uint8_t *
ct_take_birth_page(uint64_t *nonce)
{
    if (ct.births == NULL) {
        return NULL;
    }
    uint64_t number = atomic_fetch_add(head_word(CT_BIRTHS_TAKEN_OFFSET), 1);
    if (number >= ct.births_pages) {
        return NULL;
    }
    uint8_t *page = ct.births + births_size(number);
    if (atomic_load(head_word(CT_BIRTHS_CLOSED_OFFSET))) { /* the collector has perhaps not seen that it was taken */
        memcpy(page, CT_BIRTH_UNUSED, 8);
        return NULL;
    }
    uint64_t seed;
    memcpy(&seed, ct.births + CT_BIRTHS_SEED_OFFSET, sizeof seed);
    *nonce = scrambled(seed + number);
    return page;
}

/* When a child started ----------------------------------------------------------------------------------------------- */

static uint64_t
ticks_since_boot(void)
{
    return ct_clock_of_child(CLOCK_BOOTTIME) / ct.tick_ns;
}

/* Before the fork and now it is the same clock tick: in that tick it started. (A child may be another's who did not come by
 * ct_before_fork: then that was only longer ago.) Else its stat says it, which takes as long as all the rest; and it is
 * asked until it has agreed with the clock once, for it is by that number that the collector will know this process. */
uint64_t
ct_start_ticks_of_child(void)
{
    bool same_tick = ct.fork_ticks != 0 && ct.fork_ticks == ticks_since_boot();
    if (same_tick && ct.births != NULL && atomic_load(head_word(CT_BIRTHS_CLOCK_OFFSET))) {
        return ct.fork_ticks;
    }
    uint64_t ticks = ct_start_ticks();
    if (same_tick && ct.births != NULL && ticks == ct.fork_ticks) {
        atomic_store(head_word(CT_BIRTHS_CLOCK_OFFSET), 1);
    }
    return ticks;
}

void
ct_before_fork(void)
{
    if (!ct_recording()) {
        return;
    }
    if (!births_are_usable() && ct_now() >= ct.no_births_until) {
        if (!may_make_births() || !make_births()) {
            ct.no_births_until = ct_now() + RETRY_NS;
        }
    }
    if (ct.tick_ns == 0) {
        ct.tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    }
    ct.fork_ticks = ticks_since_boot();
}
