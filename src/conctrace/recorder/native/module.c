/* `conctrace.recorder._recorder`: the native recorder as Python sees it; `_recorder.pyi` has the signatures.
 *
 * All arguments are positional. There is one recorder in a process; the type holds no state of its own.
 */
#include "standins.h"

#include <string.h>
#include <errno.h>

static PyObject *texts; /* str → number, of this session */

static Py_ssize_t texts_size; /* in characters; a short one needs some hundred bytes, too */

static int
check_count(const char *name, Py_ssize_t count, Py_ssize_t least, Py_ssize_t most)
{
    if (count < least || count > most) {
        PyErr_Format(PyExc_TypeError, "%s takes %zd to %zd arguments, not %zd", name, least, most, count);
        return -1;
    }
    return 0;
}

/* Argument number `at`, or `otherwise` where it is missing; wraps like a C cast. */
static inline uint64_t
word(PyObject *const *args, Py_ssize_t count, Py_ssize_t at, uint64_t otherwise)
{
    if (at >= count) {
        return otherwise;
    }
    long long small = ct_small_number(args[at]);
    return ct_likely(small >= 0) ? (uint64_t)small : PyLong_AsUnsignedLongLongMask(args[at]);
}

static PyFrameObject *
frame_or_null(PyObject *argument)
{
    return PyFrame_Check(argument) ? (PyFrameObject *)argument : NULL;
}

/* Every method ends so: None, unless an argument was no number. */
static inline PyObject *
done(void)
{
    if (ct_unlikely(PyErr_Occurred() != NULL)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The command as a live page holds it, by rule of `command.py`, which sees to those that do not fit: bytes. */
static PyObject *
packed_command(void)
{
    PyObject *words = PySys_GetObject("orig_argv"), *program = PySys_GetObject("executable");
    char packed[CT_LIVE_COMMAND_1 - 4];
    size_t size = 0;
    Py_ssize_t count = words != NULL && program != NULL && PyList_Check(words) ? PyList_GET_SIZE(words) : -1;
    for (Py_ssize_t i = -1; i < count; i++) {
        PyObject *word = i < 0 ? program : PyList_GET_ITEM(words, i), *owner;
        struct ct_text text = ct_utf8(word, &owner);
        uint32_t length = (uint32_t)text.size;
        bool fits = owner != NULL && text.size <= sizeof packed && size + sizeof length + text.size <= sizeof packed;
        if (fits) {
            memcpy(packed + size, &length, sizeof length);
            memcpy(packed + size + sizeof length, text.bytes, text.size);
            size += sizeof length + text.size;
        }
        Py_XDECREF(owner);
        if (!fits) {
            count = -1;
        }
    }
    if (count >= 0) {
        return PyBytes_FromStringAndSize(packed, (Py_ssize_t)size);
    }
    PyObject *module = PyImport_ImportModule("conctrace.recorder.command");
    PyObject *result = module == NULL ? NULL : PyObject_CallMethod(module, "packed_command", NULL);
    Py_XDECREF(module);
    return result;
}

static int
recorder_init(PyObject *Py_UNUSED(self), PyObject *args, PyObject *Py_UNUSED(names))
{
    PyObject *folder, *command;
    unsigned int role = 0;
    char *bytes;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "O&|I", PyUnicode_FSConverter, &folder, &role)) {
        return -1;
    }
    if ((command = packed_command()) == NULL || PyBytes_AsStringAndSize(command, &bytes, &size)) {
        Py_XDECREF(command);
        Py_DECREF(folder);
        return -1;
    }
    int failed = ct_start(PyBytes_AS_STRING(folder), role, bytes, (size_t)size);
    if (failed) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, PyBytes_AS_STRING(folder));
    }
    else {
        PyDict_Clear(texts);
        texts_size = 0;
    }
    Py_DECREF(command);
    Py_DECREF(folder);
    return failed;
}

/* Records ------------------------------------------------------------------------------------------------------------- */

static PyObject *
emit(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (ct_unlikely(check_count("emit", count, 2, 8)) || ct_unlikely(!ct_alive())) {
        return done();
    }
    struct ct_thread *thread = ct_here();
    if (ct_unlikely(thread == NULL)) {
        ct_drop();
        Py_RETURN_NONE;
    }
    uint64_t words[8] = {0};
    bool odd = false;
    for (Py_ssize_t i = 0; i < count; i++) {
        words[i] = word(args, count, i, 0);
        odd |= words[i] == UINT64_MAX; /* what stands for an error, too */
    }
    if (ct_unlikely(odd) && PyErr_Occurred()) {
        return NULL;
    }
    struct ct_record record = {
        .kind = (uint8_t)words[0],
        .time = words[1],
        .duration = words[2],
        .object = (uint32_t)words[3],
        .other = words[4],
        .value = (int64_t)words[5],
        .stack = (uint32_t)words[6],
        .outcome = (uint8_t)words[7],
        .thread = thread->index,
    };
    ct_store(&record);
    Py_RETURN_NONE;
}

static PyObject *
call(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("call", count, 3, 7) || !ct_alive()) {
        return done();
    }
    struct ct_record record = {
        .kind = (uint8_t)word(args, count, 0, 0),
        .time = word(args, count, 1, 0),
        .object = (uint32_t)word(args, count, 3, 0),
        .other = word(args, count, 4, 0),
        .value = (int64_t)word(args, count, 5, 0),
        .outcome = (uint8_t)word(args, count, 6, 0),
    };
    if (PyErr_Occurred() == NULL) {
        ct_call(&record, frame_or_null(args[2]));
    }
    return done();
}

static PyObject *
begin_wait(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("begin_wait", count, 3, 5)) {
        return NULL;
    }
    struct ct_wait wait = {
        .kind = (uint32_t)word(args, count, 0, 0),
        .thing = (uint32_t)word(args, count, 1, 0),
        .other = word(args, count, 3, 0),
        .value = (int64_t)word(args, count, 4, 0),
    };
    if (PyErr_Occurred()) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(ct_alive() ? ct_begin_wait(&wait, frame_or_null(args[2])) : 0);
}

static PyObject *
end_wait(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("end_wait", count, 2, 4)) {
        return NULL;
    }
    bool has_other = count > 2 && args[2] != Py_None, has_value = count > 3 && args[3] != Py_None;
    uint32_t token = (uint32_t)word(args, count, 0, 0);
    uint8_t outcome = (uint8_t)word(args, count, 1, 0);
    uint64_t other = has_other ? word(args, count, 2, 0) : 0;
    int64_t value = has_value ? (int64_t)word(args, count, 3, 0) : 0;
    if (PyErr_Occurred() == NULL) {
        ct_end_wait(token, outcome, has_other ? &other : NULL, has_value ? &value : NULL);
    }
    return done();
}

/* Definitions ---------------------------------------------------------------------------------------------------------- */

enum { MOST_FIELDS = 8 };

/* 1, or 0: no room; -1 with an exception. */
static int
define_fields(uint8_t definition, uint32_t number, PyObject *values)
{
    if (!PyTuple_Check(values) || PyTuple_GET_SIZE(values) > MOST_FIELDS) {
        PyErr_SetString(PyExc_TypeError, "a definition is a tuple of at most 8 fields");
        return -1;
    }
    PyObject *owners[MOST_FIELDS];
    struct ct_text fields[MOST_FIELDS] = {{"", 0}};
    Py_ssize_t size = PyTuple_GET_SIZE(values);
    for (Py_ssize_t i = 0; i < size; i++) {
        fields[i] = ct_utf8(PyTuple_GET_ITEM(values, i), &owners[i]);
    }
    bool stored = ct_define(definition, number, fields, (size_t)size);
    for (Py_ssize_t i = 0; i < size; i++) {
        Py_XDECREF(owners[i]);
    }
    return stored;
}

static PyObject *
define(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("define", count, 3, 3)) {
        return NULL;
    }
    uint8_t definition = (uint8_t)word(args, count, 0, 0);
    uint32_t number = (uint32_t)word(args, count, 1, 0);
    int stored = PyErr_Occurred() ? -1 : define_fields(definition, number, args[2]);
    return stored < 0 ? NULL : PyBool_FromLong(stored);
}

static int
define_by(PyObject *thing, uint32_t number, PyObject *how)
{
    PyObject *values = PyObject_CallOneArg(how, thing);
    int stored = values == NULL ? -1 : define_fields(CT_DEFINE_OBJECT, number, values);
    Py_XDECREF(values);
    return stored;
}

/* A number, or NULL for 0 with an exception. */
static PyObject *
numbered(uint32_t number)
{
    return number == 0 && PyErr_Occurred() ? NULL : PyLong_FromUnsignedLong(number);
}

static PyObject *
object_number(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    return check_count("object_number", count, 2, 2) ? NULL : numbered(ct_object_number(args[0], define_by, args[1]));
}

static PyObject *
number(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(ct_new_number());
}

static PyObject *
text(PyObject *Py_UNUSED(self), PyObject *argument)
{
    PyObject *known = PyUnicode_CheckExact(argument) ? PyDict_GetItemWithError(texts, argument) : NULL;
    if (known != NULL) {
        return Py_NewRef(known);
    }
    if (PyErr_Occurred() || !ct_alive()) {
        return PyErr_Occurred() ? NULL : PyLong_FromLong(0);
    }
    PyObject *owner, *result = PyLong_FromUnsignedLong(ct_new_number());
    if (result == NULL) {
        return NULL;
    }
    struct ct_text field = ct_utf8(argument, &owner);
    bool stored = ct_define(CT_DEFINE_TEXT, (uint32_t)PyLong_AsUnsignedLong(result), &field, 1);
    Py_XDECREF(owner);
    if (!stored) {
        Py_DECREF(result);
        return PyLong_FromLong(0);
    }
    Py_ssize_t size = texts_size + 100 + (PyUnicode_CheckExact(argument) ? PyUnicode_GET_LENGTH(argument) : CT_TEXTS_MAX);
    if (size <= CT_TEXTS_MAX) {
        texts_size = size;
        if (PyDict_SetItem(texts, argument, result)) {
            PyErr_Clear(); /* it will be defined once more */
        }
    }
    return result;
}

static PyObject *
site(PyObject *Py_UNUSED(self), PyObject *frame)
{
    return PyLong_FromUnsignedLong(ct_alive() ? ct_site(frame_or_null(frame)) : 0);
}

static PyObject *
stack(PyObject *Py_UNUSED(self), PyObject *frame)
{
    return PyLong_FromUnsignedLong(ct_alive() ? ct_stack(frame_or_null(frame)) : 0);
}

/* Threads ----------------------------------------------------------------------------------------------------------------- */

static PyObject *
meet(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    if (ct_alive()) {
        ct_here();
    }
    Py_RETURN_NONE;
}

static PyObject *
thread_begins(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("thread_begins", count, 3, 4)) {
        return NULL;
    }
    uint32_t thing = (uint32_t)word(args, count, 2, 0);
    uint8_t outcome = (uint8_t)word(args, count, 3, 0);
    if (!PyErr_Occurred() && ct_alive()) {
        ct_thread_begins(args[0], args[1] == Py_True, thing, outcome);
    }
    return done();
}

static PyObject *
thread_ends(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("thread_ends", count, 2, 2)) {
        return NULL;
    }
    if (ct_alive()) {
        ct_thread_ends(args[0], args[1] == Py_True);
    }
    Py_RETURN_NONE;
}

static PyObject *
thread_number(PyObject *Py_UNUSED(self), PyObject *thread)
{
    return numbered(ct_alive() ? ct_thread_number(thread) : 0);
}

static PyObject *
starting(PyObject *Py_UNUSED(self), PyObject *thread)
{
    if (!ct_alive()) {
        return PyLong_FromLong(0);
    }
    return ct_thread_number(thread) == 0 && PyErr_Occurred() ? NULL : PyLong_FromUnsignedLongLong(ct_now());
}

static PyObject *
started(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("started", count, 2, 2)) {
        return NULL;
    }
    struct ct_record record = {.kind = CT_KIND_THREAD_START, .time = word(args, count, 1, 0)};
    if (PyErr_Occurred() || record.time == 0 || !ct_alive()) {
        return done();
    }
    record.object = ct_thread_number(args[0]);
    if (record.object != 0 && ct_alive()) {
        ct_call(&record, PyEval_GetFrame());
    }
    return done();
}

static PyObject *
running(PyObject *Py_UNUSED(self), PyObject *thread)
{
    PyObject *name;
    bool daemon;
    if (!ct_alive() || ct_thread_facts(thread, &name, &daemon)) {
        return done();
    }
    uint32_t number = ct_thread_number(thread);
    if ((number != 0 || !PyErr_Occurred()) && ct_alive()) {
        ct_thread_begins(name, daemon, number, 0);
    }
    Py_DECREF(name);
    return done();
}

static PyObject *
ended(PyObject *Py_UNUSED(self), PyObject *thread)
{
    PyObject *name;
    bool daemon;
    if (!ct_alive() || ct_thread_facts(thread, &name, &daemon)) {
        return done();
    }
    if (ct_alive()) {
        ct_thread_ends(name, daemon);
    }
    Py_DECREF(name);
    return done();
}

static PyObject *
joining(PyObject *Py_UNUSED(self), PyObject *thread)
{
    struct ct_wait wait = {.kind = CT_KIND_THREAD_JOIN, .thing = ct_alive() ? ct_thread_number(thread) : 0};
    return numbered(wait.thing != 0 && ct_alive() ? ct_begin_wait(&wait, PyEval_GetFrame()) : 0);
}

/* The recorder itself -------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned offset;
} counters[] = {
    {"records", CT_LIVE_RECORDS},
    {"dropped", CT_LIVE_DROPPED},
    {"errors", CT_LIVE_ERRORS},
    {"stacks_dropped", CT_LIVE_STACKS_DROPPED},
    {"held_dropped", CT_LIVE_HELD_DROPPED},
    {"totals_dropped", CT_LIVE_TOTALS_DROPPED},
};

static PyObject *
count_(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("count", count, 1, 2)) {
        return NULL;
    }
    uint64_t by = word(args, count, 1, 1);
    const char *name = PyUnicode_AsUTF8(args[0]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        if (strcmp(name, counters[i].name) == 0) {
            if (ct_recording()) {
                ct_count(counters[i].offset, by);
            }
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_ValueError, "no such counter: %s", name);
}

static PyObject *
stop(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    ct_stop();
    Py_RETURN_NONE;
}

static PyObject *
switch_off(PyObject *Py_UNUSED(self), PyObject *reason)
{
    PyObject *owner;
    struct ct_text text = ct_utf8(reason, &owner);
    ct_switch_off(text.bytes);
    Py_XDECREF(owner);
    Py_RETURN_NONE;
}

static PyObject *
exits(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("exits", count, 3, 3)) {
        return NULL;
    }
    uint64_t time = word(args, count, 0, 0);
    int64_t value = (int64_t)word(args, count, 1, 0);
    uint8_t outcome = (uint8_t)word(args, count, 2, 0);
    if (PyErr_Occurred() == NULL && ct_alive()) {
        ct_exits(time, value, outcome);
    }
    return done();
}

static PyObject *
before_fork(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    ct_before_fork();
    Py_RETURN_NONE;
}

/* In a forked child this makes the live page, which says that it is there. */
static PyObject *
announce(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    ct_touch_wiped_word();
    ct_alive();
    Py_RETURN_NONE;
}

static PyObject *
finalizes(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    if (ct_alive()) {
        ct_exits(ct_now(), -1, CT_OUTCOME_EXIT_FINALIZED);
    }
    Py_RETURN_NONE;
}

static PyObject *
make(PyObject *frame, bool recursive)
{
    if (!PyFrame_Check(frame)) {
        PyErr_SetString(PyExc_TypeError, "not a frame");
        return NULL;
    }
    return ct_new_lock((PyFrameObject *)frame, recursive);
}

static PyObject *
new_lock(PyObject *Py_UNUSED(self), PyObject *frame)
{
    return make(frame, false);
}

static PyObject *
new_rlock(PyObject *Py_UNUSED(self), PyObject *frame)
{
    return make(frame, true);
}

static PyObject *
stand_in(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (check_count("stand_in", count, 3, 3)) {
        return NULL;
    }
    if (!PyUnicode_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "not the name of a place");
        return NULL;
    }
    return ct_stand_in(args[0], args[1], args[2]);
}

static PyObject *
get_alive(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyBool_FromLong(ct_alive());
}

static PyObject *
get_detail(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(ct.detail);
}

static PyObject *
get_values(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyBool_FromLong(ct.values);
}

static PyObject *
get_epoch(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(ct.epoch);
}

static PyObject *
get_nonce(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(ct.nonce);
}

#define METHOD(name, function, flags) {name, (PyCFunction)(void (*)(void))function, flags, NULL}

static PyMethodDef recorder_methods[] = {
    METHOD("emit", emit, METH_FASTCALL),
    METHOD("call", call, METH_FASTCALL),
    METHOD("begin_wait", begin_wait, METH_FASTCALL),
    METHOD("end_wait", end_wait, METH_FASTCALL),
    METHOD("define", define, METH_FASTCALL),
    METHOD("number", number, METH_NOARGS),
    METHOD("object_number", object_number, METH_FASTCALL),
    METHOD("text", text, METH_O),
    METHOD("site", site, METH_O),
    METHOD("stack", stack, METH_O),
    METHOD("meet", meet, METH_NOARGS),
    METHOD("thread_begins", thread_begins, METH_FASTCALL),
    METHOD("thread_ends", thread_ends, METH_FASTCALL),
    METHOD("thread_number", thread_number, METH_O),
    METHOD("starting", starting, METH_O),
    METHOD("started", started, METH_FASTCALL),
    METHOD("running", running, METH_O),
    METHOD("ended", ended, METH_O),
    METHOD("joining", joining, METH_O),
    METHOD("count", count_, METH_FASTCALL),
    METHOD("switch_off", switch_off, METH_O),
    METHOD("stop", stop, METH_NOARGS),
    METHOD("exits", exits, METH_FASTCALL),
    METHOD("before_fork", before_fork, METH_NOARGS),
    METHOD("announce", announce, METH_NOARGS),
    METHOD("finalizes", finalizes, METH_NOARGS),
    METHOD("new_lock", new_lock, METH_O),
    METHOD("new_rlock", new_rlock, METH_O),
    METHOD("stand_in", stand_in, METH_FASTCALL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef recorder_getset[] = {
    {"alive", get_alive, NULL, NULL, NULL},
    {"detail", get_detail, NULL, NULL, NULL},
    {"values", get_values, NULL, NULL, NULL},
    {"epoch", get_epoch, NULL, NULL, NULL},
    {"nonce", get_nonce, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject recorder_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "conctrace.recorder._recorder.Recorder",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_methods = recorder_methods,
    .tp_getset = recorder_getset,
    .tp_init = recorder_init,
    .tp_new = PyType_GenericNew,
};

static int
module_exec(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "sub-interpreters are not recorded");
        return -1;
    }
    if (texts == NULL) { /* a second copy of the module shares all this with the first */
        PyObject *stdlib = PyImport_ImportModule("conctrace._stdlib");
        if (stdlib == NULL || ct_sites_init(stdlib) || ct_locks_init(stdlib) || ct_stand_ins_init() ||
            ct_things_init() || PyType_Ready(&recorder_type) || (texts = PyDict_New()) == NULL) {
            Py_XDECREF(stdlib);
            return -1;
        }
        Py_DECREF(stdlib);
        if (PyDict_SetItemString(recorder_type.tp_dict, "lock_type", (PyObject *)&ct_lock_type)) {
            return -1;
        }
        PyType_Modified(&recorder_type);
    }
    return PyModule_AddObjectRef(module, "Recorder", (PyObject *)&recorder_type);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_recorder",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__recorder(void)
{
    return PyModuleDef_Init(&module_definition);
}
