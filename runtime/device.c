/* States whose kernels run on a GPU.
 *
 * The host's block holds the state, then the kernels' handles and the device pointers of inputs and outputs. One
 * allocation in the GPU's memory holds weights | arena | inputs | outputs. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

enum { THREADS = 128, MOST_ARGUMENTS = 128, DEVICE_ALIGNMENT = 256, PIECES = 2 };

struct secateur_state {
    const rt_cuda *cuda;
    const void *given; /* the weights, in the host's memory */
    void *owned; /* to be freed, or null where the caller supplied the block */
    cu_device device;
    cu_context context;
    int retained; /* the context is the device's primary one, and counts us */
    cu_module module;
    cu_stream stream, used; /* ours; that of the run in progress */
    cu_pointer memory, weights, arena;
    cu_function *functions;
    const void **inputs; /* in the device's memory, as the driver wants them */
    void **outputs;
    cu_event *events; /* of the run in progress, or null */
    cu_result error;  /* the first of the run in progress */
    _Atomic int32_t busy;
};

_Static_assert(sizeof(secateur_state) <= SECATEUR_STATE_BYTES, "SECATEUR_STATE_BYTES is too small");

void rt_launch(secateur_state *state, int32_t kernel, void **args, int32_t count, void *workspace, int32_t tasks,
               int32_t threads, int32_t index);

/* Messages: the last one of this thread. ------------------------------------------------------------- */

static _Thread_local char said[512];

static const char *message(secateur_status status) {
    (void)status;
    return *said ? said : "the GPU failed in another thread";
}

const char *rt_device_message(secateur_status status) { return message(status); }

__attribute__((format(printf, 2, 3))) static secateur_status fail(secateur_status status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(said, sizeof said, format, values);
    va_end(values);
    return status;
}

static secateur_status fail_at(const rt_cuda *cuda, const char *what, cu_result result) {
    const char *name = NULL;
    if (cuda->error_name(result, &name) != 0 || !name) name = "an unknown error";
    if (result == CU_OUT_OF_MEMORY) return fail(SECATEUR_ERROR_DEVICE_MEMORY, "the GPU has no memory for %s", what);
    return fail(SECATEUR_ERROR_DEVICE, "the GPU's driver failed at %s: %s (%d)", what, name, result);
}

/* Making a state. ------------------------------------------------------------------------------------ */

static secateur_status open_driver(secateur_state *state) {
    const char *missing;
    state->cuda = rt_cuda_driver(&missing);
    if (missing) return fail(SECATEUR_ERROR_DRIVER, "the GPU's driver is too old: libcuda.so.1 has no %s", missing);
    if (!state->cuda)
        return fail(SECATEUR_ERROR_DRIVER, "no driver for NVIDIA's GPUs: libcuda.so.1 cannot be opened");
    cu_result result = state->cuda->init(0);
    if (result == CU_NO_DEVICE) return fail(SECATEUR_ERROR_DEVICE, "the driver finds no GPU");
    return result ? fail_at(state->cuda, "its start", result) : SECATEUR_OK;
}

/* The caller's context where there is one, else the first device's primary one. */
static secateur_status open_context(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    int count = 0;
    cu_result result = cuda->context_current(&state->context);
    if (!result && state->context) result = cuda->context_device(&state->device);
    else if (!result) {
        if (cuda->device_count(&count) || count < 1) return fail(SECATEUR_ERROR_DEVICE, "the driver finds no GPU");
        result = cuda->device_get(&state->device, 0);
        if (!result) result = cuda->primary_retain(&state->context, state->device);
        state->retained = !result;
        if (result) state->context = NULL;
    }
    return result ? fail_at(cuda, "its context", result) : SECATEUR_OK;
}

static secateur_status check_architecture(const secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    int major = 0, minor = 0, wanted = model_table.device->architecture;
    char name[128] = "unknown";
    cu_result result = cuda->device_attribute(&major, CU_COMPUTE_MAJOR, state->device);
    if (!result) result = cuda->device_attribute(&minor, CU_COMPUTE_MINOR, state->device);
    if (result) return fail_at(cuda, "its architecture", result);
    cuda->device_name(name, sizeof name, state->device);
    if (major * 10 + minor >= wanted) return SECATEUR_OK;
    return fail(SECATEUR_ERROR_DEVICE, "the model is compiled for sm_%d or later, this GPU (%s) is sm_%d%d", wanted, name,
                major, minor);
}

static secateur_status load_kernels(secateur_state *state) {
    const rt_device *device = model_table.device;
    cu_result result = state->cuda->module_load(&state->module, device->ptx);
    if (result == CU_UNSUPPORTED_PTX || result == CU_INVALID_PTX || result == CU_NO_BINARY) {
        int version = 0;
        state->cuda->driver_version(&version);
        return fail(SECATEUR_ERROR_DRIVER, "the GPU's driver (CUDA %d.%d) does not take PTX %d.%d for sm_%d", version / 1000,
                    version % 1000 / 10, device->ptx_version / 10, device->ptx_version % 10, device->architecture);
    }
    if (result) return fail_at(state->cuda, "the model's code", result);
    for (int32_t i = 0; i < device->kernel_count; i++) {
        result = state->cuda->module_function(&state->functions[i], state->module, device->kernels[i]);
        if (result) return fail_at(state->cuda, device->kernels[i], result);
    }
    return SECATEUR_OK;
}

static uint64_t device_rounded(uint64_t bytes) {
    return (bytes + DEVICE_ALIGNMENT - 1) / DEVICE_ALIGNMENT * DEVICE_ALIGNMENT;
}

static uint64_t port_bytes(const secateur_tensor *tensors, int32_t count) {
    uint64_t bytes = 0;
    for (int32_t i = 0; i < count; i++) bytes += device_rounded(tensors[i].bytes);
    return bytes;
}

static secateur_status allocate(secateur_state *state, const void *weights) {
    const rt_cuda *cuda = state->cuda;
    uint64_t kept = device_rounded(model_table.weights_bytes), arena = device_rounded(model_table.device->arena_bytes);
    uint64_t ports = port_bytes(model_table.inputs, model_table.input_count) +
                     port_bytes(model_table.outputs, model_table.output_count);
    cu_result result = cuda->allocate(&state->memory, kept + arena + ports + DEVICE_ALIGNMENT);
    if (result) {
        state->memory = 0;
        char what[96];
        snprintf(what, sizeof what, "the model: it needs %llu MiB", (unsigned long long)((kept + arena + ports) >> 20) + 1);
        return fail_at(cuda, what, result);
    }
    state->weights = state->memory;
    state->arena = state->memory + kept;
    if (model_table.weights_bytes) result = cuda->to_device(state->weights, weights, model_table.weights_bytes, state->stream);
    if (!result) result = cuda->stream_wait(state->stream);
    return result ? fail_at(cuda, "the weights", result) : SECATEUR_OK;
}

static void release(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    if (state->context && cuda->context_push(state->context) == 0) {
        cu_context popped;
        if (state->memory) cuda->release(state->memory);
        if (state->stream) cuda->stream_destroy(state->stream);
        if (state->module) cuda->module_unload(state->module);
        cuda->context_pop(&popped);
    }
    if (state->retained) cuda->primary_release(state->device);
}

static secateur_status start(secateur_state *state, const void *weights) {
    const rt_cuda *cuda = state->cuda;
    cu_result result = cuda->stream_create(&state->stream, CU_STREAM_NON_BLOCKING);
    if (result) return fail_at(cuda, "a stream", result);
    secateur_status status = load_kernels(state);
    return status == SECATEUR_OK ? allocate(state, weights) : status;
}

static secateur_status open_device(secateur_state *state, const void *weights) {
    secateur_status status = open_driver(state);
    if (status == SECATEUR_OK) status = open_context(state);
    if (status == SECATEUR_OK) status = check_architecture(state);
    if (status != SECATEUR_OK) return status;
    cu_result result = state->cuda->context_push(state->context);
    if (result) return fail_at(state->cuda, "its context", result);
    status = start(state, weights);
    cu_context popped;
    state->cuda->context_pop(&popped);
    return status;
}

secateur_status secateur_create(const secateur_options *given, secateur_state **result) {
    secateur_options options;
    unsigned char *block;
    if (!result) return SECATEUR_ERROR_ARGUMENT;
    *result = NULL;
    secateur_status status = rt_begin(given, &options, &block);
    if (status != SECATEUR_OK) return status;
    secateur_state *state = (secateur_state *)block;
    memset(state, 0, sizeof *state);
    state->owned = options.arena ? NULL : block;
    state->functions = (cu_function *)(void *)(block + SECATEUR_STATE_BYTES);
    state->inputs = (const void **)(state->functions + model_table.device->kernel_count);
    state->outputs = (void **)(state->inputs + model_table.input_count);
    const unsigned char *weights;
    status = rt_find_weights(&options, block, (rt_scratch *)(void *)state->functions, NULL, NULL, &weights);
    state->given = weights;
    if (status == SECATEUR_OK) status = open_device(state, weights);
    if (status == SECATEUR_OK) {
        *result = state;
        return status;
    }
    if (state->cuda) release(state);
    free(state->owned);
    return status;
}

const void *secateur_state_weights(const secateur_state *state) { return state ? state->given : NULL; }

void secateur_free(secateur_state *state) {
    if (!state) return;
    release(state);
    free(state->owned);
}

/* Running. ------------------------------------------------------------------------------------------- */

static void note(secateur_state *state, cu_result result) {
    if (result && !state->error) state->error = result;
}

void rt_launch(secateur_state *state, int32_t kernel, void **args, int32_t count, void *workspace, int32_t tasks,
               int32_t threads, int32_t index) {
    void *parameters[MOST_ARGUMENTS + PIECES];
    unsigned block = threads ? (unsigned)threads : THREADS;
    unsigned grid = threads ? (unsigned)tasks : ((unsigned)tasks + THREADS - 1) / THREADS;
    if (state->error) return;
    for (int32_t i = 0; i < count; i++) parameters[i] = &args[i];
    parameters[count] = &workspace;
    parameters[count + 1] = &tasks;
    if (state->events) note(state, state->cuda->event_record(state->events[2 * index], state->used));
    note(state, state->cuda->launch(state->functions[kernel], grid, 1, 1, block, 1, 1, 0, state->used, parameters, NULL));
    if (state->events) note(state, state->cuda->event_record(state->events[2 * index + 1], state->used));
}

static void drive(secateur_state *state, const void *const *inputs, void *const *outputs, cu_stream stream) {
    state->error = 0;
    state->used = stream;
    model_driver(state, (unsigned char *)(uintptr_t)state->arena, (const unsigned char *)(uintptr_t)state->weights, inputs,
                 outputs);
}

/* The device's copies of inputs and outputs lie behind the arena. */
static cu_pointer place_ports(secateur_state *state) {
    cu_pointer at = state->arena + device_rounded(model_table.device->arena_bytes);
    for (int32_t i = 0; i < model_table.input_count; i++) {
        state->inputs[i] = (const void *)(uintptr_t)at;
        at += device_rounded(model_table.inputs[i].bytes);
    }
    for (int32_t i = 0; i < model_table.output_count; i++) {
        state->outputs[i] = (void *)(uintptr_t)at;
        at += device_rounded(model_table.outputs[i].bytes);
    }
    return at;
}

static void run_copies(secateur_state *state, const void *const *inputs, void *const *outputs) {
    const rt_cuda *cuda = state->cuda;
    cu_result result = 0;
    place_ports(state);
    for (int32_t i = 0; i < model_table.input_count && !result; i++)
        if (model_table.inputs[i].bytes)
            result = cuda->to_device((cu_pointer)(uintptr_t)state->inputs[i], inputs[i], model_table.inputs[i].bytes,
                                     state->stream);
    if (!result) drive(state, state->inputs, state->outputs, state->stream);
    note(state, result);
    for (int32_t i = 0; i < model_table.output_count && !state->error; i++)
        if (model_table.outputs[i].bytes)
            note(state, cuda->to_host(outputs[i], (cu_pointer)(uintptr_t)state->outputs[i], model_table.outputs[i].bytes,
                                      state->stream));
    result = cuda->stream_wait(state->stream); /* whatever happened: nothing may touch the caller's buffers later */
    note(state, result);
}

static secateur_status enter(secateur_state *state, const void *const *inputs, void *const *outputs) {
    if (!state || !rt_pointers_given(inputs, model_table.inputs, model_table.input_count) ||
        !rt_pointers_given((const void *const *)outputs, model_table.outputs, model_table.output_count))
        return SECATEUR_ERROR_ARGUMENT;
    if (atomic_exchange(&state->busy, 1)) return SECATEUR_ERROR_BUSY;
    state->error = state->cuda->context_push(state->context);
    return SECATEUR_OK;
}

static secateur_status leave(secateur_state *state) {
    cu_context popped;
    state->cuda->context_pop(&popped);
    cu_result error = state->error;
    atomic_store(&state->busy, 0);
    return error ? fail_at(state->cuda, "a run", error) : SECATEUR_OK;
}

secateur_status secateur_run(secateur_state *state, const void *const *inputs, void *const *outputs) {
    secateur_status status = enter(state, inputs, outputs);
    if (status != SECATEUR_OK) return status;
    if (!state->error) run_copies(state, inputs, outputs);
    return leave(state);
}

secateur_status secateur_run_device(secateur_state *state, const void *const *inputs, void *const *outputs, void *stream) {
    secateur_status status = enter(state, inputs, outputs);
    if (status != SECATEUR_OK) return status;
    if (!state->error) drive(state, inputs, outputs, stream);
    return leave(state);
}

static void read_times(secateur_state *state, int64_t *ns) {
    for (int32_t i = 0; i < model_table.operator_count; i++) {
        float ms = 0;
        note(state, state->cuda->event_elapsed(&ms, state->events[2 * i], state->events[2 * i + 1]));
        ns[i] = (int64_t)((double)ms * 1e6);
    }
}

static void run_timed(secateur_state *state, const void *const *inputs, void *const *outputs, int64_t *ns) {
    int32_t count = 2 * model_table.operator_count, made = 0;
    for (; made < count && !state->error; made++)
        note(state, state->cuda->event_create(&state->events[made], 0));
    if (state->error) made--;
    /* A call without tasks is not launched: its events have to have been recorded all the same. */
    for (int32_t i = 0; i < count && !state->error; i++) note(state, state->cuda->event_record(state->events[i], state->stream));
    if (!state->error) run_copies(state, inputs, outputs);
    if (!state->error) read_times(state, ns);
    for (int32_t i = 0; i < made; i++) state->cuda->event_destroy(state->events[i]);
}

secateur_status secateur_profile(secateur_state *state, const void *const *inputs, void *const *outputs, int64_t *ns) {
    int32_t operators = model_table.operator_count;
    if (!ns && operators) return SECATEUR_ERROR_ARGUMENT;
    secateur_status status = enter(state, inputs, outputs);
    if (status != SECATEUR_OK) return status;
    state->events = calloc((size_t)operators * 2 + 1, sizeof *state->events);
    if (state->events && !state->error) run_timed(state, inputs, outputs, ns);
    int made = state->events != NULL;
    free(state->events);
    state->events = NULL;
    status = leave(state);
    return made ? status : SECATEUR_ERROR_MEMORY;
}
