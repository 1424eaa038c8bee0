/* Numbers of Thread and Process objects, kept while these live, and what happens to Threads.
 *
 * Attributes of a Thread may be the program's own code, which may raise, and fork: what is done here may end with an exception, and what
 * is known is looked up anew afterwards.
 */
#include "core.h"

#include <stdlib.h>

/* What is known of an object: the weak reference to it calls this when the object goes. */
struct known {
    PyObject_HEAD
    PyObject *reference;
    struct known *next; /* in its bucket */
    const void *thing;
    uint32_t number;
    uint32_t session; /* in which the number means something */
    uint32_t epoch;   /* of the image in which it is defined */
};

static struct known **buckets;
static size_t known_count, buckets_mask;

static struct {
    PyObject *name, *daemonic, *target, *function, *run, *module, *qualname;
} names;

/* Numbers --------------------------------------------------------------------------------------------------------------- */

static struct known **
bucket(const void *thing)
{
    return &buckets[((uintptr_t)thing >> 4) * 0x9E3779B97F4A7C15u >> 32 & buckets_mask];
}

static bool
make_buckets(void)
{
    size_t size = buckets == NULL ? 64 : 2 * (buckets_mask + 1), old_size = buckets == NULL ? 0 : buckets_mask + 1;
    struct known **old = buckets, **bigger = calloc(size, sizeof *bigger);
    if (bigger == NULL) {
        return old != NULL;
    }
    buckets = bigger;
    buckets_mask = size - 1;
    for (size_t i = 0; i < old_size; i++) {
        for (struct known *next, *each = old[i]; each != NULL; each = next) {
            next = each->next;
            struct known **head = bucket(each->thing);
            each->next = *head;
            *head = each;
        }
    }
    free(old);
    return true;
}

static PyObject *
forget(PyObject *object, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(keywords))
{
    struct known *self = (struct known *)object;
    struct known **link = bucket(self->thing);
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    known_count--;
    Py_DECREF(self->reference);
    Py_DECREF(self); /* the table's own; the caller has another */
    Py_RETURN_NONE;
}

static PyTypeObject known_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "conctrace.recorder._recorder.known",
    .tp_basicsize = sizeof(struct known),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_call = forget,
};

static struct known *
look_up(PyObject *thing)
{
    struct known *known = buckets == NULL ? NULL : *bucket(thing);
    while (known != NULL && known->thing != thing) {
        known = known->next;
    }
    return known;
}

/* NULL with an exception: no memory, or no object that can be referred to weakly. */
static struct known *
get_to_know(PyObject *thing)
{
    if (known_count >= buckets_mask && !make_buckets()) {
        PyErr_NoMemory();
        return NULL;
    }
    struct known *known = PyObject_New(struct known, &known_type);
    if (known == NULL) {
        return NULL;
    }
    PyObject *reference = PyWeakref_NewRef(thing, (PyObject *)known);
    if (reference == NULL) {
        Py_DECREF(known);
        return NULL;
    }
    struct known **head = bucket(thing);
    known->reference = reference;
    known->thing = thing;
    known->session = known->epoch = 0;
    known->next = *head;
    *head = known;
    known_count++;
    return known;
}

uint32_t
ct_object_number(PyObject *thing, ct_definer *define, PyObject *how)
{
    struct known *known = look_up(thing);
    if (known == NULL && (known = get_to_know(thing)) == NULL) {
        return 0;
    }
    if (known->session != ct.session) {
        known->session = ct.session;
        known->number = ct_new_number();
        known->epoch = 0;
    }
    uint32_t number = known->number;
    if (ct_likely(known->epoch == ct.epoch)) {
        return number;
    }
    int stored = define(thing, number, how); /* it lives on: the caller has a reference */
    if (stored > 0) {
        known->epoch = ct.epoch;
    }
    return stored < 0 ? 0 : number;
}

/* Definitions -------------------------------------------------------------------------------------------------------------- */

/* A new reference or NULL: there is none, or there is an exception. */
static PyObject *
attribute(PyObject *thing, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(thing, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return value;
}

/* The same rule as `names.callable_name`; a new reference, or NULL with an exception. */
static PyObject *
callable_name(PyObject *target)
{
    if (target == Py_None) {
        return PyUnicode_FromString("");
    }
    if (PyMethod_Check(target)) {
        target = PyMethod_GET_FUNCTION(target);
    }
    PyObject *name = NULL;
    if (PyFunction_Check(target) || PyCFunction_CheckExact(target) || PyType_Check(target) ||
        Py_IS_TYPE(target, &PyMethodDescr_Type)) {
        name = attribute(target, names.qualname);
        if (name == NULL && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (name == NULL || !PyUnicode_CheckExact(name)) {
        Py_XDECREF(name);
        name = PyObject_GetAttr((PyObject *)Py_TYPE(target), names.qualname);
    }
    return name;
}

/* What a Thread runs; a Timer has a function of its own, a subclass its `run`. A new reference, or NULL with an exception. */
static PyObject *
target_of(PyObject *thread)
{
    PyObject *target = attribute(thread, names.target);
    if ((target != NULL && target != Py_None) || PyErr_Occurred()) {
        return target;
    }
    Py_XDECREF(target);
    PyObject *type = (PyObject *)Py_TYPE(thread), *module = attribute(type, names.module);
    bool is_library = module != NULL && PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "threading") == 0;
    Py_XDECREF(module);
    target = PyErr_Occurred() ? NULL : is_library ? attribute(thread, names.function) : attribute(type, names.run);
    return target != NULL || PyErr_Occurred() ? target : Py_NewRef(Py_None);
}

/* Reads only what `Thread.__init__` sets. */
static int
define_thread(PyObject *thread, uint32_t number, PyObject *Py_UNUSED(how))
{
    PyObject *owners[2] = {NULL, NULL}, *name = NULL, *function = NULL, *target = target_of(thread);
    int stored = -1;
    if (target != NULL && (function = callable_name(target)) != NULL &&
        ((name = attribute(thread, names.name)) != NULL || !PyErr_Occurred())) {
        struct ct_text fields[4] = {{"Thread", 6}, {"", 0}, {"0", 1}, ct_utf8(function, &owners[1])};
        if (name != NULL) {
            fields[1] = ct_utf8(name, &owners[0]);
        }
        stored = ct_define(CT_DEFINE_OBJECT, number, fields, 4);
    }
    Py_XDECREF(owners[0]);
    Py_XDECREF(owners[1]);
    Py_XDECREF(name);
    Py_XDECREF(function);
    Py_XDECREF(target);
    return stored;
}

uint32_t
ct_thread_number(PyObject *thread)
{
    return ct_object_number(thread, define_thread, NULL);
}

/* What happens to a Thread ----------------------------------------------------------------------------------------------------- */

int
ct_thread_facts(PyObject *thread, PyObject **name, bool *daemon)
{
    *name = PyObject_GetAttr(thread, names.name);
    PyObject *flag = *name == NULL ? NULL : PyObject_GetAttr(thread, names.daemonic);
    int truth = flag == NULL ? -1 : PyObject_IsTrue(flag);
    Py_XDECREF(flag);
    if (truth < 0) {
        Py_CLEAR(*name);
        return -1;
    }
    *daemon = truth;
    return 0;
}

int
ct_things_init(void)
{
    return PyType_Ready(&known_type) || (names.name = PyUnicode_InternFromString("_name")) == NULL ||
                   (names.daemonic = PyUnicode_InternFromString("_daemonic")) == NULL ||
                   (names.target = PyUnicode_InternFromString("_target")) == NULL ||
                   (names.function = PyUnicode_InternFromString("function")) == NULL ||
                   (names.run = PyUnicode_InternFromString("run")) == NULL ||
                   (names.module = PyUnicode_InternFromString("__module__")) == NULL ||
                   (names.qualname = PyUnicode_InternFromString("__qualname__")) == NULL
               ? -1
               : 0;
}
