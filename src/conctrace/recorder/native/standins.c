/* What stands in for a builtin function: a builtin function itself, but for its type's name in our own hands.
 *
 * Its name, documentation, signature and module are the original's, by the very fields that hold them there. C that looks for
 * a builtin function takes it for one, so profilers see its calls. Between a program's call and the original stands no frame, no
 * dictionary and no object that is made: after a fork, what a wrapper in Python touches is copied page by page.
 */
#include "standins.h"

#include <stddef.h>
#include <string.h>

static PyTypeObject stand_in_type;

PyObject *
ct_stand_in(PyObject *original, PyObject *place, PyObject *in_python)
{
    const struct ct_function *function = ct_functions;
    while (function->place != NULL && PyUnicode_CompareWithASCIIString(place, function->place) != 0) {
        function++;
    }
    if (function->place == NULL || !PyCFunction_CheckExact(original)) { /* the latter: somebody was here before us */
        Py_RETURN_NONE;
    }
    struct ct_stand_in *self = PyObject_GC_New(struct ct_stand_in, &stand_in_type);
    if (self == NULL) {
        return NULL;
    }
    const PyCFunctionObject *looks = (PyCFunctionObject *)original;
    self->looks.m_ml = looks->m_ml;
    self->looks.m_self = Py_XNewRef(looks->m_self);
    self->looks.m_module = Py_XNewRef(looks->m_module);
    self->looks.m_weakreflist = NULL;
    self->looks.vectorcall = function->call;
    self->original = Py_NewRef(original);
    self->place = Py_NewRef(place);
    self->in_python = Py_NewRef(in_python);
    self->wrapper = NULL;
    self->function = function;
    self->text = self->session = 0;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int
stand_in_traverse(struct ct_stand_in *self, visitproc visit, void *arg)
{
    Py_VISIT(self->looks.m_self);
    Py_VISIT(self->looks.m_module);
    Py_VISIT(self->original);
    Py_VISIT(self->in_python);
    Py_VISIT(self->wrapper);
    return 0;
}

static void
stand_in_dealloc(struct ct_stand_in *self)
{
    PyObject_GC_UnTrack(self);
    if (self->looks.m_weakreflist != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    Py_XDECREF(self->looks.m_self);
    Py_XDECREF(self->looks.m_module);
    Py_DECREF(self->original);
    Py_DECREF(self->place);
    Py_DECREF(self->in_python);
    Py_XDECREF(self->wrapper);
    PyObject_GC_Del(self);
}

static PyObject *
stand_in_reduce(struct ct_stand_in *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *result = NULL, *module = PyImport_ImportModule("pkgutil");
    PyObject *resolve = module == NULL ? NULL : PyObject_GetAttrString(module, "resolve_name");
    if (resolve != NULL) {
        result = Py_BuildValue("O(O)", resolve, self->place);
    }
    Py_XDECREF(resolve);
    Py_XDECREF(module);
    return result;
}

static PyObject *
stand_in_class(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef(&PyCFunction_Type);
}

/* PyType_Ready puts one of the type's own before the one of its base. */
static PyObject *
stand_in_doc(struct ct_stand_in *self, void *Py_UNUSED(closure))
{
    return PyObject_GetAttrString(self->original, "__doc__");
}

static PyObject *
stand_in_mark(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_TRUE;
}

static PyMethodDef stand_in_methods[] = {
    {"__reduce__", (PyCFunction)(void (*)(void))stand_in_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stand_in_getset[] = {
    {"__class__", stand_in_class, NULL, NULL, NULL},
    {"__doc__", (getter)stand_in_doc, NULL, NULL, NULL},
    {"__conctrace__", stand_in_mark, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef stand_in_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(struct ct_stand_in, original), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject stand_in_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "builtin_function_or_method",
    .tp_basicsize = sizeof(struct ct_stand_in),
    .tp_dealloc = (destructor)stand_in_dealloc,
    .tp_traverse = (traverseproc)stand_in_traverse,
    .tp_vectorcall_offset = offsetof(struct ct_stand_in, looks.vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = stand_in_methods,
    .tp_getset = stand_in_getset,
    .tp_members = stand_in_members,
};

int
ct_stand_ins_init(void)
{
    stand_in_type.tp_base = &PyCFunction_Type;
    return PyType_Ready(&stand_in_type);
}
