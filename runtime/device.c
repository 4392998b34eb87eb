/* Making and freeing of states whose kernels run on a GPU.
 *
 * The host's block holds the state, then the kernels' handles and the device pointers of inputs and outputs. One
 * allocation in the GPU's memory holds weights | arena | inputs | outputs, and one in the host's that the driver knows
 * holds inputs | outputs: what the GPU copies from and to, or, where it is shared, reads and writes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

enum { DEVICE_ALIGNMENT = 256 };

_Static_assert(sizeof(secateur_state) <= SECATEUR_STATE_BYTES, "SECATEUR_STATE_BYTES is too small");

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

secateur_status rt_fail_at(const rt_cuda *cuda, const char *what, cu_result result) {
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
    return result ? rt_fail_at(state->cuda, "its start", result) : SECATEUR_OK;
}

/* The caller's context where there is one, else the first device's primary one. */
static secateur_status open_context(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    int count = 0;
    cu_result result = cuda->context_current(&state->context);
    if (!result && state->context) result = cuda->context_device(&state->device);
    else if (!result) {
        result = cuda->device_count(&count);
        if (!result && count < 1) return fail(SECATEUR_ERROR_DEVICE, "the driver finds no GPU");
        if (!result) result = cuda->device_get(&state->device, 0);
        if (!result) result = cuda->primary_retain(&state->context, state->device);
        state->retained = !result;
        if (result) state->context = NULL;
    }
    return result ? rt_fail_at(cuda, "its context", result) : SECATEUR_OK;
}

static secateur_status check_architecture(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    int major = 0, minor = 0, wanted = model_table.device->architecture;
    char name[128] = "unknown";
    cu_result result = cuda->device_attribute(&major, CU_COMPUTE_MAJOR, state->device);
    if (!result) result = cuda->device_attribute(&minor, CU_COMPUTE_MINOR, state->device);
    if (result) return rt_fail_at(cuda, "its architecture", result);
    cuda->device_name(name, sizeof name, state->device);
    state->architecture = major * 10 + minor;
    if (state->architecture >= wanted) return SECATEUR_OK;
    return fail(SECATEUR_ERROR_DEVICE, "the model is compiled for sm_%d or later, this GPU (%s) is sm_%d%d", wanted, name,
                major, minor);
}

/* Finished code is for one architecture, and a driver may be too old for it: then the PTX is compiled. */
static cu_result load_module(secateur_state *state) {
    const rt_device *device = model_table.device;
    int fits = device->cubin && state->architecture == device->architecture;
    if (fits && state->cuda->module_load(&state->module, device->cubin) == 0) return 0;
    cu_result result = state->cuda->module_load(&state->module, device->ptx);
    if (result) state->module = NULL;
    return result;
}

static secateur_status load_kernels(secateur_state *state) {
    const rt_device *device = model_table.device;
    cu_result result = load_module(state);
    if (result == CU_UNSUPPORTED_PTX || result == CU_INVALID_PTX || result == CU_NO_BINARY) {
        int version = 0;
        state->cuda->driver_version(&version);
        return fail(SECATEUR_ERROR_DRIVER, "the GPU's driver (CUDA %d.%d) does not take PTX %d.%d for sm_%d", version / 1000,
                    version % 1000 / 10, device->ptx_version / 10, device->ptx_version % 10, device->architecture);
    }
    if (result) return rt_fail_at(state->cuda, "the model's code", result);
    for (int32_t i = 0; i < device->kernel_count; i++) {
        result = state->cuda->module_function(&state->functions[i], state->module, device->kernels[i]);
        if (result) return rt_fail_at(state->cuda, device->kernels[i], result);
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

/* Of all inputs and outputs. */
static uint64_t ports_bytes(void) {
    return port_bytes(model_table.inputs, model_table.input_count) +
           port_bytes(model_table.outputs, model_table.output_count) + DEVICE_ALIGNMENT;
}

static secateur_status allocate_staging(secateur_state *state) {
    void *staging = NULL;
    cu_result result = state->cuda->host_allocate(&staging, ports_bytes(), state->shared ? CU_HOST_MAPPED : 0);
    if (result == CU_OUT_OF_MEMORY)
        return fail(SECATEUR_ERROR_DEVICE_MEMORY, "the host has no memory for inputs and outputs that the GPU reaches");
    if (result) return rt_fail_at(state->cuda, "the host's memory for inputs and outputs", result);
    state->staging = staging;
    return SECATEUR_OK;
}

static void place_ports(secateur_state *state) {
    cu_pointer at = state->ports;
    for (int32_t i = 0; i < model_table.input_count; i++) {
        state->inputs[i] = (const void *)(uintptr_t)at;
        at += device_rounded(model_table.inputs[i].bytes);
    }
    for (int32_t i = 0; i < model_table.output_count; i++) {
        state->outputs[i] = (void *)(uintptr_t)at;
        at += device_rounded(model_table.outputs[i].bytes);
    }
}

static secateur_status allocate(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    uint64_t kept = device_rounded(model_table.weights_bytes), arena = device_rounded(model_table.device->arena_bytes);
    uint64_t bytes = kept + arena + (state->shared ? DEVICE_ALIGNMENT : ports_bytes());
    cu_result result = cuda->allocate(&state->memory, bytes);
    if (result) {
        state->memory = 0;
        char what[96];
        snprintf(what, sizeof what, "the model: it needs %llu MiB", (unsigned long long)(bytes >> 20) + 1);
        return rt_fail_at(cuda, what, result);
    }
    state->weights = state->memory;
    state->arena = state->memory + kept;
    state->ports = state->arena + arena;
    if (state->shared) result = cuda->host_pointer(&state->ports, state->staging, 0);
    place_ports(state);
    return result ? rt_fail_at(cuda, "memory that it shares with the host", result) : SECATEUR_OK;
}

static secateur_status send_weights(secateur_state *state, const void *weights) {
    const rt_cuda *cuda = state->cuda;
    cu_result result = 0;
    if (model_table.weights_bytes) result = cuda->to_device(state->weights, weights, model_table.weights_bytes, state->stream);
    cu_result waited = cuda->stream_wait(state->stream); /* whatever happened: weights may be the caller's */
    if (!result) result = waited;
    return result ? rt_fail_at(cuda, "the weights", result) : SECATEUR_OK;
}

/* A run as one graph. Where the driver has none, or does not take it, kernels are launched one by one. */
static void capture(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    cu_graph graph = NULL;
    if (!cuda->has_graphs || cuda->capture_begin(state->stream, CU_CAPTURE_RELAXED)) return;
    rt_queue(state);
    if (cuda->capture_end(state->stream, &graph) || !graph) return;
    if (state->error || cuda->graph_instantiate(&state->graph, graph, NULL, NULL, 0)) state->graph = NULL;
    cuda->graph_destroy(graph);
}

static void release(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    if (state->context && cuda->context_push(state->context) == 0) {
        cu_context popped;
        if (state->graph) cuda->graph_exec_destroy(state->graph);
        if (state->memory) cuda->release(state->memory);
        if (state->staging) cuda->host_release(state->staging);
        if (state->stream) cuda->stream_destroy(state->stream);
        if (state->module) cuda->module_unload(state->module);
        cuda->context_pop(&popped);
    }
    if (state->retained) cuda->primary_release(state->device);
}

static secateur_status start(secateur_state *state, const void *weights, uint64_t options) {
    const rt_cuda *cuda = state->cuda;
    state->shared = (options & SECATEUR_GPU_SHARED) != 0;
    cu_result result = cuda->stream_create(&state->stream, CU_STREAM_NON_BLOCKING);
    if (result) {
        state->stream = NULL;
        return rt_fail_at(cuda, "a stream", result);
    }
    secateur_status status = load_kernels(state);
    if (status == SECATEUR_OK) status = allocate_staging(state);
    if (status == SECATEUR_OK) status = allocate(state);
    if (status == SECATEUR_OK) status = send_weights(state, weights);
    if (status == SECATEUR_OK && !(options & SECATEUR_GPU_NO_GRAPH)) capture(state);
    return status;
}

static secateur_status open_device(secateur_state *state, const void *weights, uint64_t options) {
    secateur_status status = open_driver(state);
    if (status == SECATEUR_OK) status = open_context(state);
    if (status == SECATEUR_OK) status = check_architecture(state);
    if (status != SECATEUR_OK) return status;
    cu_result result = state->cuda->context_push(state->context);
    if (result) return rt_fail_at(state->cuda, "its context", result);
    status = start(state, weights, options);
    cu_context popped;
    state->cuda->context_pop(&popped);
    return status;
}

secateur_status rt_make(const secateur_options *options, unsigned char *block) {
    secateur_state *state = (secateur_state *)(void *)block;
    memset(state, 0, sizeof *state);
    state->owned = options->arena ? NULL : block;
    state->functions = (cu_function *)(void *)(block + SECATEUR_STATE_BYTES);
    state->inputs = (const void **)(state->functions + model_table.device->kernel_count);
    state->outputs = (void **)(state->inputs + model_table.input_count);
    const unsigned char *weights;
    unsigned char *room = options->arena ? block + SECATEUR_STATE_BYTES : NULL;
    secateur_status status = rt_find_weights(options, block, room, NULL, NULL, &weights);
    state->given = weights;
    if (status == SECATEUR_OK) status = open_device(state, weights, options->gpu);
    if (status != SECATEUR_OK && state->cuda) release(state);
    return status;
}

const void *secateur_state_weights(const secateur_state *state) { return state ? state->given : NULL; }

void secateur_free(secateur_state *state) {
    if (!state) return;
    release(state);
    free(state->owned);
}

unsigned char *rt_staged(const secateur_state *state, const void *device) {
    return state->staging + ((cu_pointer)(uintptr_t)device - state->ports);
}

void *secateur_input_buffer(const secateur_state *state, int32_t index) {
    return state && index >= 0 && index < model_table.input_count ? rt_staged(state, state->inputs[index]) : NULL;
}

void *secateur_output_buffer(const secateur_state *state, int32_t index) {
    return state && index >= 0 && index < model_table.output_count ? rt_staged(state, state->outputs[index]) : NULL;
}
