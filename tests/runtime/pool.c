/* The pool by itself: every task is done once, every thread takes part, every thread has its own workspace.
 *
 * Short calls in a row are where a worker that looks for more of one call may meet the tasks of the next. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "threads.h"

#ifdef FEW
enum { SHORT_CALLS = 40000 };
#else
enum { SHORT_CALLS = 200000 };
#endif
enum { THREADS = 5, TASKS = 1000, STRIDE = 64, MOST = 40, LIMIT_SECONDS = 60 };

static _Atomic int done[TASKS];
static pthread_barrier_t meeting;
static _Thread_local int met;
static pthread_t main_thread;
static unsigned char workspaces[THREADS * STRIDE];
static cpu_set_t before;

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

enum { FIRST = TASKS / (THREADS * 4), LATE = TASKS * 3 / 4, SECOND = (TASKS - LATE) / (THREADS * 4) };

static int all_taken(_Atomic int *taken) { return atomic_load(&taken[0]) + atomic_load(&taken[1]); }

/* The calling thread is busy with its first chunk until most tasks are taken, with its second until all are.
 * Others leave it one. */
static void wait_when_slow(void *const *args, void *workspace, int32_t begin, int32_t end) {
    _Atomic int *taken = args[0], *chunks = &taken[2];
    int slow = pthread_equal(pthread_self(), main_thread);
    (void)workspace;
    atomic_fetch_add(&taken[slow], end - begin);
    if (slow) {
        int second = atomic_fetch_add(chunks, 1);
        while (all_taken(taken) < (second ? TASKS : LATE)) usleep(100);
    } else
        while (all_taken(taken) >= LATE && atomic_load(chunks) < 2) usleep(100);
}

/* Threads that are done with theirs take the rest, in chunks that become smaller. */
static void expect_slow_threads_to_take_less(void) {
    static rt_pool pool;
    static rt_worker workers[THREADS];
    if (!rt_pool_start(&pool, THREADS, workers, workspaces + STRIDE, STRIDE, (rt_places){NULL, 0})) abort();
    for (int i = 0; i < 20; i++) {
        _Atomic int taken[3] = {0, 0, 0};
        void *const args[] = {taken};
        rt_pool_run(&pool, wait_when_slow, args, workspaces, TASKS);
        if (taken[0] + taken[1] != TASKS || taken[1] > FIRST + SECOND) abort();
    }
    rt_pool_stop(&pool);
}

static _Atomic int strays;

static void look_where(void *const *args, void *workspace, int32_t begin, int32_t end) {
    int32_t place = *(const int32_t *)args[0];
    (void)workspace, (void)begin, (void)end;
    cpu_set_t processors;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0) abort();
    int only = CPU_COUNT(&processors) == 1 && CPU_ISSET(place, &processors);
    if (!pthread_equal(pthread_self(), main_thread)) atomic_fetch_add(&strays, !only);
    else if (CPU_COUNT(&processors) != CPU_COUNT(&before)) abort();
    usleep(100);
}

/* Started threads run where they are told, the caller's where it did. */
static void expect_places(void) {
    static rt_pool pool;
    static rt_worker workers[THREADS];
    int32_t place = 0;
    if (sched_getaffinity(0, sizeof before, &before) != 0) abort();
    while (!CPU_ISSET(place, &before)) place++;
    void *const args[] = {&place};
    if (!rt_pool_start(&pool, THREADS, workers, workspaces + STRIDE, STRIDE, (rt_places){&place, 1})) abort();
    rt_pool_run(&pool, look_where, args, workspaces, TASKS);
    if (atomic_load(&strays)) abort();
    rt_pool_stop(&pool);
}

int main(void) {
    static rt_pool pool;
    static rt_worker workers[THREADS];
    alarm(LIMIT_SECONDS);
    main_thread = pthread_self();
    pthread_barrier_init(&meeting, NULL, THREADS);
    if (!rt_pool_start(&pool, THREADS, workers, workspaces + STRIDE, STRIDE, (rt_places){NULL, 0})) abort();
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
    expect_slow_threads_to_take_less();
    expect_places();
    puts("ok");
    return 0;
}
