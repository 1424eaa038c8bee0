/* `Lock` and `RLock` as Python sees them: methods, arguments and errors of `_thread.lock` and `_thread.RLock`. */
#include "locks.h"

#include <limits.h>
#include <stddef.h>

static PyObject *real_allocate, *real_lock_type, *real_rlock_type;

/* acquire's arguments ---------------------------------------------------------------------------------------------------------------- */

/* What a lock of the interpreter's own makes of these arguments: an exception (-1), or nothing to say (0). */
static int
judge(const struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *judge = ct_is_recursive(self) ? PyObject_CallNoArgs(real_rlock_type) : PyObject_CallNoArgs(real_allocate);
    PyObject *function = judge == NULL ? NULL : PyObject_GetAttrString(judge, method);
    PyObject *verdict = function == NULL ? NULL : PyObject_Vectorcall(function, args, (size_t)count, names);
    Py_XDECREF(function);
    Py_XDECREF(judge);
    Py_XDECREF(verdict);
    return verdict == NULL ? -1 : 0;
}

static bool
is_plain(PyObject *blocking, PyObject *timeout, struct ct_patience *patience)
{
    if (blocking != NULL && blocking != Py_True && blocking != Py_False) {
        return false;
    }
    patience->blocking = blocking != Py_False;
    if (timeout == NULL) {
        return true;
    }
    if (PyFloat_CheckExact(timeout)) {
        patience->seconds = PyFloat_AS_DOUBLE(timeout);
    }
    else if (PyLong_CheckExact(timeout)) {
        patience->seconds = PyLong_AsDouble(timeout);
        PyErr_Clear(); /* -1.0 then: told apart below */
        if (patience->seconds == -1) {
            return false;
        }
    }
    else {
        return false;
    }
    return patience->blocking && patience->seconds >= 0 && patience->seconds < 1e9;
}

/* -1 with the exception that a lock of the interpreter's own raises for such arguments. */
static int
parse(const struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names,
      struct ct_patience *patience)
{
    PyObject *blocking = count > 0 ? args[0] : NULL;
    PyObject *timeout = count > 1 ? args[1] : NULL;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    bool odd = count > 2;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "blocking") == 0 && blocking == NULL) {
            blocking = args[count + i];
        }
        else if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0 && timeout == NULL) {
            timeout = args[count + i];
        }
        else {
            odd = true;
        }
    }
    *patience = (struct ct_patience){true, -1};
    if (!odd && is_plain(blocking, timeout, patience)) {
        return 0;
    }
    if (judge(self, method, args, count, names)) {
        return -1;
    }
    int truth = blocking == NULL ? 1 : PyObject_IsTrue(blocking);
    patience->seconds = timeout == NULL ? -1 : PyFloat_AsDouble(timeout);
    patience->blocking = truth > 0;
    return PyErr_Occurred() ? -1 : 0;
}

/* 3.11 calls a method like `acquire` without looking at the depth of recursion, and one like `release` with: a lock that was taken
 * at the limit could not be let go again. The interpreter's own `acquire`, of an older kind, is refused there. */
static inline int
refuse_too_deep(void)
{
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
    if (Py_EnterRecursiveCall(" while calling a Python object")) {
        return -1;
    }
    Py_LeaveRecursiveCall();
#endif
    return 0;
}

/* Lock -------------------------------------------------------------------------------------------------------------------------------- */

static PyObject *
lock_acquire_with(struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct ct_patience patience;
    if (parse(self, method, args, count, names, &patience)) {
        return NULL;
    }
    int got = ct_take_patiently(self, patience);
    return got < 0 ? NULL : PyBool_FromLong(got);
}

static inline PyObject *
lock_take(struct ct_lock *self)
{
    if (ct_take(self) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *
lock_acquire(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_unlikely(refuse_too_deep())) {
        return NULL;
    }
    if (ct_likely(count == 0 && names == NULL)) {
        return lock_take(self);
    }
    return lock_acquire_with(self, "acquire", args, count, names);
}

static PyObject *
lock_enter(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_likely(count == 0 && names == NULL)) {
        return lock_take(self);
    }
    return lock_acquire_with(self, "__enter__", args, count, names);
}

static inline PyObject *
lock_drop(struct ct_lock *self)
{
    if (ct_unlikely(atomic_load_explicit(&self->word, memory_order_relaxed) == 0)) {
        PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
        return NULL;
    }
    ct_release(self);
    Py_RETURN_NONE;
}

static PyObject *
lock_release(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return lock_drop(self);
}

static PyObject *
lock_exit(struct ct_lock *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count))
{
    return lock_drop(self);
}

static PyObject *
lock_locked(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(atomic_load(&self->word) != 0);
}

static PyObject *
lock_at_fork_reinit(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    if (self->holder != NULL) {
        ct_drop_holder(self);
    }
    atomic_store(&self->word, 0);
    atomic_store(&self->waiters, 0);
    self->wanted = self->has_pending = false;
    self->owner = self->depth = 0;
    Py_RETURN_NONE;
}

static PyObject *
lock_repr(struct ct_lock *self)
{
    return PyUnicode_FromFormat("<%s %s object at %p>", atomic_load(&self->word) ? "locked" : "unlocked",
                                Py_TYPE(self)->tp_name, self);
}

static void
lock_dealloc(struct ct_lock *self)
{
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    if (self->holder != NULL) {
        ct_drop_holder(self);
    }
    if (ct_recording() && self->epoch == ct.epoch) {
        while (self->cells != NULL) {
            ct_close_cell(self->cells);
        }
        if (self->slot != NULL) {
            ct_give_entry(CT_OBJECTS, self->slot);
        }
    }
    PyErr_Restore(kind, value, trace);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* isinstance(lock, _thread.LockType) stays true */
static PyObject *
lock_class(PyObject *self, void *Py_UNUSED(closure))
{
    PyTypeObject *type = Py_TYPE(self);
    if (type == &ct_lock_type) {
        return Py_NewRef(real_lock_type);
    }
    return Py_NewRef(type == &ct_rlock_type ? real_rlock_type : (PyObject *)type);
}

/* The type's own number of a lock: made by what calls it, e.g. `type(lock)()`. */
static PyObject *
make_lock(PyTypeObject *type, PyFrameObject *frame)
{
    struct ct_lock *self = (struct ct_lock *)type->tp_alloc(type, 0);
    if (self != NULL && frame != NULL && ct_alive()) {
        self->session = ct.session;
        self->forks = ct.forks;
        self->number = ct_new_number();
        self->made_at = ct_site(frame);
    }
    return (PyObject *)self;
}

static PyFrameObject *
users_frame(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    return ct_is_library(frame) ? NULL : frame;
}

static PyObject *
lock_new(PyTypeObject *type, PyObject *args, PyObject *names)
{
    if (type == &ct_lock_type) { /* no arguments are taken */
        PyObject *judged = PyObject_Call(real_lock_type, args, names);
        if (judged == NULL) {
            return NULL;
        }
        Py_DECREF(judged);
    }
    return make_lock(type, users_frame());
}

/* RLock --------------------------------------------------------------------------------------------------------------------------------- */

/* Asked for at every step, and always the same in a thread. */
static __thread unsigned long this_ident __attribute__((tls_model("initial-exec")));

static inline unsigned long
ident(void)
{
    if (ct_unlikely(this_ident == 0)) {
        this_ident = PyThread_get_thread_ident();
    }
    return this_ident;
}

static inline bool
is_mine(const struct ct_lock *self)
{
    return self->depth > 0 && self->owner == ident();
}

static int
go_deeper(struct ct_lock *self)
{
    if (self->depth == ULONG_MAX) {
        PyErr_SetString(PyExc_OverflowError, "Internal lock count overflowed");
        return -1;
    }
    self->depth++;
    return 0;
}

static inline void
own(struct ct_lock *self, unsigned long depth)
{
    self->owner = ident();
    self->depth = depth;
}

static PyObject *
rlock_acquire_with(struct ct_lock *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct ct_patience patience;
    if (parse(self, method, args, count, names, &patience)) {
        return NULL;
    }
    int got = 1;
    if (is_mine(self)) {
        if (go_deeper(self)) {
            return NULL;
        }
    }
    else if ((got = ct_take_patiently(self, patience)) > 0) {
        own(self, 1);
    }
    return got < 0 ? NULL : PyBool_FromLong(got);
}

static inline PyObject *
rlock_take(struct ct_lock *self)
{
    if (is_mine(self)) {
        if (go_deeper(self)) {
            return NULL;
        }
        Py_RETURN_TRUE;
    }
    if (ct_take(self) < 0) {
        return NULL;
    }
    own(self, 1);
    Py_RETURN_TRUE;
}

static PyObject *
rlock_acquire(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_unlikely(refuse_too_deep())) {
        return NULL;
    }
    if (ct_likely(count == 0 && names == NULL)) {
        return rlock_take(self);
    }
    return rlock_acquire_with(self, "acquire", args, count, names);
}

static PyObject *
rlock_enter(struct ct_lock *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (ct_likely(count == 0 && names == NULL)) {
        return rlock_take(self);
    }
    return rlock_acquire_with(self, "__enter__", args, count, names);
}

static inline void
rlock_free(struct ct_lock *self)
{
    self->depth = 0;
    self->owner = 0;
    ct_release(self);
}

static inline PyObject *
rlock_drop(struct ct_lock *self)
{
    if (ct_unlikely(!is_mine(self))) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    if (self->depth > 1) {
        self->depth--;
    }
    else {
        rlock_free(self);
    }
    Py_RETURN_NONE;
}

static PyObject *
rlock_release(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return rlock_drop(self);
}

static PyObject *
rlock_exit(struct ct_lock *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count))
{
    return rlock_drop(self);
}

static PyObject *
rlock_is_owned(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(is_mine(self));
}

static PyObject *
rlock_recursion_count(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(is_mine(self) ? self->depth : 0);
}

static PyObject *
rlock_release_save(struct ct_lock *self, PyObject *Py_UNUSED(ignored))
{
    if (self->depth == 0) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    PyObject *saved = Py_BuildValue("kk", self->depth, self->owner);
    if (saved != NULL) {
        rlock_free(self);
    }
    return saved;
}

/* Whatever handlers of signals do meanwhile, it ends with the lock taken: so does the interpreter's own. */
static PyObject *
rlock_acquire_restore(struct ct_lock *self, PyObject *args)
{
    unsigned long depth, owner;
    if (!PyArg_ParseTuple(args, "(kk):_acquire_restore", &depth, &owner)) {
        return NULL;
    }
    ct_take_whatever_comes(self);
    self->owner = owner;
    self->depth = depth;
    Py_RETURN_NONE;
}

static PyObject *
rlock_repr(struct ct_lock *self)
{
    return PyUnicode_FromFormat("<%s %s object owner=%lu count=%lu at %p>", self->depth ? "locked" : "unlocked",
                                Py_TYPE(self)->tp_name, self->owner, self->depth, self);
}

static PyObject *
rlock_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(names))
{
    return make_lock(type, users_frame());
}

/* The types -------------------------------------------------------------------------------------------------------------------------------- */

#define FAST (METH_FASTCALL | METH_KEYWORDS)
#define METHOD(name, function, flags) {name, (PyCFunction)(void (*)(void))function, flags, NULL}

/* Those that the interpreter's own lock does not have in this version are left out, documentation is taken from it. */
static PyMethodDef lock_methods[] = {
    METHOD("acquire", lock_acquire, FAST),
    METHOD("acquire_lock", lock_acquire, FAST),
    METHOD("release", lock_release, METH_NOARGS),
    METHOD("release_lock", lock_release, METH_NOARGS),
    METHOD("locked", lock_locked, METH_NOARGS),
    METHOD("locked_lock", lock_locked, METH_NOARGS),
    METHOD("_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS),
    METHOD("__enter__", lock_enter, FAST),
    METHOD("__exit__", lock_exit, METH_FASTCALL),
    {NULL, NULL, 0, NULL},
};

static PyMethodDef rlock_methods[] = {
    METHOD("acquire", rlock_acquire, FAST),
    METHOD("release", rlock_release, METH_NOARGS),
    METHOD("locked", lock_locked, METH_NOARGS),
    METHOD("_is_owned", rlock_is_owned, METH_NOARGS),
    METHOD("_recursion_count", rlock_recursion_count, METH_NOARGS),
    METHOD("_acquire_restore", rlock_acquire_restore, METH_VARARGS),
    METHOD("_release_save", rlock_release_save, METH_NOARGS),
    METHOD("_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS),
    METHOD("__enter__", rlock_enter, FAST),
    METHOD("__exit__", rlock_exit, METH_FASTCALL),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef lock_getset[] = {
    {"__class__", lock_class, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject ct_lock_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_thread.lock",
    .tp_basicsize = sizeof(struct ct_lock),
    .tp_dealloc = (destructor)lock_dealloc,
    .tp_repr = (reprfunc)lock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_weaklistoffset = offsetof(struct ct_lock, weak),
    .tp_methods = lock_methods,
    .tp_getset = lock_getset,
};

PyTypeObject ct_rlock_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_thread.RLock",
    .tp_basicsize = sizeof(struct ct_lock),
    .tp_dealloc = (destructor)lock_dealloc,
    .tp_repr = (reprfunc)rlock_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_weaklistoffset = offsetof(struct ct_lock, weak),
    .tp_methods = rlock_methods,
    .tp_getset = lock_getset,
    .tp_new = rlock_new,
};

static int
imitate(PyTypeObject *type, PyTypeObject *real)
{
    PyMethodDef *kept = type->tp_methods;
    for (PyMethodDef *method = type->tp_methods; method->ml_name != NULL; method++) {
        PyObject *original = PyObject_GetAttrString((PyObject *)real, method->ml_name);
        if (original == NULL) {
            PyErr_Clear();
            continue;
        }
        *kept = *method;
        if (Py_IS_TYPE(original, &PyMethodDescr_Type)) {
            kept->ml_doc = ((PyMethodDescrObject *)original)->d_method->ml_doc;
        }
        Py_DECREF(original);
        kept++;
    }
    *kept = (PyMethodDef){NULL, NULL, 0, NULL};
    type->tp_doc = real->tp_doc;
    return PyType_Ready(type);
}

int
ct_locks_init(PyObject *stdlib)
{
    real_allocate = PyObject_GetAttrString(stdlib, "allocate_lock");
    real_lock_type = PyObject_GetAttrString(stdlib, "LockType");
    real_rlock_type = PyObject_GetAttrString(stdlib, "RLockType");
    if (real_allocate == NULL || real_lock_type == NULL || real_rlock_type == NULL) {
        return -1;
    }
    if (((PyTypeObject *)real_lock_type)->tp_new != NULL) { /* before 3.13 it cannot be called */
        ct_lock_type.tp_new = lock_new;
    }
    return imitate(&ct_lock_type, (PyTypeObject *)real_lock_type) ||
                   imitate(&ct_rlock_type, (PyTypeObject *)real_rlock_type)
               ? -1
               : 0;
}

PyObject *
ct_new_lock(PyFrameObject *frame, bool recursive)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    int flags = ct_code_flags(code);
    Py_DECREF(code);
    PyTypeObject *type = recursive ? &ct_rlock_type : &ct_lock_type;
    if (ct_alive()) {
        if (!(flags & CT_LIBRARY)) {
            return make_lock(type, frame);
        }
        if (flags & CT_QUEUE) {
            return make_lock(type, NULL); /* quiet: quicker than the interpreter's own, which this is nobody's business */
        }
    }
    return PyObject_CallNoArgs(recursive ? real_rlock_type : real_allocate);
}
