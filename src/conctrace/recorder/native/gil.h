/* Python.h, and everything that is taken for granted about the GIL.
 *
 * 1. All functions here run with the GIL held, but for those marked "without the GIL" (locks.c: waiting).
 * 2. Between reserving a slot and storing its kind nothing of Python is called, so no other thread of this
 *    process is in the middle of a record when one finds a segment full: it can be unmapped at the switch.
 * 3. Tables (sites, texts, cells, threads, free entries) have no lock of their own.
 * 4. A lock's bookkeeping (holder, totals, budget) is done under the GIL; what a waiter does before it has the GIL
 *    back, it does while it holds that lock, and only with what the lock protects.
 * 5. Python code (a finalizer, a signal's handler) can run inside Python's API only: where objects are let go, or made
 *    (up to 3.11 the garbage collector may run there). Everything of ours is consistent at those points. Nothing is called
 *    that looks for signals (PyObject_Str and PyObject_Repr do) where an exception would be ours to clear.
 *
 * Slots are reserved atomically all the same, and fields read without the GIL are atomic: what a free-threaded build
 * needs is in 2 to 4. Until it is there, such a build takes neither recorder (`session.startup` says so).
 */
#ifndef CT_GIL_H
#define CT_GIL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <frameobject.h> /* PyFrame_GetBack; on 3.10 f_lasti */
#include <structmember.h>

#ifdef Py_GIL_DISABLED
#error "conctrace's native recorder needs the GIL"
#endif
#if !defined(__linux__)
#error "conctrace's native recorder is for Linux"
#endif

/* Up to 3.11 the garbage collector runs where objects are made, and with it finalizers and other threads. Not between these
 * two: nobody may release a lock again that is being released, or wait for it in the very thread that releases it. */
static inline int
ct_collector_out(void)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyGC_Disable();
#else
    return 0;
#endif
}

static inline void
ct_collector_in(int was_in)
{
    if (was_in) {
        PyGC_Enable();
    }
}

#endif
