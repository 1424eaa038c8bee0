/* What the recorder knows of each thread of its image; what must survive a kill is in the thread's table entry. */
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* CPU time and run-queue delay are read at blocking edges, not again within this time. */
#define READING_INTERVAL_NS 5000000u

__thread struct ct_thread *ct_this_thread;
__thread uint32_t ct_first_in;
/* The interpreter's number of the thread state whose locals have gone, in this thread; 0: none. */
static __thread uint64_t without_locals;

static const char capsule_name[] = "conctrace";
static PyObject *capsule_key; /* the same, interned */

/* The end ------------------------------------------------------------------------------------------------------------- */

static void
record_end(struct ct_thread *thread)
{
    if (thread->thing >= 0) {
        ct_store(&(struct ct_record){
            .kind = CT_KIND_THREAD_END, .time = ct_now(), .thread = thread->index, .object = (uint32_t)thread->thing});
        thread->thing = -1;
    }
}

void
ct_free_thread(struct ct_thread *thread)
{
    if (thread->entry != NULL && thread->epoch == ct.epoch && ct_recording()) {
        ct_give_entry(CT_THREADS, thread->entry);
    }
    Py_XDECREF(thread->name);
    free(thread->waits);
    free(thread->held);
    free(thread->cells);
    free(thread);
}

/* The interpreter lets go of a thread's dict, in that very thread: it has ended; or this is a forked child, which has it no
 * more. */
static void
thread_gone(PyObject *capsule)
{
    uint32_t epoch = (uint32_t)(uintptr_t)PyCapsule_GetContext(capsule);
    if (!ct_recording() || epoch != ct.epoch) {
        return; /* its state is an earlier image's */
    }
    struct ct_thread *thread = PyCapsule_GetPointer(capsule, capsule_name);
    if (thread->index == 0) {
        return; /* the interpreter finalizes */
    }
    record_end(thread);
    if (thread != ct_this_thread && ct_is_finalizing()) {
        return; /* a daemon thread: it may be in a wait of ours, without the GIL, and get the lock yet */
    }
    ct_close_cells(thread);
    if (thread == ct_this_thread) {
        ct_this_thread = NULL;
        without_locals = PyThreadState_GetID(PyThreadState_Get());
    }
    if (thread->held_count > 0) {
        thread->gone = true; /* whoever releases the last one frees it */
        return;
    }
    ct_free_thread(thread);
}

/* The beginning ---------------------------------------------------------------------------------------------------------- */

/* Have the interpreter say when the thread's locals go. */
static int
watch_end(struct ct_thread *thread)
{
    PyObject *locals = PyThreadState_GetDict();
    PyObject *capsule = PyCapsule_New(thread, capsule_name, thread_gone);
    if (capsule_key == NULL) {
        capsule_key = PyUnicode_InternFromString(capsule_name);
    }
    if (locals == NULL || capsule == NULL || capsule_key == NULL) {
        Py_XDECREF(capsule);
        return -1;
    }
    int failed = PyDict_SetItem(locals, capsule_key, capsule);
    if (!failed) { /* until then it says nothing when it goes */
        PyCapsule_SetContext(capsule, (void *)(uintptr_t)thread->epoch);
    }
    Py_DECREF(capsule);
    return failed;
}

static void
define_thread(struct ct_thread *thread, PyObject *name, bool daemon)
{
    char native[CT_DIGITS], object[CT_DIGITS];
    PyObject *owner;
    struct ct_text fields[4];
    Py_XINCREF(name);
    Py_XSETREF(thread->name, name);
    thread->daemon = daemon;
    fields[0] = name == NULL ? (struct ct_text){"", 0} : ct_utf8(name, &owner);
    fields[1] = ct_digits(native, (uint64_t)syscall(SYS_gettid));
    fields[2] = (struct ct_text){daemon ? "1" : "0", 1};
    /* Of one whose end has been recorded it is -1. */
    fields[3] = thread->thing < 0 ? (struct ct_text){"-1", 2} : ct_digits(object, (uint64_t)thread->thing);
    thread->defined = ct_define(CT_DEFINE_THREAD, thread->index + 1, fields, 4);
    if (name != NULL) {
        Py_XDECREF(owner);
    }
}

struct ct_thread *
ct_thread_begins(PyObject *name, bool daemon, uint32_t thing, uint8_t outcome)
{
    PyObject *kind, *value, *trace;
    struct ct_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        return NULL;
    }
    thread->epoch = ct.epoch;
    bool first = ct_first_in == ct.epoch;
    thread->index = first ? 0 : ct.next_thread++;
    ct_first_in = 0;
    thread->thing = thing;
    ct_this_thread = thread;
    PyErr_Fetch(&kind, &value, &trace);
    if (watch_end(thread)) {
        PyErr_Clear(); /* its end will not be seen */
    }
    define_thread(thread, name, daemon);
    PyErr_Restore(kind, value, trace);
    ct_store(&(struct ct_record){
        .kind = CT_KIND_THREAD_BEGIN, .time = thread->index ? ct_now() : ct.born, .thread = thread->index, .object = thing,
        .outcome = outcome});
    return thread;
}

/* Name and daemon flag of the current thread, as far as `threading` knows it. By the attributes that Thread.__init__ sets, not by
 * properties that a class of the program may have made its own. Returns a new reference or NULL, and no exception. */
static PyObject *
thread_name(bool *daemon)
{
    PyObject *name = NULL, *flag = NULL, *active = NULL, *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *threading = modules == NULL ? NULL : PyDict_GetItemString(modules, "threading");
    if (threading != NULL && ident != NULL) {
        active = PyObject_GetAttrString(threading, "_active");
    }
    PyObject *thread = active != NULL && PyDict_Check(active) ? PyDict_GetItemWithError(active, ident) : NULL;
    if (thread != NULL) {
        Py_INCREF(thread);
        PyObject *attribute = PyUnicode_FromString("_name");
        name = attribute == NULL ? NULL : PyObject_GenericGetAttr(thread, attribute);
        Py_XDECREF(attribute);
        attribute = PyUnicode_FromString("_daemonic");
        flag = attribute == NULL ? NULL : PyObject_GenericGetAttr(thread, attribute);
        Py_XDECREF(attribute);
        Py_DECREF(thread);
    }
    *daemon = flag == Py_True;
    Py_XDECREF(flag);
    Py_XDECREF(active);
    Py_XDECREF(ident);
    PyErr_Clear();
    return name;
}

struct ct_thread *
ct_meet(void)
{
    PyObject *kind, *value, *trace;
    bool daemon = false;
    if (!ct_alive()) {
        return NULL;
    }
    if (ct_this_thread != NULL && ct_this_thread->epoch == ct.epoch) {
        return ct_this_thread;
    }
    if (without_locals != 0 && without_locals == PyThreadState_GetID(PyThreadState_Get())) {
        return NULL; /* others of its locals are going, their finalizers run: nothing would say that it has ended once more */
    }
    PyErr_Fetch(&kind, &value, &trace);
    bool first = ct_first_in == ct.epoch;
    PyObject *name = thread_name(&daemon);
    struct ct_thread *thread = ct_thread_begins(name, daemon, 0, first ? 0 : CT_OUTCOME_NOT_FROM_START);
    Py_XDECREF(name);
    PyErr_Restore(kind, value, trace);
    return thread;
}

void
ct_thread_ends(PyObject *name, bool daemon)
{
    struct ct_thread *thread = ct_here();
    if (thread == NULL) {
        return;
    }
    bool same = thread->name == name;
    if (!same && thread->name != NULL && PyUnicode_Check(thread->name) && PyUnicode_Check(name)) {
        same = PyUnicode_Compare(thread->name, name) == 0;
    }
    if (!same || !thread->defined) {
        define_thread(thread, name, daemon);
    }
    record_end(thread);
}

/* The table entry ----------------------------------------------------------------------------------------------------------- */

/* At the first wait or hold: most forked children have neither. */
static void
take_entry(struct ct_thread *thread)
{
    thread->entry_taken = true;
    thread->entry = ct_take_entry(CT_THREADS);
    if (thread->entry != NULL) {
        uint32_t key[2] = {thread->index + 1, (uint32_t)syscall(SYS_gettid)};
        memcpy(thread->entry, key, sizeof key);
    }
}

/* A half whose first and last word do not agree is not read: first one of them, then what lies between, then the other. */
static void
show_wait(struct ct_thread *thread, const struct ct_wait *wait)
{
    if (!thread->entry_taken) {
        take_entry(thread);
    }
    if (thread->entry == NULL) {
        return;
    }
    uint64_t seq = ++thread->wait_seq;
    uint8_t *half = thread->entry + (seq & 1 ? CT_THREAD_WAIT_OFFSETS_1 : CT_THREAD_WAIT_OFFSETS_0);
    volatile uint64_t *words = (uint64_t *)half;
    words[0] = seq;
    atomic_thread_fence(memory_order_release);
    words[1] = wait->since;
    words[2] = wait->other;
    words[3] = (uint64_t)wait->value;
    words[4] = wait->thing | (uint64_t)wait->stack << 32;
    words[5] = wait->kind;
    atomic_thread_fence(memory_order_release);
    words[6] = seq;
}

void
ct_define_if_not_yet(struct ct_thread *thread)
{
    if (!thread->defined) {
        define_thread(thread, thread->name, thread->daemon);
    }
}

bool
ct_wait_begins(struct ct_thread *thread, const struct ct_wait *wait)
{
    ct_define_if_not_yet(thread);
    if (thread->waits_count == thread->waits_room) {
        uint32_t room = thread->waits_room ? 2 * thread->waits_room : 4;
        struct ct_wait *more = realloc(thread->waits, room * sizeof *more);
        if (more == NULL) {
            return false;
        }
        thread->waits = more;
        thread->waits_room = room;
    }
    thread->waits[thread->waits_count++] = *wait;
    show_wait(thread, wait);
    return true;
}

/* Back to the wait that this one interrupted (in a signal's handler), or to none. */
struct ct_wait
ct_wait_ends(struct ct_thread *thread)
{
    static const struct ct_wait none;
    struct ct_wait ended = thread->waits[--thread->waits_count];
    show_wait(thread, thread->waits_count ? &thread->waits[thread->waits_count - 1] : &none);
    return ended;
}

/* Held locks ----------------------------------------------------------------------------------------------------------------- */

static void
show_held(struct ct_thread *thread, uint32_t at, uint64_t since, uint64_t word)
{
    if (thread->entry == NULL || at >= CT_THREAD_HELD_MAX) {
        return;
    }
    volatile uint64_t *pair = (uint64_t *)(thread->entry + CT_THREAD_HELD_OFFSET) + 2 * at;
    pair[2] = 0;
    pair[3] = 0;
    pair[0] = since;
    pair[1] = word;
}

void
ct_push_held_slow(struct ct_thread *thread, struct ct_lock *lock)
{
    if (!thread->entry_taken) {
        take_entry(thread);
    }
    if (thread->held_count == thread->held_room) {
        uint32_t room = thread->held_room ? 2 * thread->held_room : 8;
        struct ct_lock **more = realloc(thread->held, room * sizeof *more);
        if (more == NULL) {
            ct_count(CT_LIVE_HELD_DROPPED, 1);
            return;
        }
        thread->held = more;
        thread->held_room = room;
    }
    thread->held[thread->held_count++] = lock;
    if (thread->held_count > CT_THREAD_HELD_MAX || thread->entry == NULL) {
        ct_count(CT_LIVE_HELD_DROPPED, 1);
    }
    show_held(thread, thread->held_count - 1, ct_held_since(lock), ct_held_word(lock));
}

/* A lock that is not the last one taken was let go, or is gone: write the whole stack anew. */
void
ct_drop_held(struct ct_thread *thread, struct ct_lock *lock)
{
    uint32_t at = thread->held_count;
    while (at > 0 && thread->held[at - 1] != lock) {
        at--;
    }
    if (at == 0) {
        return;
    }
    thread->held_count--;
    memmove(thread->held + at - 1, thread->held + at, (thread->held_count - at + 1) * sizeof *thread->held);
    if (thread->held_count == 0) {
        show_held(thread, 0, 0, 0);
    }
    for (at--; at < thread->held_count; at++) {
        show_held(thread, at, ct_held_since(thread->held[at]), ct_held_word(thread->held[at]));
    }
    if (thread->held_count > 0 && at == thread->held_count) {
        show_held(thread, at, 0, 0);
    }
}

/* CPU time ------------------------------------------------------------------------------------------------------------------- */

void
ct_reading(struct ct_thread *thread, uint64_t now, struct ct_record *record)
{
    if (now - thread->last_reading >= READING_INTERVAL_NS) {
        thread->last_reading = now;
        record->cpu = ct_clock(CLOCK_THREAD_CPUTIME_ID);
        record->runq = ct_run_queue_ns();
    }
}
