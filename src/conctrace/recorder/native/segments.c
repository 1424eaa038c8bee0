/* The writer's end of the segment protocol (`events.layout`): reserve slots, fill them, kind last. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* After a segment could not be made, do not try again for this long. */
#define RETRY_NS 100000000u

/* Segments of this image that the collector has perhaps not taken yet, oldest first. */
struct waiting {
    uint32_t seq;
    uint32_t size;
};
static struct waiting *waiting;
static size_t waiting_count, waiting_room;
static uint32_t waiting_epoch;

static void
segment_path(char path[CT_PATH_ROOM], uint32_t seq)
{
    snprintf(path, CT_PATH_ROOM, "%s/%016llx.%06u.seg", ct.folder, (unsigned long long)ct.nonce, seq);
}

static size_t
segment_size(uint32_t seq, size_t least)
{
    size_t size = (size_t)CT_FIRST_SEGMENT_SIZE << (seq < 16 ? seq : 16);
    if (size > CT_LARGEST_SEGMENT_SIZE) {
        size = CT_LARGEST_SEGMENT_SIZE;
    }
    while (size < least) {
        size *= 2;
    }
    return size;
}

static uint64_t
undrained(void)
{
    char path[CT_PATH_ROOM];
    size_t gone = 0;
    if (waiting_epoch != ct.epoch) {
        waiting_count = 0;
        waiting_epoch = ct.epoch;
    }
    for (; gone < waiting_count; gone++) {
        segment_path(path, waiting[gone].seq);
        if (access(path, F_OK) == 0) {
            break;
        }
    }
    if (gone > 0) {
        waiting_count -= gone;
        memmove(waiting, waiting + gone, waiting_count * sizeof *waiting);
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < waiting_count; i++) {
        bytes += waiting[i].size;
    }
    return bytes;
}

static void
note_waiting(uint32_t seq, size_t size)
{
    if (waiting_count == waiting_room) {
        size_t room = waiting_room ? 2 * waiting_room : 64;
        struct waiting *more = realloc(waiting, room * sizeof *more);
        if (more == NULL) {
            return; /* this one is not seen by the cap */
        }
        waiting = more;
        waiting_room = room;
    }
    waiting[waiting_count++] = (struct waiting){seq, (uint32_t)size};
}

/* At a segment switch: is the session on, does anyone read, and is what waits to be read below the caps? */
static bool
may_grow(void)
{
    uint64_t now = ct_now();
    if (now < ct.no_room_until) {
        return false;
    }
    uint32_t on;
    uint64_t in_session;
    memcpy(&on, ct.control + CT_CONTROL_ON_OFFSET, sizeof on);
    memcpy(&in_session, ct.control + CT_CONTROL_UNDRAINED_OFFSET, sizeof in_session);
    if (!on) {
        ct_switch_off("the session is over");
        return false;
    }
    bool unknown;
    const char *gone = ct_no_collector(&unknown);
    if (gone != NULL) {
        ct_switch_off(gone);
        return false;
    }
    if (!unknown && undrained() < ct.cap_process && in_session <= ct.cap_session) {
        return true;
    }
    ct.no_room_until = now + RETRY_NS;
    return false;
}

/* Write the new file's zeros ourselves: its pages are then there, in pieces as large as the file system likes, and are mapped by the
 * piece. Touched one by one, on ext4, they cost five times as much. Not for the first segment, of which most images use
 * little. Nothing depends on its success. */
static void
bring_in(const char *path, size_t size)
{
    static char zeros[CT_LARGEST_SEGMENT_SIZE]; /* never written to; not const, which would put it all into the file */
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return;
    }
    for (size_t at = 0; at < size; at += sizeof zeros) {
        size_t part = size - at < sizeof zeros ? size - at : sizeof zeros;
        if (pwrite(file, zeros, part, (off_t)at) != (ssize_t)part) {
            break;
        }
    }
    close(file);
}

static int
next_segment(uint32_t slots)
{
    struct ct_segment *segment = &ct.segment;
    char path[CT_PATH_ROOM];
    uint32_t seq = segment->slots == NULL ? 0 : segment->seq + 1;
    /* The header, and in the first segment the image's birth: an image that records nothing has its live page only. */
    size_t size = segment_size(seq, ((size_t)slots + (seq == 0 ? 2 : 1)) * sizeof(struct ct_record));
    segment_path(path, seq);
    struct ct_record *mapping = ct_create_mapped(path, size);
    if (mapping == NULL) {
        return -1;
    }
    if (seq > 0) {
        bring_in(path, size);
    }
    uint8_t *at = (uint8_t *)mapping;
    uint64_t words[3] = {ct.nonce, seq, size};
    uint32_t versions[2] = {CT_SCHEMA_VERSION, CT_ABI_VERSION};
    memcpy(at, CT_SEGMENT_MAGIC, 8);
    memcpy(at + 8, versions, sizeof versions);
    memcpy(at + 16, words, sizeof words);
    if (segment->slots != NULL) {
        ct_count(CT_LIVE_RECORDS, segment->limit - 1);
        munmap(segment->slots, segment->size);
    }
    segment->slots = mapping;
    segment->limit = size / sizeof(struct ct_record);
    segment->size = size;
    segment->seq = seq;
    segment->next = 1;
    note_waiting(seq, size);
    if (seq == 0) {
        ct_store(&(struct ct_record){
            .kind = CT_KIND_PROCESS_BORN, .time = ct.born, .other = ct.parent, .value = (int64_t)getpid()});
    }
    return 0;
}

struct ct_record *
ct_reserve_elsewhere(uint32_t slots)
{
    struct ct_segment *segment = &ct.segment;
    if (!ct_alive()) {
        return NULL;
    }
    /* The first record of a forked child's image has just made its segment: use it. */
    if (segment->slots != NULL && segment->next + slots <= segment->limit) {
        return ct_reserve(slots);
    }
    if (may_grow()) {
        if (next_segment(slots) == 0) {
            return ct_reserve(slots);
        }
        ct.no_room_until = ct_now() + RETRY_NS;
    }
    if (segment->slots != NULL && segment->next > segment->limit) {
        segment->next = segment->limit;
    }
    ct_count(CT_LIVE_DROPPED, slots);
    return NULL;
}

/* Definitions ----------------------------------------------------------------------------------------------------- */

/* Bytes one behind the other, cut into the payloads of MORE slots. */
struct payload {
    struct ct_record *slot;
    size_t used;
};

static void
put(struct payload *to, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        if (to->used == CT_MORE_PAYLOAD) {
            to->slot++;
            to->used = 0;
        }
        size_t part = CT_MORE_PAYLOAD - to->used;
        part = part < size ? part : size;
        memcpy((char *)to->slot + to->used, from, part);
        to->used += part;
        from += part;
        size -= part;
    }
}

bool
ct_define(uint8_t definition, uint32_t number, const struct ct_text *fields, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += 4 + fields[i].size;
    }
    uint32_t more = (uint32_t)((size + CT_MORE_PAYLOAD - 1) / CT_MORE_PAYLOAD);
    struct ct_record *slot = ct_alive() ? ct_reserve(1 + more) : NULL;
    if (slot == NULL) {
        return false;
    }
    struct payload payload = {slot + 1, 0};
    for (size_t i = 0; i < count; i++) {
        uint32_t length = (uint32_t)fields[i].size;
        put(&payload, &length, sizeof length);
        put(&payload, fields[i].bytes, fields[i].size);
    }
    for (uint32_t i = 1; i <= more; i++) {
        ct_finish(slot + i, CT_KIND_MORE);
    }
    slot->time = ct_now();
    slot->value = (int64_t)size;
    slot->object = number;
    slot->core = CT_NO_CORE;
    slot->outcome = definition;
    ct_finish(slot, CT_KIND_DEFINE);
    return true;
}

bool
ct_define_numbers(uint8_t definition, uint32_t number, const uint64_t *fields, size_t count)
{
    enum { MOST = 16 };
    char digits[MOST][CT_DIGITS];
    struct ct_text texts[MOST];
    assert(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        texts[i] = ct_digits(digits[i], fields[i]);
    }
    return ct_define(definition, number, texts, count);
}
