/* Secateur: the C interface of a compiled model.
 *
 * A model.so (or a program linked with its objects) is one model: code, weights and manifest. The model is
 * constant; all that changes lives in a secateur_state. Use one state per thread; any number may exist.
 *
 *     secateur_options options = SECATEUR_OPTIONS_INIT;
 *     options.threads = 2;
 *     secateur_state *state;
 *     secateur_status status = secateur_create(&options, &state);
 *     if (status != SECATEUR_OK) fail(secateur_message(status));
 *     const void *inputs[] = {image};
 *     void *outputs[] = {scores};
 *     status = secateur_run(state, inputs, outputs);
 *     secateur_free(state);
 *
 * Programs that use several models at once open each with dlopen(path, RTLD_NOW | RTLD_LOCAL) and dlsym.
 */
#ifndef SECATEUR_H
#define SECATEUR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SECATEUR_ABI_VERSION 2
#define SECATEUR_ALIGNMENT 64    /* of a caller's arena and of a caller's weights, in bytes */
#define SECATEUR_MAX_THREADS 256
#define SECATEUR_STATE_BYTES 1024 /* of an arena, taken by the state itself */
#define SECATEUR_THREAD_BYTES 64  /* of an arena, taken by each thread after the first, besides its workspace */

#ifdef __GNUC__
#define SECATEUR_API __attribute__((visibility("default")))
#else
#define SECATEUR_API
#endif

typedef enum secateur_status {
    SECATEUR_OK = 0,
    SECATEUR_ERROR_ARGUMENT = 1,  /* a null pointer, or a number out of range */
    SECATEUR_ERROR_PROCESSOR = 2, /* this processor lacks an instruction set that the model uses */
    SECATEUR_ERROR_MEMORY = 3,    /* no memory for the arena */
    SECATEUR_ERROR_ARENA = 4,     /* the caller's arena is too small or not aligned */
    SECATEUR_ERROR_WEIGHTS = 5,   /* the caller's weights have the wrong size or are not aligned */
    SECATEUR_ERROR_THREAD = 6,    /* a thread could not be started, or not on the processors of options.cpus */
    SECATEUR_ERROR_BUSY = 7,      /* the state is running in another thread */
    SECATEUR_ERROR_OPTIONS = 8,   /* the options' size is wrong, or they use fields unknown to this model */
    SECATEUR_ERROR_DAMAGED = 9,   /* the model's coded weights are damaged */
    SECATEUR_ERROR_DRIVER = 10,   /* no CUDA driver, or one that is older than the model's code */
    SECATEUR_ERROR_DEVICE = 11,   /* no GPU, one of an earlier architecture, or it failed */
    SECATEUR_ERROR_DEVICE_MEMORY = 12 /* the model does not fit the GPU's memory, or its ports the host's */
} secateur_status;

typedef enum secateur_dtype {
    SECATEUR_F32 = 0,
    SECATEUR_F16 = 1,
    SECATEUR_F64 = 2,
    SECATEUR_I8 = 3,
    SECATEUR_U8 = 4,
    SECATEUR_I16 = 5,
    SECATEUR_U16 = 6,
    SECATEUR_I32 = 7,
    SECATEUR_U32 = 8,
    SECATEUR_I64 = 9,
    SECATEUR_U64 = 10,
    SECATEUR_BOOL = 11 /* one byte, 0 or 1 */
} secateur_dtype;

/* An input or output: row-major, C order, aligned to its element type. */
typedef struct secateur_tensor {
    const char *name;
    secateur_dtype dtype;
    int32_t rank;
    const int64_t *dims;
    uint64_t bytes;
} secateur_tensor;

/* One operator of the compiled model, in the order of execution. */
typedef struct secateur_operator {
    const char *label; /* the node(s) of the original model */
    const char *name;  /* what computes it */
    uint64_t macs;     /* multiply-accumulates of one run */
} secateur_operator;

/* `size` tells which fields the caller knows; later versions add fields at the end. Fields that lie beyond the
 * caller's size are zero, and those that lie beyond what the model knows must be zero. All zero but the size is a
 * good default: one thread, an arena from malloc, the embedded weights. */
typedef struct secateur_options {
    size_t size;            /* sizeof(secateur_options); SECATEUR_OPTIONS_INIT sets it */
    int32_t threads;        /* 0 means 1; the caller's thread is one of them */
    void *arena;            /* or null: the library allocates */
    uint64_t arena_bytes;   /* at least secateur_arena_bytes(threads) where arena is given */
    const void *weights;    /* or null: the weights embedded in the model */
    uint64_t weights_bytes; /* must be secateur_weights_bytes() where weights is given */
    uint64_t gpu;           /* SECATEUR_GPU_*, of models for a GPU alone */
    const int32_t *cpus;    /* processors that threads after the caller's may run on, or null: where the caller may */
    uint64_t cpu_count;     /* how many */
} secateur_options;

#define SECATEUR_OPTIONS_INIT {sizeof(secateur_options), 0, NULL, 0, NULL, 0, 0, NULL, 0}

/* Inputs and outputs lie in memory that host and GPU share: nothing is copied between the two. For boards on which
 * they have one memory anyway. */
#define SECATEUR_GPU_SHARED 1u
/* Kernels are launched one by one, also where the driver can replay them as one graph. */
#define SECATEUR_GPU_NO_GRAPH 2u

typedef struct secateur_state secateur_state;

/* The model. Strings and descriptions are constant; an index out of range gives null. */
SECATEUR_API int32_t secateur_abi_version(void);
SECATEUR_API const char *secateur_model_name(void);
SECATEUR_API const char *secateur_manifest(uint64_t *bytes); /* JSON, not terminated; bytes receives its length */
SECATEUR_API int32_t secateur_input_count(void);
SECATEUR_API int32_t secateur_output_count(void);
SECATEUR_API int32_t secateur_operator_count(void);
SECATEUR_API const secateur_tensor *secateur_input(int32_t index);
SECATEUR_API const secateur_tensor *secateur_output(int32_t index);
SECATEUR_API const secateur_operator *secateur_operator_at(int32_t index);
SECATEUR_API const void *secateur_weights(void);     /* null where they are coded: each state decodes them */
SECATEUR_API uint64_t secateur_weights_bytes(void);  /* as kernels read them */
SECATEUR_API uint64_t secateur_coded_bytes(void);    /* in the model, 0 where they are not coded */

/* Bytes of everything a state needs, decoded weights included, 0 where `threads` is out of range or the sum exceeds the address space. */
SECATEUR_API uint64_t secateur_arena_bytes(int32_t threads);

/* Makes a state. `options` may be null. The first thing done is to check the processor; no code of the model
 * runs before that. A caller's arena and weights must outlive the state. On failure *state is null. */
SECATEUR_API secateur_status secateur_create(const secateur_options *options, secateur_state **state);

/* Computes outputs from inputs, in place in the caller's buffers: one pointer per input and output, in order.
 * Inputs and outputs must not overlap. */
SECATEUR_API secateur_status secateur_run(secateur_state *state, const void *const *inputs, void *const *outputs);

/* Of models for a GPU alone: as secateur_run, with pointers into the GPU's memory, 16-byte aligned, in order on a
 * CUstream of the caller's (null is the default one). It returns when the work is queued: buffers belong to it until
 * the stream has come so far, and the state must not run on another stream meanwhile. Kernels are launched one by one;
 * a caller who always gives the same pointers may capture the call into a graph. The context is the one that was
 * current in secateur_create, else the first device's primary one. */
SECATEUR_API secateur_status secateur_run_device(secateur_state *state, const void *const *inputs, void *const *outputs,
                                                 void *stream);

/* Of models for a GPU alone: memory of the state's for an input or output, through which its bytes go to the GPU and
 * back; null where the index is out of range. secateur_run with this very pointer spares a copy; with
 * SECATEUR_GPU_SHARED that is the last one. */
SECATEUR_API void *secateur_input_buffer(const secateur_state *state, int32_t index);
SECATEUR_API void *secateur_output_buffer(const secateur_state *state, int32_t index);

/* As secateur_run; ns[i] receives the nanoseconds of operator i. */
SECATEUR_API secateur_status secateur_profile(secateur_state *state, const void *const *inputs,
                                              void *const *outputs, int64_t *ns);

/* The weights that a state computes with, for options.weights of further states: those need
 * secateur_weights_bytes(), rounded up to 64, less of an arena where weights are coded, and end before it. */
SECATEUR_API const void *secateur_state_weights(const secateur_state *state);

/* Ends the state's threads and frees what it allocated; null is allowed. */
SECATEUR_API void secateur_free(secateur_state *state);

/* A sentence about a status; for SECATEUR_ERROR_PROCESSOR it names the missing feature. Of a GPU's statuses it is
 * about the last call of this thread that gave one. */
SECATEUR_API const char *secateur_message(secateur_status status);

#ifdef __cplusplus
}
#endif
#endif
