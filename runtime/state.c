/* States: making, running, freeing.
 *
 * One block of memory holds it all: state | workers | arena | workspaces of the workers | decoded weights. */
#define _POSIX_C_SOURCE 200112L
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

int64_t rt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t rounded(uint64_t bytes) {
    return (bytes + SECATEUR_ALIGNMENT - 1) / SECATEUR_ALIGNMENT * SECATEUR_ALIGNMENT;
}

static int aligned(const void *pointer) { return (uintptr_t)pointer % SECATEUR_ALIGNMENT == 0; }

static uint64_t worker_bytes(void) { return SECATEUR_THREAD_BYTES + rounded(model_table.workspace_bytes); }

/* Before a model runs, the decoder works where its tensors will lie. */
static uint64_t tensors_bytes(void) {
    uint64_t bytes = model_table.arena_bytes;
    return rounded(model_table.stream_count && bytes < SECATEUR_DECODER_BYTES ? SECATEUR_DECODER_BYTES : bytes);
}

static uint64_t decoded_bytes(void) { return model_table.stream_count ? rounded(model_table.weights_bytes) : 0; }

uint64_t secateur_arena_bytes(int32_t threads) {
    if (threads < 1 || threads > SECATEUR_MAX_THREADS) return 0;
    uint64_t bytes = SECATEUR_STATE_BYTES + tensors_bytes() + (uint64_t)(threads - 1) * worker_bytes() + decoded_bytes();
    return bytes > SIZE_MAX / 2 ? 0 : bytes;
}

/* Of a state that decodes no weights where the caller gives them. */
static uint64_t block_bytes(const secateur_options *options, int32_t threads) {
    return secateur_arena_bytes(threads) - (options->weights ? decoded_bytes() : 0);
}

static int processor_fits(void) {
    for (int32_t i = 0; i < model_table.feature_count; i++)
        if (!rt_cpu_has(model_table.features[i].name)) return 0;
    return 1;
}

/* Fields are added at the end, and none may hide in padding that older callers left undefined. */
_Static_assert(sizeof(secateur_options) == offsetof(secateur_options, weights_bytes) + sizeof(uint64_t),
               "secateur_options ends in padding");

enum { MOST_OPTION_BYTES = 4096 }; /* a larger size is no size, and is not read through */

/* Whether options of `size` bytes end where a version of them could: before a field, or after the last known. */
static int ends_at_a_field(size_t size) {
    static const size_t begins[] = {offsetof(secateur_options, threads), offsetof(secateur_options, arena),
                                    offsetof(secateur_options, arena_bytes), offsetof(secateur_options, weights),
                                    offsetof(secateur_options, weights_bytes)};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (size == begins[i]) return 1;
    return size >= sizeof(secateur_options) && size <= MOST_OPTION_BYTES;
}

/* The caller's options as this version's, which may have fewer or more fields; 0 where that cannot be. */
static int read_options(const secateur_options *given, secateur_options *options) {
    static const secateur_options defaults = SECATEUR_OPTIONS_INIT;
    *options = defaults;
    if (!given) return 1;
    size_t size = given->size;
    if (!ends_at_a_field(size)) return 0;
    for (size_t i = sizeof *options; i < size; i++)
        if (((const unsigned char *)given)[i]) return 0;
    memcpy(options, given, size < sizeof *options ? size : sizeof *options);
    return 1;
}

static secateur_status check_options(const secateur_options *options, int32_t threads) {
    if (threads < 1 || threads > SECATEUR_MAX_THREADS) return SECATEUR_ERROR_ARGUMENT;
    if (!processor_fits()) return SECATEUR_ERROR_PROCESSOR;
    if (secateur_arena_bytes(threads) == 0) return SECATEUR_ERROR_MEMORY;
    uint64_t bytes = block_bytes(options, threads);
    if (options->arena && (!aligned(options->arena) || options->arena_bytes < bytes)) return SECATEUR_ERROR_ARENA;
    if (options->weights && (!aligned(options->weights) || options->weights_bytes != model_table.weights_bytes))
        return SECATEUR_ERROR_WEIGHTS;
    return SECATEUR_OK;
}

static unsigned char *allocate(uint64_t bytes) {
    void *block = NULL;
    return posix_memalign(&block, SECATEUR_ALIGNMENT, (size_t)bytes) == 0 ? block : NULL;
}

static secateur_status start_threads(secateur_state *state) {
    if (state->threads == 1) return SECATEUR_OK;
    unsigned char *workers = (unsigned char *)state + SECATEUR_STATE_BYTES;
    unsigned char *workspaces = state->arena + tensors_bytes();
    int started = rt_pool_start(&state->pool, state->threads, (rt_worker *)workers, workspaces,
                                rounded(model_table.workspace_bytes));
    return started ? SECATEUR_OK : SECATEUR_ERROR_THREAD;
}

/* The model's weights at `to`, gaps zero; 0 where they are damaged. */
static int decode_weights(unsigned char *to, rt_scratch *scratch) {
    memset(to, 0, (size_t)decoded_bytes());
    for (int32_t i = 0; i < model_table.stream_count; i++) {
        const rt_stream *s = &model_table.streams[i];
        rt_span in = {model_table.weights + s->at, model_table.weights + s->at + s->coded};
        if (!rt_decode(in, to + s->offset, s->bytes, scratch)) return 0;
        if (rt_adler(to + s->offset, s->bytes) != s->check) return 0;
    }
    return 1;
}

/* Weights as kernels read them: the caller's, the model's, or decoded behind the workspaces. */
static secateur_status find_weights(secateur_state *state, const secateur_options *options, unsigned char *decoded) {
    state->weights = options->weights ? options->weights : model_table.weights;
    if (options->weights || !model_table.stream_count) return SECATEUR_OK;
    state->weights = decoded;
    return decode_weights(decoded, (rt_scratch *)state->arena) ? SECATEUR_OK : SECATEUR_ERROR_DAMAGED;
}

secateur_status secateur_create(const secateur_options *given, secateur_state **result) {
    secateur_options known, *options = &known;
    if (!result) return SECATEUR_ERROR_ARGUMENT;
    *result = NULL;
    if (!read_options(given, options)) return SECATEUR_ERROR_OPTIONS;
    int32_t threads = options->threads ? options->threads : 1;
    secateur_status status = check_options(options, threads);
    if (status != SECATEUR_OK) return status;
    unsigned char *block = options->arena ? options->arena : allocate(block_bytes(options, threads));
    if (!block) return SECATEUR_ERROR_MEMORY;
    secateur_state *state = (secateur_state *)block;
    memset(state, 0, sizeof *state);
    state->arena = block + SECATEUR_STATE_BYTES + (size_t)(threads - 1) * SECATEUR_THREAD_BYTES;
    state->owned = options->arena ? NULL : block;
    state->threads = threads;
    status = find_weights(state, options, block + (secateur_arena_bytes(threads) - decoded_bytes()));
    if (status == SECATEUR_OK) status = start_threads(state);
    if (status == SECATEUR_OK) *result = state;
    else free(state->owned);
    return status;
}

const void *secateur_state_weights(const secateur_state *state) { return state ? state->weights : NULL; }

void secateur_free(secateur_state *state) {
    if (!state) return;
    if (state->threads > 1) rt_pool_stop(&state->pool);
    free(state->owned);
}

static int pointers_given(const void *const *pointers, const secateur_tensor *tensors, int32_t count) {
    if (count > 0 && !pointers) return 0;
    for (int32_t i = 0; i < count; i++)
        if (!pointers[i] && tensors[i].bytes > 0) return 0;
    return 1;
}

static secateur_status execute(secateur_state *state, const void *const *inputs, void *const *outputs, int64_t *ns) {
    if (!state || !pointers_given(inputs, model_table.inputs, model_table.input_count) ||
        !pointers_given((const void *const *)outputs, model_table.outputs, model_table.output_count))
        return SECATEUR_ERROR_ARGUMENT;
    if (atomic_exchange(&state->busy, 1)) return SECATEUR_ERROR_BUSY;
    state->ns = ns;
    state->alone = state->threads == 1 || !rt_pool_alive(&state->pool);
    model_driver(state, state->arena, state->weights, inputs, outputs);
    atomic_store(&state->busy, 0);
    return SECATEUR_OK;
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
    if (!state->ns) {
        compute(state, kernel, args, workspace, tasks);
        return;
    }
    int64_t begin = rt_now();
    compute(state, kernel, args, workspace, tasks);
    state->ns[index] = rt_now() - begin;
}
