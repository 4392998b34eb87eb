/* The part of CUDA's driver interface that a state uses, by our own declarations: nothing of NVIDIA's is needed
 * to build a model, and the driver is looked for when a state is made. */
#ifndef SECATEUR_CUDA_H
#define SECATEUR_CUDA_H

#include "internal.h"

typedef int cu_result; /* 0 is success */
typedef int cu_device;
typedef uint64_t cu_pointer;
typedef struct cu_context_ *cu_context;
typedef struct cu_module_ *cu_module;
typedef struct cu_function_ *cu_function;
typedef struct cu_stream_ *cu_stream;
typedef struct cu_event_ *cu_event;
typedef struct cu_graph_ *cu_graph;
typedef struct cu_graph_exec_ *cu_graph_exec;

enum {
    CU_OUT_OF_MEMORY = 2,
    CU_NO_DEVICE = 100,
    CU_NO_BINARY = 209,
    CU_INVALID_PTX = 218,
    CU_UNSUPPORTED_PTX = 222,
    CU_COMPUTE_MAJOR = 75, /* attributes of a device */
    CU_COMPUTE_MINOR = 76,
    CU_STREAM_NON_BLOCKING = 1,
    CU_HOST_MAPPED = 2,    /* of memory: the GPU may read and write it */
    CU_CAPTURE_RELAXED = 2 /* other threads may do what they like meanwhile */
};

/* Result, name here, name in the library, parameters. */
#define CU_FUNCTIONS(X)                                                                                              \
    X(init, "cuInit", (unsigned))                                                                                    \
    X(driver_version, "cuDriverGetVersion", (int *))                                                                 \
    X(error_name, "cuGetErrorName", (cu_result, const char **))                                                      \
    X(device_count, "cuDeviceGetCount", (int *))                                                                     \
    X(device_get, "cuDeviceGet", (cu_device *, int))                                                                 \
    X(device_name, "cuDeviceGetName", (char *, int, cu_device))                                                      \
    X(device_attribute, "cuDeviceGetAttribute", (int *, int, cu_device))                                             \
    X(primary_retain, "cuDevicePrimaryCtxRetain", (cu_context *, cu_device))                                         \
    X(primary_release, "cuDevicePrimaryCtxRelease", (cu_device))                                                     \
    X(context_current, "cuCtxGetCurrent", (cu_context *))                                                            \
    X(context_device, "cuCtxGetDevice", (cu_device *))                                                               \
    X(context_push, "cuCtxPushCurrent_v2", (cu_context))                                                             \
    X(context_pop, "cuCtxPopCurrent_v2", (cu_context *))                                                             \
    X(module_load, "cuModuleLoadData", (cu_module *, const void *))                                                  \
    X(module_unload, "cuModuleUnload", (cu_module))                                                                  \
    X(module_function, "cuModuleGetFunction", (cu_function *, cu_module, const char *))                              \
    X(allocate, "cuMemAlloc_v2", (cu_pointer *, size_t))                                                             \
    X(release, "cuMemFree_v2", (cu_pointer))                                                                         \
    X(host_allocate, "cuMemHostAlloc", (void **, size_t, unsigned))                                                  \
    X(host_release, "cuMemFreeHost", (void *))                                                                       \
    X(host_pointer, "cuMemHostGetDevicePointer_v2", (cu_pointer *, void *, unsigned))                                \
    X(to_device, "cuMemcpyHtoDAsync_v2", (cu_pointer, const void *, size_t, cu_stream))                              \
    X(to_host, "cuMemcpyDtoHAsync_v2", (void *, cu_pointer, size_t, cu_stream))                                      \
    X(stream_create, "cuStreamCreate", (cu_stream *, unsigned))                                                      \
    X(stream_destroy, "cuStreamDestroy_v2", (cu_stream))                                                             \
    X(stream_wait, "cuStreamSynchronize", (cu_stream))                                                               \
    X(event_create, "cuEventCreate", (cu_event *, unsigned))                                                         \
    X(event_destroy, "cuEventDestroy_v2", (cu_event))                                                                \
    X(event_record, "cuEventRecord", (cu_event, cu_stream))                                                          \
    X(event_elapsed, "cuEventElapsedTime", (float *, cu_event, cu_event))                                            \
    X(launch, "cuLaunchKernel",                                                                                      \
      (cu_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, cu_stream, void **, void **))

/* Graphs, which drivers have from CUDA 10.1 on. All or none of these are null. */
#define CU_GRAPH_FUNCTIONS(X)                                                                                        \
    X(capture_begin, "cuStreamBeginCapture_v2", (cu_stream, int))                                                    \
    X(capture_end, "cuStreamEndCapture", (cu_stream, cu_graph *))                                                    \
    X(graph_instantiate, "cuGraphInstantiate", (cu_graph_exec *, cu_graph, void **, char *, size_t))                 \
    X(graph_launch, "cuGraphLaunch", (cu_graph_exec, cu_stream))                                                     \
    X(graph_exec_destroy, "cuGraphExecDestroy", (cu_graph_exec))                                                     \
    X(graph_destroy, "cuGraphDestroy", (cu_graph))

typedef struct rt_cuda {
#define CU_FIELD(name, symbol, parameters) cu_result(*name) parameters;
    CU_FUNCTIONS(CU_FIELD)
    CU_GRAPH_FUNCTIONS(CU_FIELD)
#undef CU_FIELD
    int has_graphs;
} rt_cuda;

/* The driver's functions, looked up once; null where there is no driver, or one that lacks any that every driver has:
 * `*missing` then says which, or is null. */
const rt_cuda *rt_cuda_driver(const char **missing);

#endif
