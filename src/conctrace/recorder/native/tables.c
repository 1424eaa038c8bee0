/* Tables of fixed-size entries in the shared mapping: what must survive a kill without being a record.
 *
 * Entries live in chunk files that double in size; a freed entry is used again.
 */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS_MAX = 64 };

struct table {
    const char *name;
    size_t entry_size;
    uint32_t chunks;
    uint8_t **unused; /* a stack of free entries */
    size_t unused_count, unused_room;
};

static struct table tables[CT_TABLES] = {
    [CT_THREADS] = {.name = "threads", .entry_size = CT_THREAD_ENTRY_SIZE},
    [CT_TOTALS] = {.name = "totals", .entry_size = CT_TOTALS_ENTRY_SIZE},
    [CT_OBJECTS] = {.name = "objects", .entry_size = CT_OBJECT_ENTRY_SIZE},
};

void
ct_forget_tables(void)
{
    for (int i = 0; i < CT_TABLES; i++) {
        if (tables[i].chunks > 0) { /* a store would copy the page in a forked child */
            tables[i].chunks = 0;
            tables[i].unused_count = 0;
        }
    }
}

static bool
add_chunk(struct table *table)
{
    if (table->chunks >= CHUNKS_MAX) {
        return false;
    }
    size_t size = (size_t)CT_FIRST_CHUNK_SIZE << (table->chunks < 16 ? table->chunks : 16);
    if (size > CT_LARGEST_CHUNK_SIZE) {
        size = CT_LARGEST_CHUNK_SIZE;
    }
    size_t entries = size / table->entry_size;
    /* Every entry that is in use may come back. */
    size_t room = table->unused_room + entries;
    uint8_t **unused = realloc(table->unused, room * sizeof *unused);
    if (unused == NULL) {
        return false;
    }
    table->unused = unused;
    char path[CT_PATH_ROOM];
    snprintf(path, sizeof path, "%s/%016llx.%s.%u", ct.folder, (unsigned long long)ct.nonce, table->name, table->chunks);
    uint8_t *chunk = ct_create_mapped(path, size);
    if (chunk == NULL) {
        return false;
    }
    table->unused_room = room;
    table->chunks++;
    for (size_t i = entries; i-- > 0;) {
        unused[table->unused_count++] = chunk + i * table->entry_size;
    }
    return true;
}

uint8_t *
ct_take_entry(enum ct_table which)
{
    struct table *table = &tables[which];
    if (table->unused_count == 0 && !add_chunk(table)) {
        return NULL;
    }
    return table->unused[--table->unused_count];
}

void
ct_give_entry(enum ct_table which, uint8_t *entry)
{
    struct table *table = &tables[which];
    memset(entry, 0, table->entry_size);
    table->unused[table->unused_count++] = entry;
}
