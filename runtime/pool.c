/* The thread pool: persistent workers that spin for a while, then sleep.
 *
 * A call waits only for tasks that were taken, not for threads: a worker that wakes late costs nothing. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "threads.h"

/* A thread takes 1 / (threads * CHUNKS_PER_THREAD) of what is left, so that the last chunks are small: a core a
 * quarter as fast as the others keeps them waiting for no longer than they would need for its first. */
enum { CHUNKS_PER_THREAD = 4, SPIN_NS = 100000, SPINS_PER_LOOK = 64, STACK_BYTES = 1 << 20 };

/* A ticket is the call's number, then the next task. This next task belongs to no call. */
static const uint32_t CLOSED = INT32_MAX;

typedef struct share {
    rt_kernel kernel;
    void *const *args;
    int32_t tasks, begin, end;
} share;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* Takes the next chunk of the current call; 0 where none is left. `seen` receives the call's number. */
static int claim(rt_pool *pool, share *taken, uint32_t *seen) {
    uint64_t ticket = atomic_load(&pool->ticket);
    for (;;) {
        int32_t next = (int32_t)(uint32_t)ticket;
        *seen = (uint32_t)(ticket >> 32);
        taken->kernel = atomic_load_explicit(&pool->kernel, memory_order_acquire);
        taken->args = atomic_load_explicit(&pool->args, memory_order_acquire);
        taken->tasks = atomic_load_explicit(&pool->tasks, memory_order_acquire);
        if (next >= taken->tasks) return 0;
        int32_t share = (taken->tasks - next) / (pool->threads * CHUNKS_PER_THREAD);
        int32_t step = share > 0 ? share : 1;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + (uint32_t)step)) continue;
        taken->begin = next;
        taken->end = next + step;
        return 1;
    }
}

static void finish(rt_pool *pool, const share *taken) {
    int32_t count = taken->end - taken->begin;
    if (atomic_fetch_add(&pool->done, count) + count < taken->tasks || !atomic_load(&pool->waiting)) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->lock);
}

static uint32_t work(rt_pool *pool, void *workspace) {
    share taken;
    uint32_t seen;
    while (claim(pool, &taken, &seen)) {
        taken.kernel(taken.args, workspace, taken.begin, taken.end);
        finish(pool, &taken);
    }
    return seen;
}

static int idle(rt_pool *pool, uint32_t seen) {
    return (uint32_t)(atomic_load(&pool->ticket) >> 32) == seen && !atomic_load(&pool->stop);
}

static int unfinished(rt_pool *pool, uint32_t tasks) { return atomic_load(&pool->done) < (int32_t)tasks; }

/* Spins while `test` holds, for at most spin_ns; whether it still holds. */
static int spin(rt_pool *pool, int (*test)(rt_pool *, uint32_t), uint32_t value) {
    if (pool->spin_ns == 0) return test(pool, value);
    for (int64_t until = rt_now() + pool->spin_ns; rt_now() < until;)
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (!test(pool, value)) return 0;
            relax();
        }
    return 1;
}

static void sleep_while_idle(rt_pool *pool, uint32_t seen) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (idle(pool, seen)) pthread_cond_wait(&pool->work, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *argument) {
    rt_worker *worker = argument;
    while (!atomic_load(&worker->pool->stop)) {
        uint32_t seen = work(worker->pool, worker->workspace);
        if (spin(worker->pool, idle, seen)) sleep_while_idle(worker->pool, seen);
    }
    return NULL;
}

static void wake_sleepers(rt_pool *pool) {
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_for_tasks(rt_pool *pool, int32_t tasks) {
    if (!spin(pool, unfinished, (uint32_t)tasks)) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->waiting, 1);
    while (unfinished(pool, (uint32_t)tasks)) pthread_cond_wait(&pool->finished, &pool->lock);
    atomic_store(&pool->waiting, 0);
    pthread_mutex_unlock(&pool->lock);
}

void rt_pool_run(rt_pool *pool, rt_kernel kernel, void *const *args, void *workspace, int32_t tasks) {
    uint64_t call = atomic_load(&pool->ticket) >> 32;
    atomic_store(&pool->ticket, call << 32 | CLOSED); /* no worker takes tasks of the last call by what follows */
    atomic_store_explicit(&pool->kernel, kernel, memory_order_release);
    atomic_store_explicit(&pool->args, args, memory_order_release);
    atomic_store_explicit(&pool->tasks, tasks, memory_order_release);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store(&pool->ticket, (call + 1) << 32);
    wake_sleepers(pool);
    work(pool, workspace);
    wait_for_tasks(pool, tasks);
}

/* The processors of the started threads; 0 where `places` names one that cannot be. */
static int read_places(rt_places places, cpu_set_t *processors) {
    CPU_ZERO(processors);
    for (uint64_t i = 0; i < places.count; i++) {
        if (places.cpus[i] < 0 || places.cpus[i] >= CPU_SETSIZE) return 0;
        CPU_SET(places.cpus[i], processors);
    }
    return 1;
}

/* Spinning helps only where every thread has a processor of its own; `given` are those of the started threads. */
static int64_t spin_time(int32_t threads, const cpu_set_t *given) {
    cpu_set_t processors;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0) return 0;
    int count = CPU_COUNT(given);
    if (count) CPU_OR(&processors, &processors, given);
    return threads <= CPU_COUNT(&processors) && (!count || threads - 1 <= count) ? SPIN_NS : 0;
}

/* Signals to the process are for the program's own threads; those that a fault raises stay with the thread. */
static void block_signals(sigset_t *before) {
    static const int faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, before);
}

static int start_worker(rt_pool *pool, rt_worker *worker, void *workspace, const cpu_set_t *processors) {
    pthread_attr_t attributes;
    worker->pool = pool;
    worker->workspace = workspace;
    if (pthread_attr_init(&attributes) != 0) return 0;
    sigset_t before;
    block_signals(&before);
    int started = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
                  pthread_create(&worker->thread, &attributes, worker_main, worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    pool->workers += started;
    if (!started || !CPU_COUNT(processors)) return started;
    return pthread_setaffinity_np(worker->thread, sizeof *processors, processors) == 0;
}

int rt_pool_start(rt_pool *pool, int32_t threads, rt_worker *workers, unsigned char *workspaces, uint64_t stride,
                  rt_places places) {
    cpu_set_t processors;
    if (!read_places(places, &processors)) return 0;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    pool->threads = threads;
    pool->spin_ns = spin_time(threads, &processors);
    pool->worker = workers;
    pool->owner = getpid();
    for (int32_t i = 0; i < threads - 1; i++)
        if (!start_worker(pool, &workers[i], workspaces + (size_t)i * (size_t)stride, &processors)) {
            rt_pool_stop(pool);
            return 0;
        }
    return 1;
}

int rt_pool_alive(const rt_pool *pool) { return pool->owner == getpid(); }

void rt_pool_stop(rt_pool *pool) {
    if (!rt_pool_alive(pool)) return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, 1);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int32_t i = 0; i < pool->workers; i++) pthread_join(pool->worker[i].thread, NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
}
