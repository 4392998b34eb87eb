/* The pool by itself: every task is done once, every thread takes part, every thread has its own workspace.
 *
 * Short calls in a row are where a worker that looks for more of one call may meet the tasks of the next. */
#define _DEFAULT_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "threads.h"

enum { THREADS = 5, TASKS = 1000, STRIDE = 64, SHORT_CALLS = 200000, MOST = 40, LIMIT_SECONDS = 60 };

static _Atomic int done[TASKS];
static pthread_barrier_t meeting;
static _Thread_local int met;
static pthread_t main_thread;
static unsigned char workspaces[THREADS * STRIDE];

int64_t rt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void count(void *const *args, void *workspace, int32_t begin, int32_t end) {
    if (args || !workspace || begin >= end) abort();
    for (int32_t t = begin; t < end; t++) atomic_fetch_add(&done[t], 1);
}

/* Signals that tell the process something reach threads of the program alone; faults stay where they are. */
static void expect_signals(int heard) {
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (sigismember(&blocked, SIGTERM) == heard || sigismember(&blocked, SIGUSR1) == heard) abort();
    if (sigismember(&blocked, SIGSEGV)) abort();
}

/* Nobody gets past this before all threads are in it. */
static void meet(void *const *args, void *workspace, int32_t begin, int32_t end) {
    count(args, workspace, begin, end);
    if (met) return;
    met = 1;
    *(unsigned char *)workspace += 1;
    expect_signals(pthread_equal(pthread_self(), main_thread));
    pthread_barrier_wait(&meeting);
}

static void expect_once(int32_t tasks, int32_t all) {
    for (int32_t t = 0; t < all; t++)
        if (atomic_exchange(&done[t], 0) != (t < tasks)) abort();
}

int main(void) {
    static rt_pool pool;
    static rt_worker workers[THREADS];
    alarm(LIMIT_SECONDS);
    main_thread = pthread_self();
    pthread_barrier_init(&meeting, NULL, THREADS);
    if (!rt_pool_start(&pool, THREADS, workers, workspaces + STRIDE, STRIDE)) abort();
    rt_pool_run(&pool, meet, NULL, workspaces, TASKS);
    expect_once(TASKS, TASKS);
    for (int i = 0; i < THREADS; i++)
        if (workspaces[i * STRIDE] != 1) abort();
    for (int32_t tasks = 1; tasks <= TASKS; tasks++) {
        rt_pool_run(&pool, count, NULL, workspaces, tasks);
        expect_once(tasks, TASKS);
        if (tasks % 100 == 0) usleep(1000); /* long enough for workers to fall asleep */
    }
    for (int32_t i = 0; i < SHORT_CALLS; i++) {
        rt_pool_run(&pool, count, NULL, workspaces, 1 + i % MOST);
        expect_once(1 + i % MOST, MOST);
    }
    rt_pool_stop(&pool);
    puts("ok");
    return 0;
}
