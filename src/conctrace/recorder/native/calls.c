/* What is recorded of calls: of any that a patch tells of, and of the builtin functions that this recorder stands in for.
 *
 * A stand-in calls its original exactly once, with the arguments as they are, and gives back what comes of it. What it does before
 * and after that raises nothing; an exception of the original is put aside meanwhile. Which arguments mean what is said once more
 * by the wrappers in Python, `conctrace.patches`; tests/contracts keeps both to the same.
 */
#include "standins.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Records -------------------------------------------------------------------------------------------------------------- */

/* Of a thread that cannot be told from others any more: it is ending, or there is no memory. */
void
ct_drop(void)
{
    if (ct_recording()) {
        ct_count(CT_LIVE_DROPPED, 1);
    }
}

void
ct_emit(struct ct_record *record)
{
    struct ct_thread *thread = ct_here();
    if (ct_unlikely(thread == NULL)) {
        ct_drop();
        return;
    }
    record->thread = thread->index;
    ct_store(record);
}

void
ct_call(struct ct_record *record, PyFrameObject *frame)
{
    record->duration = ct_now() - record->time;
    if (ct_here() != NULL) { /* it is announced before its stack is defined */
        record->stack = ct_stack(frame);
    }
    ct_emit(record);
}

uint32_t
ct_begin_wait(struct ct_wait *wait, PyFrameObject *frame)
{
    struct ct_thread *thread = ct_here();
    if (thread == NULL) {
        return 0;
    }
    wait->since = ct_now();
    wait->stack = ct_stack(frame);
    return ct_wait_begins(thread, wait) ? ct.epoch : 0;
}

void
ct_end_wait(uint32_t token, uint8_t outcome, const uint64_t *other, const int64_t *value)
{
    uint64_t now = ct_now();
    if (!ct_alive() || token != ct.epoch) {
        return; /* nothing was shown, or this is a child, forked in a signal's handler meanwhile */
    }
    struct ct_thread *thread = ct_here();
    if (thread == NULL || thread->waits_count == 0) {
        return;
    }
    struct ct_wait wait = ct_wait_ends(thread);
    struct ct_record record = {
        .kind = (uint8_t)wait.kind,
        .time = wait.since,
        .duration = now - wait.since,
        .object = wait.thing,
        .stack = wait.stack,
        .outcome = outcome,
        .other = other == NULL ? wait.other : *other,
        .value = value == NULL ? wait.value : *value,
        .thread = thread->index,
    };
    ct_reading(thread, now, &record);
    ct_store(&record);
}

/* An image that has recorded nothing else says it on its live page alone. */
void
ct_exits(uint64_t time, int64_t value, uint8_t outcome)
{
    if (ct.segment.slots != NULL) {
        struct ct_thread *thread = ct_here();
        ct_store(&(struct ct_record){
            .kind = CT_KIND_PROCESS_EXIT, .time = time, .value = value, .outcome = outcome,
            .thread = thread == NULL ? 0 : thread->index});
    }
    ct.live[CT_LIVE_EXIT_VALUE / 8] = (uint64_t)value + 1;
    ct.live[CT_LIVE_ENDED / 8] = time;
}

/* The stand-ins' common part --------------------------------------------------------------------------------------------- */

/* A call as the interpreter hands it on. */
struct call {
    struct ct_stand_in *self;
    PyObject *const *args;
    size_t flags;
    PyObject *names;
};

static PyObject *
original(const struct call *call)
{
    return PyObject_Vectorcall(call->self->original, call->args, call->flags, call->names);
}

static Py_ssize_t
positional(const struct call *call)
{
    return PyVectorcall_NARGS(call->flags);
}

static Py_ssize_t
named(const struct call *call)
{
    return call->names == NULL ? 0 : PyTuple_GET_SIZE(call->names);
}

/* The argument at that place or of that name; NULL: it is not given. */
static PyObject *
argument(const struct call *call, int at, const char *name)
{
    Py_ssize_t count = positional(call);
    if (at < 0) {
        return NULL;
    }
    if (at < count) {
        return call->args[at];
    }
    for (Py_ssize_t i = 0; name != NULL && i < named(call); i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(call->names, i), name) == 0) {
            return call->args[count + i];
        }
    }
    return NULL;
}

/* Of a result's item; -1 when there is no such number. */
static int64_t
number_at(PyObject *tuple, Py_ssize_t at)
{
    PyObject *item = PyTuple_Check(tuple) && at < PyTuple_GET_SIZE(tuple) ? PyTuple_GET_ITEM(tuple, at) : NULL;
    int overflow;
    return item != NULL && PyLong_Check(item) ? PyLong_AsLongLongAndOverflow(item, &overflow) : -1;
}

static uint32_t
name_number(struct ct_stand_in *self)
{
    if (self->session != ct.session) {
        const char *text = self->function->text;
        uint32_t number = ct_new_number();
        if (!ct_define(CT_DEFINE_TEXT, number, &(struct ct_text){text, strlen(text)}, 1)) {
            return 0;
        }
        self->text = number;
        self->session = ct.session;
    }
    return self->text;
}

#define CALL(callable, args, flags, names)                                                                                 \
    &(struct call)                                                                                                         \
    {                                                                                                                      \
        (struct ct_stand_in *)(callable), (args), (flags), (names)                                                         \
    }

/* Forks -------------------------------------------------------------------------------------------------------------------- */

static void
forked(struct ct_stand_in *self, int64_t pid, uint64_t began)
{
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    if (ct_alive()) {
        PyFrameObject *frame = PyEval_GetFrame();
        struct ct_record record = {.kind = CT_KIND_PROCESS_FORK, .time = began, .value = pid};
        record.object = name_number(self);
        record.outcome = ct_is_library(frame) ? CT_OUTCOME_INTERNAL : pid < 0 ? CT_OUTCOME_ERROR : CT_OUTCOME_NO_OUTCOME;
        ct_call(&record, frame);
    }
    PyErr_Restore(kind, value, trace);
}

/* In the child, which announces itself, there is nothing to do: each page that is written to is copied first. */
static PyObject *
fork_(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    uint64_t began = ct_now();
    PyObject *pid = original(CALL(self, args, flags, names));
    int overflow;
    int64_t number = pid != NULL && PyLong_Check(pid) ? PyLong_AsLongLongAndOverflow(pid, &overflow) : -1;
    if (number != 0) {
        forked((struct ct_stand_in *)self, number, began);
    }
    return pid;
}

static PyObject *
forkpty_(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    uint64_t began = ct_now();
    PyObject *result = original(CALL(self, args, flags, names));
    int64_t number = result == NULL ? -1 : number_at(result, 0);
    if (number != 0) {
        forked((struct ct_stand_in *)self, number, began);
    }
    return result;
}

/* The end -------------------------------------------------------------------------------------------------------------------- */

static PyObject *
exit_(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    const struct call *call = CALL(self, args, flags, names);
    PyObject *status = argument(call, 0, "status");
    int overflow = 1;
    long value = 0;
    if (status != NULL && PyLong_Check(status) && positional(call) + named(call) == 1) {
        value = PyLong_AsLongAndOverflow(status, &overflow);
    }
    /* Anything else the original will refuse. */
    if (!overflow && value >= INT_MIN && value <= INT_MAX && ct_alive()) {
        ct_exits(ct_now(), value & 0xFF, CT_OUTCOME_EXIT_OS_EXIT);
    }
    return original(call);
}

/* Waiting for children --------------------------------------------------------------------------------------------------------- */

/* Whether the call asks not to wait at all. */
static bool
polls(const struct call *call)
{
    PyObject *options = argument(call, call->self->function->options_at, "options");
    return options != NULL && PyLong_CheckExact(options) && PyLong_AsUnsignedLongMask(options) & WNOHANG;
}

static uint64_t
asked_for(const struct call *call)
{
    PyObject *pid = argument(call, call->self->function->pid_at, NULL);
    int overflow;
    long long number = pid != NULL && PyLong_CheckExact(pid) ? PyLong_AsLongLongAndOverflow(pid, &overflow) : 0;
    return number > 0 ? (uint64_t)number : 0;
}

/* The pid of the child that has ended, by what a wait function returned, and its status: exit status or minus the signal; 0: none
 * has ended. */
static int64_t
ended(PyObject *result, int64_t *status)
{
    if (PyTuple_CheckExact(result)) { /* pid, status … */
        int word = (int)number_at(result, 1);
        *status = WIFEXITED(word) ? WEXITSTATUS(word) : -WTERMSIG(word);
        int64_t pid = number_at(result, 0);
        return pid > 0 && (WIFEXITED(word) || WIFSIGNALED(word)) ? pid : 0;
    }
    /* None, or si_pid, si_uid, si_signo, si_status, si_code */
    int64_t code = number_at(result, 4);
    *status = number_at(result, 3);
    if (code == CLD_KILLED || code == CLD_DUMPED) {
        *status = -*status;
    }
    return code == CLD_EXITED || code == CLD_KILLED || code == CLD_DUMPED ? number_at(result, 0) : 0;
}

/* Record the status in what a wait function returned; the pid that ended, 0: none, -1: it failed. */
static int64_t
reaped(PyObject *result)
{
    int64_t status;
    if (result == NULL) {
        return -1;
    }
    int64_t pid = ct_alive() ? ended(result, &status) : 0;
    if (pid != 0) {
        struct ct_record record = {.kind = CT_KIND_CHILD_STATUS, .time = ct_now(), .other = (uint64_t)pid, .value = status};
        ct_emit(&record);
    }
    return pid;
}

static PyObject *
users_wait(const struct call *call, PyFrameObject *frame)
{
    struct ct_wait wait = {.kind = CT_KIND_CHILD_WAIT, .other = asked_for(call)};
    uint32_t token = 0;
    if (ct_alive()) {
        wait.thing = name_number(call->self);
        token = ct_begin_wait(&wait, frame);
    }
    PyObject *result = original(call);
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    int64_t pid = reaped(result);
    if (token != 0) {
        ct_end_wait(token, pid < 0 ? CT_OUTCOME_ERROR : pid > 0 ? CT_OUTCOME_ACQUIRED : CT_OUTCOME_TIMEOUT, NULL, &pid);
    }
    PyErr_Restore(kind, value, trace);
    return result;
}

/* A call by the standard library (inside `Process.join`, `subprocess`) is no wait of the user's, but the status it reaps is
 * recorded all the same. */
static PyObject *
wait_(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    const struct call *call = CALL(self, args, flags, names);
    PyFrameObject *frame = PyEval_GetFrame();
    if (!polls(call) && !ct_is_library(frame)) {
        return users_wait(call, frame);
    }
    PyObject *result = original(call);
    reaped(result);
    return result;
}

/* Locks, and threads that `threading` knows nothing of --------------------------------------------------------------------------- */

static PyObject *
allocate_lock_(PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
{
    const struct call *call = CALL(self, args, flags, names);
    PyFrameObject *frame = PyEval_GetFrame();
    if (positional(call) + named(call) == 0 && frame != NULL) {
        PyObject *lock = ct_new_lock(frame, false);
        if (lock != NULL) {
            return lock;
        }
        PyErr_Clear(); /* no memory */
        ct_drop();
    }
    return original(call);
}

/* The wrapper in Python, made by a module that is loaded when it is first needed. */
static PyObject *
in_python(const struct call *call, PyObject *const *args, size_t flags, PyObject *names)
{
    struct ct_stand_in *self = call->self;
    PyObject *wrapper = Py_XNewRef(self->wrapper);
    if (wrapper == NULL) {
        wrapper = PyObject_CallOneArg(self->in_python, self->original);
        if (wrapper == NULL) {
            return NULL; /* the program's own: raised by a signal's handler */
        }
        if (wrapper != self->original) { /* else it could not be had this time */
            Py_XSETREF(self->wrapper, Py_NewRef(wrapper)); /* another thread may have been here */
        }
    }
    PyObject *result = PyObject_Vectorcall(wrapper, args, flags, names);
    Py_DECREF(wrapper);
    return result;
}

/* The original, unless the program starts a thread of its own: what that takes (a name for a function, an exception told of it) is
 * done in Python. */
static PyObject *
start_new_thread_(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names)
{
    const struct call *call = CALL(callable, args, flags, names);
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL || ct_is_library(frame) || positional(call) == 0 || !PyCallable_Check(args[0]) ||
        ct_is_finalizing() || !ct_alive()) {
        return original(call);
    }
    return in_python(call, args, flags, names);
}

/* Other programs: they cost so much that Python does not show. */
static PyObject *
program_(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names)
{
    const struct call *call = CALL(callable, args, flags, names);
    if (PyEval_GetFrame() == NULL || ct_is_finalizing() || !ct_alive()) {
        return original(call);
    }
    return in_python(call, args, flags, names);
}

const struct ct_function ct_functions[] = {
    {"os:fork", "os.fork", fork_, -1, -1},
    {"os:forkpty", "os.forkpty", forkpty_, -1, -1},
    {"os:_exit", NULL, exit_, -1, -1},
    {"os:wait", "wait", wait_, -1, -1},
    {"os:waitpid", "waitpid", wait_, 0, 1},
    {"os:wait3", "wait3", wait_, -1, 0},
    {"os:wait4", "wait4", wait_, 0, 1},
    {"os:waitid", "waitid", wait_, 1, 2},
    {"os:posix_spawn", NULL, program_, -1, -1},
    {"os:posix_spawnp", NULL, program_, -1, -1},
    {"os:system", NULL, program_, -1, -1},
    {"os:execv", NULL, program_, -1, -1},
    {"os:execve", NULL, program_, -1, -1},
    {"_thread:allocate_lock", NULL, allocate_lock_, -1, -1},
    {"_thread:allocate", NULL, allocate_lock_, -1, -1},
    {"_thread:start_new_thread", NULL, start_new_thread_, -1, -1},
    {"_thread:start_new", NULL, start_new_thread_, -1, -1},
    {NULL, NULL, NULL, -1, -1},
};
