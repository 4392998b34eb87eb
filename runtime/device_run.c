/* Running of states whose kernels run on a GPU. */
#include <stdlib.h>
#include <string.h>

#include "device.h"

enum { THREADS = 128, MOST_ARGUMENTS = 128, PIECES = 2, POINTER_ALIGNMENT = 16 };

void rt_launch(secateur_state *state, int32_t kernel, void **args, int32_t count, void *workspace, int32_t tasks,
               int32_t threads, int32_t index);

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
    state->used = stream;
    model_driver(state, (unsigned char *)(uintptr_t)state->arena, (const unsigned char *)(uintptr_t)state->weights, inputs,
                 outputs);
}

void rt_queue(secateur_state *state) {
    const rt_cuda *cuda = state->cuda;
    state->error = 0;
    for (int32_t i = 0; i < model_table.input_count && !state->shared && !state->error; i++)
        if (model_table.inputs[i].bytes)
            note(state, cuda->to_device((cu_pointer)(uintptr_t)state->inputs[i], rt_staged(state, state->inputs[i]),
                                        model_table.inputs[i].bytes, state->stream));
    if (!state->error) drive(state, state->inputs, state->outputs, state->stream);
    for (int32_t i = 0; i < model_table.output_count && !state->shared && !state->error; i++)
        if (model_table.outputs[i].bytes)
            note(state, cuda->to_host(rt_staged(state, state->outputs[i]), (cu_pointer)(uintptr_t)state->outputs[i],
                                      model_table.outputs[i].bytes, state->stream));
}

/* Between the caller's memory and staging, where they are two. */
static void copy(void *to, const void *from, uint64_t bytes) {
    if (bytes && to != from) memcpy(to, from, (size_t)bytes);
}

/* A graph has no events in it: times are taken of kernels launched one by one. */
static void run_staged(secateur_state *state, const void *const *inputs, void *const *outputs) {
    const rt_cuda *cuda = state->cuda;
    for (int32_t i = 0; i < model_table.input_count; i++)
        copy(rt_staged(state, state->inputs[i]), inputs[i], model_table.inputs[i].bytes);
    if (state->graph && !state->events) note(state, cuda->graph_launch(state->graph, state->stream));
    else rt_queue(state);
    note(state, cuda->stream_wait(state->stream)); /* whatever happened: the next run writes to staging */
    for (int32_t i = 0; i < model_table.output_count && !state->error; i++)
        copy(outputs[i], rt_staged(state, state->outputs[i]), model_table.outputs[i].bytes);
}

static secateur_status enter(secateur_state *state, const void *const *inputs, void *const *outputs) {
    if (!state || !rt_pointers_given(inputs, model_table.inputs, model_table.input_count) ||
        !rt_pointers_given((const void *const *)outputs, model_table.outputs, model_table.output_count))
        return SECATEUR_ERROR_ARGUMENT;
    if (atomic_exchange(&state->busy, 1)) return SECATEUR_ERROR_BUSY;
    state->error = state->cuda->context_push(state->context);
    if (!state->error) return SECATEUR_OK;
    atomic_store(&state->busy, 0);
    return rt_fail_at(state->cuda, "its context", state->error);
}

static secateur_status leave(secateur_state *state) {
    cu_context popped;
    state->cuda->context_pop(&popped);
    cu_result error = state->error;
    atomic_store(&state->busy, 0);
    return error ? rt_fail_at(state->cuda, "a run", error) : SECATEUR_OK;
}

secateur_status secateur_run(secateur_state *state, const void *const *inputs, void *const *outputs) {
    secateur_status status = enter(state, inputs, outputs);
    if (status != SECATEUR_OK) return status;
    run_staged(state, inputs, outputs);
    return leave(state);
}

static int aligned(const void *const *pointers, int32_t count) {
    for (int32_t i = 0; pointers && i < count; i++)
        if ((uintptr_t)pointers[i] % POINTER_ALIGNMENT) return 0;
    return 1;
}

secateur_status secateur_run_device(secateur_state *state, const void *const *inputs, void *const *outputs, void *stream) {
    if (!aligned(inputs, model_table.input_count) || !aligned((const void *const *)outputs, model_table.output_count))
        return SECATEUR_ERROR_ARGUMENT;
    secateur_status status = enter(state, inputs, outputs);
    if (status != SECATEUR_OK) return status;
    drive(state, inputs, outputs, stream);
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
    if (!state->error) run_staged(state, inputs, outputs);
    if (!state->error) read_times(state, ns);
    for (int32_t i = 0; i < made; i++) state->cuda->event_destroy(state->events[i]);
}

secateur_status secateur_profile(secateur_state *state, const void *const *inputs, void *const *outputs, int64_t *ns) {
    int32_t operators = model_table.operator_count;
    if (!ns && operators) return SECATEUR_ERROR_ARGUMENT;
    secateur_status status = enter(state, inputs, outputs);
    if (status != SECATEUR_OK) return status;
    state->events = calloc((size_t)operators * 2 + 1, sizeof *state->events);
    if (state->events) run_timed(state, inputs, outputs, ns);
    int made = state->events != NULL;
    free(state->events);
    state->events = NULL;
    status = leave(state);
    return made ? status : SECATEUR_ERROR_MEMORY;
}
