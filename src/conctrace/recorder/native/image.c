/* One process *image* at a time: started, found to be a forked child, switched off.
 *
 * A word on a page that every kind of fork wipes (not vfork, which shares memory and runs no Python) tells a child, at
 * the next thing it records, that it is another image now; it then makes files of its own. Nothing is done in the child
 * before that, and nothing of the parent's mappings is touched by it.
 */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Until the first session begins, and between two. */
static _Atomic uint32_t never_on = CT_OFF;

struct ct_state ct = {.wipe = &never_on};

static void
set_word(uint32_t state)
{
    atomic_store(ct.wipe, state);
}

/* Thread states, cells and entries of an image that is over stay where they are: they are found to be of another epoch,
 * and freeing them in a child would copy pages to no end. */
static int
start_image(uint64_t parent, uint32_t inherited_below)
{
    ct.images++;
    if (ct_live_page(parent, inherited_below)) {
        ct.images--;
        return -1;
    }
    ct.epoch++;
    if (ct.segment.slots != NULL) {
        munmap(ct.segment.slots, ct.segment.size);
    }
    memset(&ct.segment, 0, sizeof ct.segment);
    ct.no_room_until = 0;
    ct.no_births_until = 0;
    ct.births_made = 0;
    ct.next_thread = 1;
    ct_first_in = ct.epoch;
    ct_forget_tables();
    ct.parent = parent;
    set_word(CT_RECORDING);
    return 0;
}

int
ct_start(const char *folder, uint32_t role, const char *command, size_t command_size)
{
    if (strlen(folder) >= sizeof ct.folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    static _Atomic uint32_t *word;
    if (word == NULL && (word = ct_wiped_on_fork_word()) == NULL) {
        return -1;
    }
    char *copy = malloc(command_size + 1);
    if (copy == NULL) {
        return -1;
    }
    memcpy(copy, command, command_size);
    free(ct.command);
    ct.command = copy;
    ct.command_size = command_size;
    atomic_store(word, CT_OFF);
    ct.wipe = word;
    ct_leave_births();
    if (ct.control != NULL) {
        munmap(ct.control, CT_PAGE);
        ct.control = NULL;
    }
    if (ct_open_control(folder)) {
        return -1;
    }
    strcpy(ct.folder, folder);
    ct.role = role;
    ct.session++;
    ct.images = 0;
    ct.next_number = 1;
    ct.budget_until = ct.detail == CT_DETAIL_BUDGET ? 0 : CT_NEVER;
    ct.budget_left = 0;
    ct.budget_first = ct.detail == CT_DETAIL_BUDGET ? CT_BUDGET_FIRST : ct.detail == CT_DETAIL_ALL ? UINT32_MAX : 0;
    ct_forget_sites();
    if (start_image(0, 1)) {
        munmap(ct.control, CT_PAGE);
        ct.control = NULL;
        return -1;
    }
    return 0;
}

bool
ct_reopen_in_child(void)
{
    set_word(CT_OFF); /* until it is whole; and if it fails (no permission any more, no room) this child is not seen from inside */
    ct.forks++;
    return ct.control != NULL && start_image(ct.nonce, ct.next_number) == 0; /* NULL: a second session could not begin */
}

/* The session is over for this process and for what it forks from now on: no fork wipes the word that says so. */
void
ct_stop(void)
{
    ct_switch_off("");
    ct.wipe = &never_on;
}

void
ct_switch_off(const char *reason)
{
    if (!ct_recording()) {
        return;
    }
    if (ct.live[CT_LIVE_OFF_TIME / 8] == 0) { /* the first reason stays */
        strncpy((char *)ct.live + CT_LIVE_OFF_REASON_0, reason, CT_LIVE_OFF_REASON_1 - 1);
        ct.live[CT_LIVE_OFF_TIME / 8] = ct_now();
    }
    set_word(CT_OFF);
}
