/* Made by `python -m conctrace.events.header --write` from src/conctrace/events/ and settings.py; edit those. */
#ifndef CT_SCHEMA_H
#define CT_SCHEMA_H

#include <stdint.h>

struct ct_record {
    uint64_t time; /* CLOCK_MONOTONIC where the event began (ns) */
    uint64_t duration; /* how long it lasted; 0 for a moment (ns) */
    uint64_t other; /* the other party; by kind */
    int64_t value; /* a number; by kind */
    uint64_t cpu; /* the thread's CPU time at the end of a wait; 0: not read (ns) */
    uint64_t runq; /* the thread's run-queue delay so far at the end of a wait; 0: not read (ns) */
    uint32_t object; /* what it happened to (number) */
    uint32_t thread; /* in which thread of the image (index) */
    uint32_t stack; /* where in the program; taken before it blocked (number) */
    uint16_t core; /* CPU core at the time of writing, 65535: not known */
    uint8_t outcome; /* how it ended (OUTCOMES) */
    uint8_t kind; /* what it is (KINDS); 0: this slot was never finished */
};
_Static_assert(sizeof(struct ct_record) == 64, "a record has 64 bytes");

/* schema.py */
#define CT_SCHEMA_VERSION 1
#define CT_RECORD_SIZE 64
#define CT_RECORD_SHIFT 6
#define CT_MORE_PAYLOAD 63
#define CT_NO_CORE 65535

/* kinds.py: what an event is */
#define CT_KIND_PROCESS_BORN 1
#define CT_KIND_PROCESS_EXIT 2
#define CT_KIND_PROCESS_FORK 3
#define CT_KIND_PROCESS_START 4
#define CT_KIND_PROCESS_RUN 5
#define CT_KIND_PROCESS_JOIN 6
#define CT_KIND_PROCESS_SIGNAL 7
#define CT_KIND_CHILD_WAIT 8
#define CT_KIND_CHILD_STATUS 9
#define CT_KIND_THREAD_BEGIN 16
#define CT_KIND_THREAD_END 17
#define CT_KIND_THREAD_START 18
#define CT_KIND_THREAD_JOIN 19
#define CT_KIND_THREAD_ERROR 20
#define CT_KIND_LOCK_WAIT 32
#define CT_KIND_LOCK_HOLD 33
#define CT_KIND_SPAN 48
#define CT_KIND_INSTANT 49
#define CT_KIND_COUNTER 50
#define CT_KIND_SPAN_BEGIN 51
#define CT_KIND_LIFE_BEGIN 52
#define CT_KIND_LIFE_END 53
#define CT_KIND_RANGE_BEGIN 54
#define CT_KIND_RANGE_END 55
#define CT_KIND_PROGRAM_START 64
#define CT_KIND_PROGRAM_FAILED 65
#define CT_KIND_PROGRAM_WAIT 66
#define CT_KIND_PROGRAM_TALK 67
#define CT_KIND_PROGRAM_SYSTEM 68
#define CT_KIND_PROGRAM_EXEC 69
#define CT_KIND_PROGRAM_EXEC_FAILED 70
#define CT_KIND_DEFINE 240
#define CT_KIND_MORE 241

/* kinds.py: how it ended */
#define CT_OUTCOME_NO_OUTCOME 0
#define CT_OUTCOME_ACQUIRED 1
#define CT_OUTCOME_TIMEOUT 2
#define CT_OUTCOME_EMPTY 3
#define CT_OUTCOME_FULL 4
#define CT_OUTCOME_CANCELLED 5
#define CT_OUTCOME_KILLED 6
#define CT_OUTCOME_ERROR 7
#define CT_OUTCOME_INTERNAL 16
#define CT_OUTCOME_CONTENDED 17
#define CT_OUTCOME_NOT_FROM_START 18
#define CT_OUTCOME_EXIT_FINALIZED 19
#define CT_OUTCOME_EXIT_OS_EXIT 20
#define CT_OUTCOME_EXIT_BOOTSTRAP 21
#define CT_OUTCOME_FLOAT 22

/* kinds.py: what a DEFINE record defines */
#define CT_DEFINE_TEXT 1
#define CT_DEFINE_SITE 2
#define CT_DEFINE_STACK 3
#define CT_DEFINE_OBJECT 4
#define CT_DEFINE_THREAD 5
#define CT_DEFINE_PROCESS 6
#define CT_DEFINE_TOTALS 7

/* layout.py */
#define CT_ABI_VERSION 3
#define CT_PAGE 4096
#define CT_NONCE_DIGITS 16
#define CT_CONTROL_FILE "control"
#define CT_CONTROL_MAGIC "CTCTRL01"
#define CT_SIZEOF_CONTROL 60
#define CT_CONTROL_ON_OFFSET 16
#define CT_CONTROL_DETAIL_OFFSET 20
#define CT_CONTROL_SNAPSHOT_OFFSET 24
#define CT_CONTROL_COLLECTOR_OFFSET 28
#define CT_CONTROL_UNDRAINED_OFFSET 48
#define CT_DETAIL_BUDGET 0
#define CT_DETAIL_ALL 1
#define CT_DETAIL_WAITS 2
#define CT_LIVE_MAGIC "CTLIVE01"
#define CT_SIZEOF_LIVE 96
#define CT_RECORDER_PYTHON 0
#define CT_RECORDER_NATIVE 1
#define CT_ROLE_PROGRAM 0
#define CT_ROLE_FORKSERVER 1
#define CT_ROLE_RESOURCE_TRACKER 2
#define CT_LIVE_OFF_REASON_0 512
#define CT_LIVE_OFF_REASON_1 512
#define CT_LIVE_COMMAND_0 1024
#define CT_LIVE_COMMAND_1 3072
#define CT_BIRTHS_MAGIC "CTBRTH01"
#define CT_SIZEOF_BIRTHS 40
#define CT_BIRTHS_SEED_OFFSET 32
#define CT_BIRTHS_TAKEN_OFFSET 64
#define CT_BIRTHS_CLOSED_OFFSET 128
#define CT_BIRTHS_CLOCK_OFFSET 192
#define CT_BIRTH_UNUSED "CTUNUSED"
#define CT_FIRST_BIRTHS 8
#define CT_LARGEST_BIRTHS 256
#define CT_SEGMENT_MAGIC "CTSEGM01"
#define CT_SIZEOF_SEGMENT 40
#define CT_FIRST_SEGMENT_SIZE 65536
#define CT_LARGEST_SEGMENT_SIZE 1048576
#define CT_THREAD_ENTRY_SIZE 512
#define CT_SIZEOF_THREAD_KEY 8
#define CT_SIZEOF_THREAD_WAIT 56
#define CT_THREAD_WAIT_OFFSETS_0 16
#define CT_THREAD_WAIT_OFFSETS_1 72
#define CT_THREAD_HELD_OFFSET 128
#define CT_SIZEOF_THREAD_HELD 16
#define CT_THREAD_HELD_MAX 23
#define CT_TOTALS_ENTRY_SIZE 192
#define CT_SIZEOF_TOTALS_KEY 16
#define CT_TOTALS_COUNT_HOLDS 0
#define CT_TOTALS_COUNT_HOLD_NS 1
#define CT_TOTALS_COUNT_HOLD_MAX_NS 2
#define CT_TOTALS_COUNT_WAITS 3
#define CT_TOTALS_COUNT_WAIT_NS 4
#define CT_TOTALS_COUNT_WAIT_MAX_NS 5
#define CT_TOTALS_COUNT_FAILED 6
#define CT_SIZEOF_TOTALS_HALF 72
#define CT_TOTALS_HALF_OFFSETS_0 16
#define CT_TOTALS_HALF_OFFSETS_1 88
#define CT_OBJECT_ENTRY_SIZE 32
#define CT_SIZEOF_OBJECT_KEY 4
#define CT_OBJECT_OWNER_OFFSET 8
#define CT_SIZEOF_OBJECT_OWNER 16
#define CT_FIRST_CHUNK_SIZE 16384
#define CT_LARGEST_CHUNK_SIZE 1048576

/* layout.py: offsets of the live page's counters */
#define CT_LIVE_RECORDS 256
#define CT_LIVE_DROPPED 264
#define CT_LIVE_ERRORS 280
#define CT_LIVE_STACKS_DROPPED 288
#define CT_LIVE_HELD_DROPPED 296
#define CT_LIVE_TOTALS_DROPPED 304
#define CT_LIVE_OFF_TIME 312
#define CT_LIVE_ENDED 320
#define CT_LIVE_EXIT_VALUE 328

/* settings.py */
#define CT_BUDGET_FIRST 1000
#define CT_BUDGET_PER_SECOND 5000
#define CT_BUDGET_LEAST 50
#define CT_SHORT_NS 1000000
#define CT_STACK_DEPTH 16
#define CT_STACKS_MAX 100000
#define CT_TEXTS_MAX 2000000

#endif
