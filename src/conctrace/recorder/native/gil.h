/* Python.h, and everything that is taken for granted about the GIL.
 *
 * 1. All functions here run with the GIL held, but for those marked "without the GIL" (locks.c: waiting).
 * 2. Between reserving a slot and storing its kind nothing of Python is called, so no other thread of this
 *    process is in the middle of a record when one finds a segment full: it can be unmapped at the switch. Nor need slots be reserved
 *    by atomic operations.
 * 3. Tables (sites, texts, cells, threads, free entries) have no lock of their own.
 * 4. A lock's bookkeeping (holder, totals, budget) is done under the GIL; what a waiter does before it has the GIL
 *    back, it does while it holds that lock, and only with what the lock protects. Who is about to wait says so (`waiters`)
 *    under the GIL: a lock without waiters is taken and released without atomic operations.
 * 5. Python code (a finalizer, a signal's handler) can run inside Python's API only: where objects are let go, or made
 *    (up to 3.11 the garbage collector may run there). Everything of ours is consistent at those points. Nothing is called
 *    that looks for signals (PyObject_Str and PyObject_Repr do) where an exception would be ours to clear.
 *
 * Fields read without the GIL are atomic, and only those: what a free-threaded build needs is in 2 to 4. Until it is there, such a
 * build takes neither recorder (`session.startup` says so).
 */
#ifndef CT_GIL_H
#define CT_GIL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <frameobject.h> /* PyFrame_GetBack; on 3.10 f_lasti */
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif
#include <structmember.h>

#ifdef Py_GIL_DISABLED
#error "conctrace's native recorder needs the GIL"
#endif
#if !defined(__linux__)
#error "conctrace's native recorder is for Linux"
#endif

/* A number of one digit, which most are, without a call; -1: it has more, is negative or is no int. */
static inline long long
ct_small_number(PyObject *object)
{
    if (!PyLong_CheckExact(object)) {
        return -1;
    }
#if PY_VERSION_HEX >= 0x030C0000
    return PyUnstable_Long_IsCompact((PyLongObject *)object) ? PyUnstable_Long_CompactValue((PyLongObject *)object) : -1;
#else
    Py_ssize_t digits = Py_SIZE(object);
    return digits == 0 ? 0 : digits == 1 ? (long long)((PyLongObject *)object)->ob_digit[0] : -1;
#endif
}

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

static inline int
ct_is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

#endif
