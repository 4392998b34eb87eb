/* A state whose kernels run on the processor: threads that share out tasks. */
#ifndef SECATEUR_THREADS_H
#define SECATEUR_THREADS_H

#include <pthread.h>
#include <sys/types.h>

#include "internal.h"

/* A kernel computes tasks begin <= t < end. */
typedef void (*rt_kernel)(void *const *args, void *workspace, int32_t begin, int32_t end);

typedef struct rt_worker {
    pthread_t thread;
    struct rt_pool *pool;
    void *workspace;
} rt_worker;

/* Threads that share out the tasks of one call after another.
 *
 * `ticket` is call number << 32 | next task. Its other fields are written only while no task of the previous
 * call is left, so whoever moves the ticket by compare-and-swap has read the fields that belong to it. */
typedef struct rt_pool {
    _Atomic uint64_t ticket;
    _Atomic(rt_kernel) kernel;
    _Atomic(void *const *) args;
    _Atomic int32_t tasks;
    _Atomic int32_t done;              /* tasks finished of this call */
    _Atomic int32_t sleepers, waiting, stop;
    int32_t workers, threads;          /* started, wanted (the caller included) */
    int64_t spin_ns;
    pthread_mutex_t lock;
    pthread_cond_t work, finished;
    rt_worker *worker;
    pid_t owner;
} rt_pool;

/* Processors that started threads may run on; none where the system is to choose. */
typedef struct rt_places {
    const int32_t *cpus;
    uint64_t count;
} rt_places;

/* 0 where a thread could not be started, or not where it should run. */
int rt_pool_start(rt_pool *pool, int32_t threads, rt_worker *workers, unsigned char *workspaces, uint64_t stride,
                  rt_places places);
void rt_pool_run(rt_pool *pool, rt_kernel kernel, void *const *args, void *workspace, int32_t tasks);
void rt_pool_stop(rt_pool *pool);
int rt_pool_alive(const rt_pool *pool); /* 0 in a child process: threads do not survive a fork, held locks do */

struct secateur_state {
    unsigned char *arena;
    const unsigned char *weights;
    void *owned; /* to be freed, or null where the caller supplied the arena */
    int64_t *ns; /* of the run in progress, or null */
    _Atomic int32_t busy;
    int32_t threads;
    int32_t alone; /* the run in progress has no workers to share with */
    int32_t damaged;   /* weights of the run in progress were: nothing is computed with them */
    int64_t fetch_ns;  /* what decoding the next operator's weights took */
    rt_pool pool;  /* unused with one thread */
};

_Static_assert(sizeof(secateur_state) <= SECATEUR_STATE_BYTES, "SECATEUR_STATE_BYTES is too small");
_Static_assert(sizeof(rt_worker) <= SECATEUR_THREAD_BYTES, "SECATEUR_THREAD_BYTES is too small");

/* Called by the driver before the operator that reads those weights. */
void rt_fetch_weights(secateur_state *state, unsigned char *arena, int32_t fetch);

/* Called by the driver for operator number `index`. */
void rt_dispatch(secateur_state *state, rt_kernel kernel, void *const *args, void *workspace, int32_t tasks,
                 int32_t index);

#endif
