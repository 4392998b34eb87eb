/* States: making, running, freeing.
 *
 * One block of memory holds it all: state | workers | arena | workspaces of the workers | decoded weights. */
#include <stdlib.h>
#include <string.h>

#include "threads.h"

static secateur_status start_threads(secateur_state *state, const secateur_options *options) {
    if (state->threads == 1) return SECATEUR_OK;
    unsigned char *workers = (unsigned char *)state + SECATEUR_STATE_BYTES;
    unsigned char *workspaces = state->arena + rt_tensors_bytes(options);
    rt_places places = {options->cpus, options->cpu_count};
    int started = rt_pool_start(&state->pool, state->threads, (rt_worker *)workers, workspaces,
                                rt_rounded(model_table.workspace_bytes), places);
    return started ? SECATEUR_OK : SECATEUR_ERROR_THREAD;
}

enum { CACHE_LINE = 64 };

/* Decoding of weights by all threads. */
typedef struct share {
    rt_some some;
    unsigned char *weights;
    _Atomic int32_t failed;
} share;

static void decode_share(void *const *args, void *workspace, int32_t begin, int32_t end) {
    share *work = args[0];
    rt_scratch *scratch = aligned_alloc(CACHE_LINE, ((size_t)model_table.making_bytes / CACHE_LINE + 1) * CACHE_LINE);
    (void)workspace;
    if (!scratch || !work->some(work->weights, scratch, begin, end)) atomic_store(&work->failed, 1);
    free(scratch);
}

static int share_out(void *context, rt_some some, unsigned char *weights, int32_t count) {
    secateur_state *state = context;
    share work = {some, weights, 0};
    void *const args[] = {&work};
    if (count) rt_pool_run(&state->pool, decode_share, args, NULL, count);
    return !atomic_load(&work.failed);
}

secateur_status rt_make(const secateur_options *options, unsigned char *block) {
    secateur_state *state = (secateur_state *)block;
    memset(state, 0, sizeof *state);
    state->arena = block + SECATEUR_STATE_BYTES + (size_t)(options->threads - 1) * SECATEUR_THREAD_BYTES;
    state->owned = options->arena ? NULL : block;
    state->threads = options->threads;
    secateur_status status = start_threads(state, options);
    if (status != SECATEUR_OK) return status;
    int started = state->threads > 1;
    int fits = state->owned == NULL || model_table.making_bytes <= model_table.arena_bytes;
    status = rt_find_weights(options, block, fits ? state->arena : NULL, started ? share_out : NULL, state, &state->weights);
    if (status != SECATEUR_OK && started) rt_pool_stop(&state->pool);
    return status;
}

const void *secateur_state_weights(const secateur_state *state) { return state ? state->weights : NULL; }

void secateur_free(secateur_state *state) {
    if (!state) return;
    if (state->threads > 1) rt_pool_stop(&state->pool);
    free(state->owned);
}

static secateur_status execute(secateur_state *state, const void *const *inputs, void *const *outputs, int64_t *ns) {
    if (!state || !rt_pointers_given(inputs, model_table.inputs, model_table.input_count) ||
        !rt_pointers_given((const void *const *)outputs, model_table.outputs, model_table.output_count))
        return SECATEUR_ERROR_ARGUMENT;
    if (atomic_exchange(&state->busy, 1)) return SECATEUR_ERROR_BUSY;
    state->ns = ns;
    state->alone = state->threads == 1 || !rt_pool_alive(&state->pool);
    state->damaged = 0;
    state->fetch_ns = 0;
    model_driver(state, state->arena, state->weights, inputs, outputs);
    secateur_status status = state->damaged ? SECATEUR_ERROR_DAMAGED : SECATEUR_OK;
    atomic_store(&state->busy, 0);
    return status;
}

secateur_status secateur_run(secateur_state *state, const void *const *inputs, void *const *outputs) {
    return execute(state, inputs, outputs, NULL);
}

secateur_status secateur_profile(secateur_state *state, const void *const *inputs, void *const *outputs, int64_t *ns) {
    return ns || model_table.operator_count == 0 ? execute(state, inputs, outputs, ns) : SECATEUR_ERROR_ARGUMENT;
}

static void compute(secateur_state *state, rt_kernel kernel, void *const *args, void *workspace, int32_t tasks) {
    if (state->alone || tasks <= 1) kernel(args, workspace, 0, tasks);
    else rt_pool_run(&state->pool, kernel, args, workspace, tasks);
}

void rt_dispatch(secateur_state *state, rt_kernel kernel, void *const *args, void *workspace, int32_t tasks,
                 int32_t index) {
    if (state->damaged) return;
    if (!state->ns) {
        compute(state, kernel, args, workspace, tasks);
        return;
    }
    int64_t begin = rt_now();
    compute(state, kernel, args, workspace, tasks);
    state->ns[index] = rt_now() - begin + state->fetch_ns;
    state->fetch_ns = 0;
}

void rt_fetch_weights(secateur_state *state, unsigned char *arena, int32_t fetch) {
    if (state->damaged) return;
    int64_t begin = state->ns ? rt_now() : 0;
    state->damaged = !rt_fetch_streams(arena, fetch);
    if (state->ns) state->fetch_ns = rt_now() - begin;
}
