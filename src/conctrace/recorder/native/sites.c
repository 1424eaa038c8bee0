/* Interned places: call sites and stacks become numbers, their texts are recorded once.
 *
 * A site's key is (code object, index of the instruction): cheap to take at every lock operation. It is valid only while
 * the code object lives, so the table of codes keeps a reference to each that has a site (2,000 exec'd functions shared some
 * hundred addresses when nobody did).
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

static const char *own_folder, *stdlib_folder;
static PyObject *kept_folders; /* what the two point into */

/* A hash table from two words to a value; open addressing, nothing is ever removed. */
struct entry {
    uint64_t key;
    int64_t more;
    uint64_t value; /* 0: free */
};

struct map {
    struct entry *entries;
    size_t count, mask;
};

static struct map codes;  /* code object, 0 → CT_OWN | … | KNOWN; the reference is kept */
static struct map sites;  /* code object, lasti → number */
static struct map stacks; /* hash of the numbers, position in that hash's row → index into `chains` + 1 */

struct chain {
    uint32_t number, count;
    uint32_t sites[CT_STACK_DEPTH];
};
static struct chain *chains;
static size_t chains_count, chains_room;

enum { KNOWN = 0x100 };

static size_t
mixed(uint64_t key, int64_t more)
{
    uint64_t hash = (key >> 4) * 0x9E3779B97F4A7C15u + (uint64_t)more * 0xC2B2AE3D27D4EB4Fu;
    return (size_t)(hash ^ (hash >> 29));
}

static struct entry *
find(const struct map *map, uint64_t key, int64_t more)
{
    size_t at = mixed(key, more) & map->mask;
    while (map->entries[at].value != 0 && (map->entries[at].key != key || map->entries[at].more != more)) {
        at = (at + 1) & map->mask;
    }
    return &map->entries[at];
}

static uint64_t
look_up(const struct map *map, uint64_t key, int64_t more)
{
    return map->entries == NULL ? 0 : find(map, key, more)->value;
}

static bool
insert(struct map *map, uint64_t key, int64_t more, uint64_t value)
{
    if (map->entries == NULL || 2 * map->count > map->mask) {
        size_t size = map->entries == NULL ? 256 : 2 * (map->mask + 1);
        struct map bigger = {calloc(size, sizeof(struct entry)), map->count, size - 1};
        if (bigger.entries == NULL) {
            return false;
        }
        for (size_t i = 0; map->entries != NULL && i <= map->mask; i++) {
            struct entry *old = &map->entries[i];
            if (old->value != 0) {
                *find(&bigger, old->key, old->more) = *old;
            }
        }
        free(map->entries);
        *map = bigger;
    }
    *find(map, key, more) = (struct entry){key, more, value};
    map->count++;
    return true;
}

static void
clear(struct map *map)
{
    free(map->entries);
    *map = (struct map){0};
}

int
ct_sites_init(PyObject *stdlib)
{
    PyObject *own = PyObject_GetAttrString(stdlib, "OWN_FOLDER");
    PyObject *library = PyObject_GetAttrString(stdlib, "STDLIB_FOLDER");
    if (own == NULL || library == NULL) {
        return -1;
    }
    kept_folders = PyTuple_Pack(2, own, library);
    own_folder = PyUnicode_AsUTF8(own);
    stdlib_folder = PyUnicode_AsUTF8(library);
    Py_DECREF(own);
    Py_DECREF(library);
    return kept_folders == NULL || own_folder == NULL || stdlib_folder == NULL ? -1 : 0;
}

void
ct_forget_sites(void)
{
    struct map old = codes;
    codes = (struct map){0};
    clear(&sites);
    clear(&stacks);
    chains_count = 0;
    for (size_t i = 0; old.entries != NULL && i <= old.mask; i++) {
        if (old.entries[i].value != 0) {
            Py_DECREF((PyObject *)(uintptr_t)old.entries[i].key);
        }
    }
    free(old.entries);
}

static bool
starts_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* The same rule as `_stdlib.is_library_file`. */
static int
file_flags(PyObject *filename)
{
    const char *name = PyUnicode_Check(filename) ? PyUnicode_AsUTF8(filename) : NULL;
    if (name == NULL) { /* lone surrogates: nobody's but the program's */
        PyErr_Clear();
        return 0;
    }
    if (starts_with(name, own_folder)) {
        return CT_OWN | CT_LIBRARY;
    }
    if (starts_with(name, "<frozen ")) {
        return CT_LIBRARY;
    }
    if (starts_with(name, stdlib_folder) && strstr(name, "/site-packages/") == NULL &&
        strstr(name, "/dist-packages/") == NULL) {
        return CT_LIBRARY | (strcmp(name + strlen(stdlib_folder), "queue.py") == 0 ? CT_QUEUE : 0);
    }
    return 0;
}

int
ct_code_flags(PyCodeObject *code)
{
    uint64_t known = look_up(&codes, (uintptr_t)code, 0);
    if (known != 0) {
        return (int)(known & ~(uint64_t)KNOWN);
    }
    int flags = file_flags(code->co_filename);
    if (codes.count < CT_STACKS_MAX && insert(&codes, (uintptr_t)code, 0, (uint64_t)flags | KNOWN)) {
        Py_INCREF(code);
    }
    return flags;
}

bool
ct_is_library(PyFrameObject *frame)
{
    if (frame == NULL) {
        return false;
    }
    PyCodeObject *code = PyFrame_GetCode(frame);
    int flags = ct_code_flags(code);
    Py_DECREF(code);
    return flags & CT_LIBRARY;
}

/* Of a number of up to 64 bits. Not by the number's own str, which looks for signals. */
static PyObject *
digits(PyObject *number)
{
    char text[24];
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    snprintf(text, sizeof text, "%lld", value);
    if (overflow > 0) {
        snprintf(text, sizeof text, "%llu", PyLong_AsUnsignedLongLong(number));
    }
    return overflow < 0 || PyErr_Occurred() ? NULL : PyBytes_FromString(text);
}

/* UTF-8 of a text, digits of a number, with a NUL behind; names come from the program and may hold lone surrogates. Not by PyObject_Str, which runs
 * the handlers of signals that have come in: what they raise is the program's, and must not end here. */
struct ct_text
ct_utf8(PyObject *text, PyObject **owner)
{
    if (PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text)) {
        *owner = Py_NewRef(text);
        return (struct ct_text){(const char *)PyUnicode_1BYTE_DATA(text), (size_t)PyUnicode_GET_LENGTH(text)};
    }
    *owner = PyUnicode_Check(text) ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace")
             : PyLong_Check(text)  ? digits(text)
                                   : NULL;
    if (*owner == NULL) {
        PyErr_Clear();
        return (struct ct_text){"?", 1};
    }
    return (struct ct_text){PyBytes_AS_STRING(*owner), (size_t)PyBytes_GET_SIZE(*owner)};
}

static uint32_t
new_site(PyFrameObject *frame, PyCodeObject *code, int lasti)
{
    /* The code must be kept: only then is its address a key. */
    ct_code_flags(code);
    if (sites.count >= CT_STACKS_MAX || look_up(&codes, (uintptr_t)code, 0) == 0) {
        ct_count(CT_LIVE_STACKS_DROPPED, 1);
        return 0;
    }
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *function = PyObject_GetAttrString((PyObject *)code, "co_qualname");
#else
    PyObject *function = Py_NewRef(code->co_name);
#endif
    PyObject *owners[2];
    char line[16];
    int length = snprintf(line, sizeof line, "%d", PyFrame_GetLineNumber(frame));
    struct ct_text fields[3];
    fields[0] = ct_utf8(code->co_filename, &owners[0]);
    fields[1] = (struct ct_text){line[0] == '-' ? "0" : line, line[0] == '-' ? 1 : (size_t)length};
    fields[2] = ct_utf8(function == NULL ? Py_None : function, &owners[1]);
    uint32_t number = ct_new_number();
    if (ct_define(CT_DEFINE_SITE, number, fields, 3)) {
        insert(&sites, (uintptr_t)code, lasti, number);
    }
    else {
        number = 0;
    }
    Py_XDECREF(function);
    Py_XDECREF(owners[0]);
    Py_XDECREF(owners[1]);
    return number;
}

uint32_t
ct_site_of(PyFrameObject *frame, PyCodeObject *code, int lasti)
{
    uint32_t number = (uint32_t)look_up(&sites, (uintptr_t)code, lasti);
    return ct_likely(number != 0) ? number : new_site(frame, code, lasti);
}

/* Else a site that has no number may have one the next time: there was no room for its definition. */
bool
ct_sites_are_full(void)
{
    return sites.count >= CT_STACKS_MAX || codes.count >= CT_STACKS_MAX;
}

uint32_t
ct_site(PyFrameObject *frame)
{
    if (frame == NULL) {
        return 0;
    }
    PyCodeObject *code = PyFrame_GetCode(frame);
    uint32_t number = ct_site_of(frame, code, ct_lasti(frame));
    Py_DECREF(code);
    return number;
}

/* Stacks ------------------------------------------------------------------------------------------------------------ */

static uint32_t
new_stack(const struct chain *chain, uint64_t hash, int64_t row)
{
    if (chains_count >= CT_STACKS_MAX) {
        ct_count(CT_LIVE_STACKS_DROPPED, 1);
        return 0;
    }
    if (chains_count == chains_room) {
        size_t room = chains_room ? 2 * chains_room : 64;
        struct chain *more = realloc(chains, room * sizeof *more);
        if (more == NULL) {
            ct_count(CT_LIVE_STACKS_DROPPED, 1);
            return 0;
        }
        chains = more;
        chains_room = room;
    }
    char text[CT_STACK_DEPTH * 11 + 1];
    size_t size = 0;
    for (uint32_t i = 0; i < chain->count; i++) {
        size += (size_t)snprintf(text + size, sizeof text - size, i ? " %u" : "%u", chain->sites[i]);
    }
    uint32_t number = ct_new_number();
    if (!ct_define(CT_DEFINE_STACK, number, &(struct ct_text){text, size}, 1)) {
        return 0;
    }
    chains[chains_count] = *chain;
    chains[chains_count].number = number;
    if (insert(&stacks, hash, row, chains_count + 1)) {
        chains_count++;
    }
    return number;
}

static uint32_t
stack_number(const struct chain *chain)
{
    uint64_t hash = chain->count;
    for (uint32_t i = 0; i < chain->count; i++) {
        hash = (hash ^ chain->sites[i]) * 0x100000001B3u;
    }
    hash <<= 4; /* `mixed` leaves the lowest four bits of addresses out */
    int64_t row = 0;
    for (uint64_t index; (index = look_up(&stacks, hash, row)) != 0; row++) {
        const struct chain *known = &chains[index - 1];
        if (known->count == chain->count && !memcmp(known->sites, chain->sites, chain->count * sizeof *chain->sites)) {
            return known->number;
        }
    }
    return new_stack(chain, hash, row);
}

uint32_t
ct_stack(PyFrameObject *frame)
{
    struct chain chain = {0};
    Py_XINCREF(frame);
    while (frame != NULL && chain.count < CT_STACK_DEPTH) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        if (!(ct_code_flags(code) & CT_OWN)) {
            chain.sites[chain.count++] = ct_site_of(frame, code, ct_lasti(frame));
        }
        Py_DECREF(code);
        PyFrameObject *outer = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = outer;
    }
    PyErr_Clear(); /* no memory for an outer frame: the stack ends there */
    Py_XDECREF(frame);
    return chain.count == 0 ? 0 : stack_number(&chain);
}
