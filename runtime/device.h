/* What the files of a GPU's state share. */
#ifndef SECATEUR_DEVICE_H
#define SECATEUR_DEVICE_H

#include "cuda.h"

struct secateur_state {
    const rt_cuda *cuda;
    const void *given; /* the weights, in the host's memory */
    void *owned; /* to be freed, or null where the caller supplied the block */
    cu_device device;
    int architecture; /* the device's: 72 of sm_72 */
    cu_context context;
    int retained; /* the context is the device's primary one, and counts us */
    int shared;   /* the GPU reads inputs and writes outputs in the host's memory */
    cu_module module;
    cu_stream stream, used; /* ours; that of the run in progress */
    cu_pointer memory, weights, arena, ports;
    unsigned char *staging; /* the host's memory for inputs and outputs, as they lie at `ports` */
    cu_graph_exec graph;    /* a whole run between staging and staging, or null */
    cu_function *functions;
    const void **inputs; /* in the device's memory, as the driver wants them */
    void **outputs;
    cu_event *events; /* of the run in progress, or null */
    cu_result error;  /* the first of the run in progress */
    _Atomic int32_t busy;
};

secateur_status rt_fail_at(const rt_cuda *cuda, const char *what, cu_result result);

/* Queues a whole run on the state's stream, from staging to staging; what fails first is `error`. */
void rt_queue(secateur_state *state);

/* Where an input or output that is at `device` lies in the host's memory. */
unsigned char *rt_staged(const secateur_state *state, const void *device);

#endif
