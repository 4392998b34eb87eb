/* CUDA's driver interface, on the emulator's threads. Built as libcuda.so.1; what tests set and ask is named simt_*.
 *
 * A stream is a list of work, which is done when it is waited for, or at once. What is queued while a stream is
 * captured becomes a graph instead. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simt.h"

enum { GUARD = 64, HEAD = 256, PATTERN = 0xA5 };

settings config = {1, 90, 12040, 84, UINT64_MAX, 0, 1, 0};

static struct {
    int64_t allocations, contexts, modules, streams, events, graphs, launches, replays, cubins, pushed;
    uint64_t bytes;
} live;

/* The function that fails from its `after`-th call on, or, where it has no name, the `after`-th call of any. */
static struct {
    const char *name;
    int set, after, result;
} failure;

API void simt_configure(int devices, int capability, int driver, int ptx, uint64_t memory, int order, int graphs, int late) {
    config = (settings){devices, capability, driver, ptx, memory, order, graphs, late};
    failure.set = 0;
}

API void simt_fail(const char *function, int after, int result) {
    static char name[64];
    snprintf(name, sizeof name, "%s", function);
    failure.name = *name ? name : NULL, failure.set = 1, failure.after = after, failure.result = result;
}

API int64_t simt_live(void) {
    return live.allocations + live.contexts + live.modules + live.streams + live.events + live.graphs + live.pushed;
}

API int64_t simt_launches(void) { return live.launches; }
API int64_t simt_replays(void) { return live.replays; }
API int64_t simt_cubins(void) { return live.cubins; }
API int simt_failed(void) { return failure.set && failure.after < 0; }

static int fails(const char *function) {
    if (!failure.set) return 0;
    if (!failure.name) return failure.after-- == 0;
    return strcmp(function, failure.name) == 0 && failure.after-- <= 0;
}

#define MAY_FAIL() do { if (fails(__func__)) return failure.result; } while (0)

/* What a context holds: freed one by one, or with it. -------------------------------------------------- */

typedef struct object {
    struct object *next, **at;
    int64_t *count;
    void (*destroy)(void *); /* unlinked before */
} object;

static object *objects;

static void *made(void *memory, int64_t *count, void (*destroy)(void *)) {
    object *o = memory;
    *o = (object){objects, &objects, count, destroy};
    if (objects) objects->at = &o->next;
    objects = o;
    (*count)++;
    return o;
}

static int destroyed(void *memory) {
    object *o = memory;
    *o->at = o->next;
    if (o->next) o->next->at = o->at;
    (*o->count)--;
    o->destroy(o);
    return OK;
}

/* Work. ------------------------------------------------------------------------------------------------ */

typedef struct work {
    struct work *next;
    const kernel *kernel; /* of a launch; else it copies, or marks the time where `time` is */
    unsigned grid, block;
    void *pointers[MOST_POINTERS];
    int32_t number;
    void *to;
    const void *from;
    size_t bytes;
    int64_t *time;
} work;

typedef struct stream_ {
    object head;
    work *first, **last;
    int capturing;
    struct stream_ *next;
} stream_;

static stream_ *streams;

static int run_launch(const work *item) {
    void *parameters[MOST_POINTERS + 1];
    for (int i = 0; i < item->kernel->pointers; i++) parameters[i] = (void *)&item->pointers[i];
    parameters[item->kernel->pointers] = (void *)&item->number;
    live.launches++;
    return run_kernel(item->kernel, item->grid, item->block, parameters);
}

static int run_work(const work *item) {
    if (item->kernel) return run_launch(item);
    if (item->time) *item->time = live.launches + 1;
    else memcpy(item->to, item->from, item->bytes);
    return OK;
}

static int run_all(const work *item) {
    int result = OK;
    for (; item && !result; item = item->next) result = run_work(item);
    return result;
}

static void free_all(work *item) {
    while (item) {
        work *next = item->next;
        free(item);
        item = next;
    }
}

static void empty(stream_ *stream) {
    stream->first = NULL;
    stream->last = &stream->first;
}

static int finish(stream_ *stream) {
    work *all = stream->first;
    empty(stream);
    int result = run_all(all);
    free_all(all);
    return result;
}

/* As a driver does before memory or an event goes away. */
static void finish_streams(void) {
    for (stream_ *s = streams; s; s = s->next) finish(s);
}

/* Done now, later, or made part of a graph. */
static int queue(stream_ *stream, work item) {
    if (!stream || (!config.late && !stream->capturing)) return run_work(&item);
    work *kept = malloc(sizeof *kept);
    *kept = item;
    kept->next = NULL;
    *stream->last = kept;
    stream->last = &kept->next;
    return OK;
}

/* Devices and contexts. -------------------------------------------------------------------------------- */

static int current_depth, retained;
static int tag = 7;

API int cuInit(unsigned flags) { MAY_FAIL(); (void)flags; return config.devices ? OK : NO_DEVICE; }
API int cuDriverGetVersion(int *version) { MAY_FAIL(); *version = config.driver; return OK; }
API int cuGetErrorName(int error, const char **name) {
    MAY_FAIL();
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_OTHER";
    return OK;
}
API int cuDeviceGetCount(int *count) { MAY_FAIL(); *count = config.devices; return OK; }
API int cuDeviceGet(int *device, int index) { MAY_FAIL(); *device = index; return OK; }
API int cuDeviceGetName(char *name, int length, int device) {
    MAY_FAIL();
    (void)device;
    snprintf(name, (size_t)length, "an emulator");
    return OK;
}
API int cuDeviceGetAttribute(int *value, int attribute, int device) {
    MAY_FAIL();
    (void)device;
    *value = attribute == 75 ? config.capability / 10 : attribute == 76 ? config.capability % 10 : 1;
    return OK;
}
API int cuDevicePrimaryCtxRetain(void **context, int device) {
    MAY_FAIL();
    (void)device;
    live.contexts++, retained++;
    *context = &tag;
    return OK;
}
API int cuDevicePrimaryCtxRelease(int device) {
    (void)device;
    live.contexts--;
    if (--retained == 0)
        while (objects) destroyed(objects);
    return OK;
}
API int cuCtxGetCurrent(void **context) { MAY_FAIL(); *context = current_depth ? &tag : NULL; return OK; }
API int cuCtxGetDevice(int *device) { MAY_FAIL(); *device = 0; return OK; }
API int cuCtxPushCurrent_v2(void *context) { MAY_FAIL(); (void)context; current_depth++, live.pushed++; return OK; }
API int cuCtxPopCurrent_v2(void **context) {
    if (!current_depth) return INVALID;
    current_depth--, live.pushed--;
    *context = &tag;
    return OK;
}

/* Modules. --------------------------------------------------------------------------------------------- */

typedef struct module_ {
    object head;
    size_t bytes;
    char image[];
} module_;

static int is_elf(const void *image) { return memcmp(image, ELFMAG, SELFMAG) == 0; }

static size_t bytes_of(const void *image) {
    Elf64_Ehdr head;
    if (!is_elf(image)) return strlen(image) + 1;
    memcpy(&head, image, sizeof head);
    size_t sections = head.e_shoff + (size_t)head.e_shentsize * head.e_shnum;
    size_t segments = head.e_phoff + (size_t)head.e_phentsize * head.e_phnum;
    return sections > segments ? sections : segments;
}

/* Finished code is for one architecture; a Jetson's GPU takes none of another one. */
static int accepts_cubin(const void *image) {
    Elf64_Ehdr head;
    memcpy(&head, image, sizeof head);
    if (head.e_machine != 190) return INVALID_IMAGE; /* EM_CUDA */
    return (int)(head.e_flags & 255) == config.capability ? OK : NO_BINARY;
}

static int accepts(const char *ptx) {
    int major = 0, minor = 0, target = 0;
    const char *at = strstr(ptx, ".target sm_");
    if (sscanf(ptx, ".version %d.%d", &major, &minor) != 2 || !at || sscanf(at, ".target sm_%d", &target) != 1) return INVALID_PTX;
    if (major * 10 + minor > config.ptx) return UNSUPPORTED_PTX;
    return target > config.capability ? NO_BINARY : OK;
}

API int cuModuleLoadData(void **result, const void *image) {
    MAY_FAIL();
    int status = is_elf(image) ? accepts_cubin(image) : accepts(image);
    if (status) return status;
    size_t bytes = bytes_of(image);
    module_ *module = malloc(sizeof *module + bytes);
    module->bytes = bytes;
    memcpy(module->image, image, bytes);
    *result = made(module, &live.modules, free);
    live.cubins += is_elf(image);
    return OK;
}
API int cuModuleUnload(void *module) { return destroyed(module); }

API int cuModuleGetFunction(void **function, void *given, const char *name) {
    MAY_FAIL();
    const module_ *module = given;
    char text[256];
    snprintf(text, sizeof text, is_elf(module->image) ? ".text.%s" : ".entry %s(", name);
    kernel *known = find_kernel(name);
    if (!known || !memmem(module->image, module->bytes, text, strlen(text))) return NOT_FOUND;
    *function = known;
    return OK;
}

/* Memory: filled with a pattern, between guards that are looked at when it is freed. ---------------------- */

typedef struct block {
    object head;
    size_t bytes;
    int is_gpus;
} block;

static void free_block(void *memory) {
    const block *b = memory;
    for (int i = 0; i < GUARD; i++)
        if (((unsigned char *)memory)[HEAD + b->bytes + (size_t)i] != PATTERN) {
            fprintf(stderr, "a kernel or a copy wrote behind the GPU's memory\n");
            abort();
        }
    if (b->is_gpus) live.bytes -= b->bytes;
    free(memory);
}

static void *allocate(size_t bytes, int is_gpus) {
    size_t all = (HEAD + bytes + GUARD + 255) / 256 * 256;
    block *b = aligned_alloc(256, all);
    if (!b) return NULL;
    memset(b, PATTERN, all);
    b->bytes = bytes, b->is_gpus = is_gpus;
    if (is_gpus) live.bytes += bytes;
    return (unsigned char *)made(b, &live.allocations, free_block) + HEAD;
}

static int release_memory(void *memory) {
    finish_streams();
    return destroyed((unsigned char *)memory - HEAD);
}

API int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) {
    MAY_FAIL();
    if (!bytes || !current_depth) return INVALID;
    if (bytes > config.memory - live.bytes) return OUT_OF_MEMORY;
    void *memory = allocate(bytes, 1);
    *pointer = (uintptr_t)memory;
    return memory ? OK : OUT_OF_MEMORY;
}
API int cuMemFree_v2(uint64_t pointer) { return release_memory((void *)(uintptr_t)pointer); }

API int cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
    MAY_FAIL();
    (void)flags;
    if (!bytes || !current_depth) return INVALID;
    *pointer = allocate(bytes, 0);
    return *pointer ? OK : OUT_OF_MEMORY;
}
API int cuMemFreeHost(void *pointer) { return release_memory(pointer); }
API int cuMemHostGetDevicePointer_v2(uint64_t *pointer, void *memory, unsigned flags) {
    MAY_FAIL();
    *pointer = (uintptr_t)memory;
    return flags ? INVALID : OK;
}

API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    MAY_FAIL();
    if (!current_depth) return INVALID;
    return queue(stream, (work){.to = (void *)(uintptr_t)to, .from = from, .bytes = bytes});
}
API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    MAY_FAIL();
    if (!current_depth) return INVALID;
    return queue(stream, (work){.to = to, .from = (void *)(uintptr_t)from, .bytes = bytes});
}

/* Streams, events, launches. ----------------------------------------------------------------------------- */

static void free_stream(void *memory) {
    stream_ **at = &streams;
    while (*at != memory) at = &(*at)->next;
    *at = (*at)->next;
    free_all(((stream_ *)memory)->first);
    free(memory);
}

API int cuStreamCreate(void **result, unsigned flags) {
    MAY_FAIL();
    (void)flags;
    stream_ *stream = made(calloc(1, sizeof *stream), &live.streams, free_stream);
    empty(stream);
    stream->next = streams, streams = stream;
    *result = stream;
    return OK;
}
API int cuStreamDestroy_v2(void *stream) { finish(stream); return destroyed(stream); }
API int cuStreamSynchronize(void *given) {
    MAY_FAIL();
    stream_ *stream = given;
    if (!stream) return OK;
    return stream->capturing ? CAPTURING : finish(stream);
}

typedef struct event {
    object head;
    int64_t time;
} event;

API int cuEventCreate(void **result, unsigned flags) {
    MAY_FAIL();
    (void)flags;
    *result = made(calloc(1, sizeof(event)), &live.events, free);
    return OK;
}
API int cuEventDestroy_v2(void *given) { finish_streams(); return destroyed(given); }
API int cuEventRecord(void *given, void *stream) { MAY_FAIL(); return queue(stream, (work){.time = &((event *)given)->time}); }
API int cuEventSynchronize(void *given) { MAY_FAIL(); finish_streams(); return ((event *)given)->time ? OK : INVALID; }
/* A launch takes a millisecond. */
API int cuEventElapsedTime(float *ms, void *begin, void *end) {
    MAY_FAIL();
    int64_t first = ((event *)begin)->time, last = ((event *)end)->time;
    *ms = (float)(last - first);
    return first && last ? OK : INVALID;
}

API int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                       void *stream, void **parameters, void **extra) {
    MAY_FAIL();
    if (extra || shared || !current_depth || !gx || gy != 1 || gz != 1 || !bx || by != 1 || bz != 1) return INVALID;
    work item = {.kernel = function, .grid = gx, .block = bx};
    for (int i = 0; i < item.kernel->pointers; i++) item.pointers[i] = *(void **)parameters[i];
    item.number = *(int32_t *)parameters[item.kernel->pointers];
    return queue(stream, item);
}

/* Graphs: the work that was captured, which the graph and what is instantiated share. ---------------- */

typedef struct captured {
    work *first;
    int users;
} captured;

typedef struct graph {
    object head;
    captured *work;
} graph;

static void free_graph(void *memory) {
    captured *work = ((graph *)memory)->work;
    free(memory);
    if (--work->users) return;
    free_all(work->first);
    free(work);
}

static graph *make_graph(captured *work) {
    graph *g = made(calloc(1, sizeof *g), &live.graphs, free_graph);
    g->work = work, work->users++;
    return g;
}

API int cuStreamBeginCapture_v2(void *stream, int mode) {
    MAY_FAIL();
    (void)mode;
    if (!config.graphs) return NOT_SUPPORTED;
    ((stream_ *)stream)->capturing = 1;
    return OK;
}
API int cuStreamEndCapture(void *given, void **result) {
    stream_ *stream = given;
    int fault = fails(__func__) ? failure.result : OK;
    captured *work = calloc(1, sizeof *work);
    work->first = stream->first;
    empty(stream);
    stream->capturing = 0;
    *result = make_graph(work);
    if (!fault) return OK;
    destroyed(*result);
    *result = NULL;
    return fault;
}
API int cuGraphInstantiate(void **result, void *given, void **node, char *log, size_t bytes) {
    MAY_FAIL();
    (void)node, (void)log, (void)bytes;
    *result = make_graph(((graph *)given)->work);
    return OK;
}
API int cuGraphLaunch(void *given, void *stream) {
    MAY_FAIL();
    live.replays++;
    int result = OK;
    for (const work *item = ((graph *)given)->work->first; item && !result; item = item->next) result = queue(stream, *item);
    return result;
}
API int cuGraphExecDestroy(void *g) { return destroyed(g); }
API int cuGraphDestroy(void *g) { return destroyed(g); }
