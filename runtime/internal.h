/* What the runtime's files share with each other and with the generated model.c and driver. */
#ifndef SECATEUR_INTERNAL_H
#define SECATEUR_INTERNAL_H

#include <stdatomic.h>

#include "decode.h"
#include "secateur.h"
#include "transform.h"

typedef struct rt_feature {
    const char *name;    /* LLVM's name */
    const char *message; /* what to say where it is missing */
} rt_feature;

/* Where an array of coded weights lies, and where its bytes belong. */
typedef struct rt_stream {
    uint64_t at, coded, offset, bytes;
    uint32_t check; /* Adler-32 of the bytes */
} rt_stream;

/* Streams, `first` and those behind it, that are decoded into the arena before a call; the decoder's place there. */
typedef struct rt_fetch {
    int32_t first, count;
    uint64_t work, room;
} rt_fetch;

/* What a GPU gets: PTX, and the kernels in it by number. */
typedef struct rt_device {
    const char *ptx, *const *kernels;
    int32_t kernel_count, architecture, ptx_version; /* 72 of sm_72, 61 of PTX 6.1 */
    uint64_t arena_bytes;                            /* in its memory */
    const unsigned char *cubin; /* the same kernels as the driver would make them for that architecture, or null */
    const char *(*message)(secateur_status status);
} rt_device;

/* The constant table that model.c holds. */
typedef struct rt_model {
    const char *name;
    const secateur_tensor *inputs, *outputs;
    const secateur_operator *operators;
    const rt_feature *features;
    int32_t input_count, output_count, operator_count, feature_count;
    uint64_t arena_bytes;     /* first thread's workspace included */
    uint64_t workspace_bytes; /* of every further thread */
    uint64_t weights_bytes, manifest_bytes;
    const unsigned char *weights; /* as kernels read them, or coded where there are streams */
    const rt_stream *streams; /* last those of what transforms read, in the order of these */
    const rt_transform *transforms;
    int32_t stream_count, transform_count;
    const rt_stream *fetched; /* their offsets are the arena's */
    const rt_fetch *fetches;
    uint64_t table_at, table_bytes; /* of the weights, what streams have in common */
    uint64_t coded_bytes; /* 0 where weights are as kernels read them */
    uint64_t decoder_bytes, making_bytes; /* while weights are decoded, and made as well; a multiple of the alignment */
    const char *manifest;
    const rt_device *device; /* null where the processor computes */
} rt_model;

extern const rt_model model_table;

/* The driver: every call of the model in order, through rt_dispatch or, on a GPU, rt_launch. */
void model_driver(secateur_state *state, unsigned char *arena, const unsigned char *weights,
                  const void *const *inputs, void *const *outputs);

/* Makes a state at the start of `block`, which is the caller's where it gave an arena. Where that fails nothing is
 * left but the block. */
secateur_status rt_make(const secateur_options *options, unsigned char *block);
int rt_pointers_given(const void *const *pointers, const secateur_tensor *tensors, int32_t count);
uint64_t rt_rounded(uint64_t bytes); /* up to a multiple of SECATEUR_ALIGNMENT */
uint64_t rt_block_bytes(const secateur_options *options);   /* of all that a state keeps */
uint64_t rt_tensors_bytes(const secateur_options *options); /* of the block, for the arena, or before it the decoder */
uint64_t rt_decoded_bytes(void);                            /* of the block, for weights */

/* Some of the work that weights take, from number `begin` to before `end`; 0 where they are damaged. */
typedef int (*rt_some)(unsigned char *weights, rt_scratch *scratch, int32_t begin, int32_t end);

/* Shares `count` of it among threads, each with memory of its own; 0 where not all was done. */
typedef int (*rt_share)(void *context, rt_some some, unsigned char *weights, int32_t count);

/* Weights as kernels read them: the caller's, the model's, or decoded at the block's end, by threads where `share` is.
 * A caller's arena has `room` for the decoder; else it gets memory of its own, for as long as it works. */
/* What a call reads of the arena is decoded there; 0 where it is damaged. */
int rt_fetch_streams(unsigned char *arena, int32_t number);

secateur_status rt_find_weights(const secateur_options *options, unsigned char *block, unsigned char *room, rt_share share,
                                void *context, const unsigned char **weights);

int rt_cpu_has(const char *feature); /* by LLVM's name; an unknown name counts as missing */
int64_t rt_now(void);                /* nanoseconds of a monotonic clock */

#endif
