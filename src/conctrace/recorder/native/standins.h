/* Stand-ins for builtin functions of the standard library, as standins.c makes them and calls.c runs them. */
#ifndef CT_STANDINS_H
#define CT_STANDINS_H

#include "core.h"

/* A function that this recorder stands in for itself. */
struct ct_function {
    const char *place;   /* module and name, as `resolve_name` of pkgutil takes them */
    const char *text;    /* what its records call it; NULL: they do not */
    vectorcallfunc call;
    int pid_at, options_at; /* which arguments of a wait are these; -1: none */
};

struct ct_stand_in {
    PyCFunctionObject looks; /* those of the original */
    PyObject *original;
    PyObject *place;
    PyObject *in_python; /* makes a wrapper in Python out of the original … */
    PyObject *wrapper;   /* … which is this one, once it was needed */
    const struct ct_function *function;
    uint32_t text, session; /* number of `function->text`, and in which session that is its number */
};

extern const struct ct_function ct_functions[] __attribute__((visibility("hidden"))); /* ends with a place that is NULL */

int ct_stand_ins_init(void); /* -1 with an exception */
/* A stand-in; None: this recorder has none for such a function; NULL with an exception. */
PyObject *ct_stand_in(PyObject *original, PyObject *place, PyObject *in_python);

#endif
