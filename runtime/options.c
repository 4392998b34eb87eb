/* What a state of any machine begins with: the caller's options, memory, weights. */
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

uint64_t rt_rounded(uint64_t bytes) {
    return (bytes + SECATEUR_ALIGNMENT - 1) / SECATEUR_ALIGNMENT * SECATEUR_ALIGNMENT;
}

static int aligned(const void *pointer) { return (uintptr_t)pointer % SECATEUR_ALIGNMENT == 0; }

static uint64_t worker_bytes(void) { return SECATEUR_THREAD_BYTES + rt_rounded(model_table.workspace_bytes); }

/* Before a model runs, its weights are decoded and made where the tensors of a caller's arena will lie. */
static uint64_t tensors_bytes(int callers) {
    uint64_t bytes = model_table.arena_bytes;
    return rt_rounded(callers && model_table.making_bytes > bytes ? model_table.making_bytes : bytes);
}

uint64_t rt_tensors_bytes(const secateur_options *options) { return tensors_bytes(options->arena != NULL); }

uint64_t rt_decoded_bytes(void) { return model_table.stream_count ? rt_rounded(model_table.weights_bytes) : 0; }

static uint64_t state_bytes(int32_t threads, uint64_t tensors, uint64_t weights) {
    return SECATEUR_STATE_BYTES + tensors + (uint64_t)(threads - 1) * worker_bytes() + weights;
}

uint64_t secateur_arena_bytes(int32_t threads) {
    if (threads < 1 || threads > SECATEUR_MAX_THREADS) return 0;
    uint64_t bytes = state_bytes(threads, tensors_bytes(1), rt_decoded_bytes());
    return bytes > SIZE_MAX / 2 ? 0 : bytes;
}

uint64_t rt_block_bytes(const secateur_options *options) {
    return state_bytes(options->threads, rt_tensors_bytes(options), options->weights ? 0 : rt_decoded_bytes());
}

static int processor_fits(void) {
    for (int32_t i = 0; i < model_table.feature_count; i++)
        if (!rt_cpu_has(model_table.features[i].name)) return 0;
    return 1;
}

/* Fields are added at the end, and none may hide in padding that older callers left undefined. */
_Static_assert(sizeof(secateur_options) == offsetof(secateur_options, cpu_count) + sizeof(uint64_t),
               "secateur_options ends in padding");

enum { MOST_OPTION_BYTES = 4096 }; /* a larger size is no size, and is not read through */

/* Whether options of `size` bytes end where a version of them could: before a field, or after the last known. */
static int ends_at_a_field(size_t size) {
    static const size_t begins[] = {offsetof(secateur_options, threads), offsetof(secateur_options, arena),
                                    offsetof(secateur_options, arena_bytes), offsetof(secateur_options, weights),
                                    offsetof(secateur_options, weights_bytes), offsetof(secateur_options, gpu),
                                    offsetof(secateur_options, cpus), offsetof(secateur_options, cpu_count)};
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
    uint64_t known = model_table.device ? SECATEUR_GPU_SHARED | SECATEUR_GPU_NO_GRAPH : 0;
    if (options->gpu & ~known) return SECATEUR_ERROR_OPTIONS;
    if (threads < 1 || threads > SECATEUR_MAX_THREADS) return SECATEUR_ERROR_ARGUMENT;
    if (options->cpu_count && !options->cpus) return SECATEUR_ERROR_ARGUMENT;
    if (!processor_fits()) return SECATEUR_ERROR_PROCESSOR;
    if (secateur_arena_bytes(threads) == 0) return SECATEUR_ERROR_MEMORY;
    if (options->arena && (!aligned(options->arena) || options->arena_bytes < rt_block_bytes(options)))
        return SECATEUR_ERROR_ARENA;
    if (options->weights && (!aligned(options->weights) || options->weights_bytes != model_table.weights_bytes))
        return SECATEUR_ERROR_WEIGHTS;
    return SECATEUR_OK;
}

static unsigned char *allocate(uint64_t bytes) {
    void *block = NULL;
    return posix_memalign(&block, SECATEUR_ALIGNMENT, (size_t)bytes) == 0 ? block : NULL;
}

int rt_pointers_given(const void *const *pointers, const secateur_tensor *tensors, int32_t count) {
    if (count > 0 && !pointers) return 0;
    for (int32_t i = 0; i < count; i++)
        if (!pointers[i] && tensors[i].bytes > 0) return 0;
    return 1;
}

secateur_status secateur_create(const secateur_options *given, secateur_state **result) {
    secateur_options options;
    if (!result) return SECATEUR_ERROR_ARGUMENT;
    *result = NULL;
    if (!read_options(given, &options)) return SECATEUR_ERROR_OPTIONS;
    options.threads = options.threads ? options.threads : 1;
    secateur_status status = check_options(&options, options.threads);
    if (status != SECATEUR_OK) return status;
    unsigned char *block = options.arena ? options.arena : allocate(rt_block_bytes(&options));
    if (!block) return SECATEUR_ERROR_MEMORY;
    status = rt_make(&options, block);
    if (status == SECATEUR_OK) *result = (secateur_state *)(void *)block;
    else if (!options.arena) free(block);
    return status;
}
