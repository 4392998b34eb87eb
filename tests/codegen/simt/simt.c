/* A GPU for tests: CUDA's driver interface, with kernels that run on this machine.
 *
 * Kernels are the LLVM IR that becomes PTX, compiled for the host. They ask for their indices by `simt_read_*`, and a
 * barrier switches fibers: every thread of a block has one, and blocks run one after another. Kernels without
 * barriers run as loops. Built as libcuda.so.1; what tests set and ask is named simt_*. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define API __attribute__((visibility("default")))

enum { STACK = 256 << 10, MOST_THREADS = 1024, MOST_KERNELS = 4096, GUARD = 64, MOST_LIVE = 4096 };
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NO_BINARY = 209, INVALID_PTX = 218, UNSUPPORTED_PTX = 222, NOT_FOUND = 500,
       LAUNCH_FAILED = 719 };

/* What tests set. ------------------------------------------------------------------------------------- */

static struct {
    int devices, capability, driver, ptx; /* 72 is sm_72; 12020 is CUDA 12.2; 82 is PTX 8.2 */
    uint64_t memory;
    int order;            /* of fibers: 0 up, 1 down, else a seed */
    const char *failing;  /* the function that fails from its `after`-th call on */
    int after, result;
} config = {1, 90, 12040, 84, UINT64_MAX, 0, NULL, 0, 0};

static struct {
    int64_t allocations, contexts, modules, streams, events, launches, pushed;
    uint64_t bytes;
} live;

API void simt_configure(int devices, int capability, int driver, int ptx, uint64_t memory, int order) {
    config.devices = devices, config.capability = capability, config.driver = driver, config.ptx = ptx;
    config.memory = memory, config.order = order, config.failing = NULL;
}

API void simt_fail(const char *function, int after, int result) {
    static char name[64];
    snprintf(name, sizeof name, "%s", function);
    config.failing = name, config.after = after, config.result = result;
}

API int64_t simt_live(void) {
    return live.allocations + live.contexts + live.modules + live.streams + live.events + live.pushed;
}

API int64_t simt_launches(void) { return live.launches; }

static int fails(const char *function) {
    if (!config.failing || strcmp(function, config.failing) != 0) return 0;
    return config.after-- <= 0;
}

#define MAY_FAIL() do { if (fails(__func__)) return config.result; } while (0)

/* Kernels. -------------------------------------------------------------------------------------------- */

typedef void (*entry)(void **parameters);

typedef struct kernel {
    const char *name;
    entry run;
    int collective;
    unsigned char *shared; /* its shared memory */
    uint64_t shared_bytes;
} kernel;

static kernel kernels[MOST_KERNELS];
static int kernel_count;

API void simt_kernel(const char *name, entry run, int collective) {
    for (int i = 0; i < kernel_count; i++)
        if (strcmp(kernels[i].name, name) == 0) {
            kernels[i].run = run;
            return;
        }
    if (kernel_count == MOST_KERNELS) abort();
    kernels[kernel_count++] = (kernel){strdup(name), run, collective, NULL, 0};
}

typedef struct fiber {
    ucontext_t context;
    unsigned char *stack;
    int state; /* see below */
} fiber;

enum { NOT_BEGUN, AT_BARRIER, DONE, AT_MATRIX, READY }; /* AT_MATRIX: at an instruction of a whole warp */
enum { WARP = 32, MOST_REGISTERS = 10 };

static fiber fibers[MOST_THREADS];
static ucontext_t scheduler;
static unsigned thread_at, block_at, threads, blocks;
static const kernel *running;
static void **given;
static int in_fibers;

API int32_t simt_read_ptx_sreg_tid_x(void) { return (int32_t)thread_at; }
API int32_t simt_read_ptx_sreg_ntid_x(void) { return (int32_t)threads; }
API int32_t simt_read_ptx_sreg_ctaid_x(void) { return (int32_t)block_at; }
API int32_t simt_read_ptx_sreg_nctaid_x(void) { return (int32_t)blocks; }

API void simt_barrier(int32_t number) {
    (void)number;
    if (!in_fibers) abort(); /* the kernel was said to have no barriers */
    fibers[thread_at].state = AT_BARRIER;
    swapcontext(&fibers[thread_at].context, &scheduler);
}

static int32_t dot(uint32_t a, uint32_t b, int32_t sum, int left_signed, int right_signed) {
    for (int i = 0; i < 4; i++, a >>= 8, b >>= 8) {
        int32_t x = left_signed ? (int8_t)(a & 255) : (int32_t)(a & 255);
        int32_t y = right_signed ? (int8_t)(b & 255) : (int32_t)(b & 255);
        sum = (int32_t)((uint32_t)sum + (uint32_t)(x * y));
    }
    return sum;
}

API int32_t simt_idp4a_u_s(int32_t a, int32_t b, int32_t c) { return dot((uint32_t)a, (uint32_t)b, c, 0, 1); }
API int32_t simt_idp4a_s_s(int32_t a, int32_t b, int32_t c) { return dot((uint32_t)a, (uint32_t)b, c, 1, 1); }

static void fiber_main(void) {
    running->run(given);
    fibers[thread_at].state = DONE;
}

/* Matrix instructions: a warp's lanes hand in their registers, and go on when all have. ---------------- */

typedef struct matrix {
    int32_t depth, right_signed; /* channels; the left operand is signed */
    int32_t a[4], b[2], c[4];
} matrix;

static matrix handed[MOST_THREADS];

static int32_t byte_of(int32_t word, int i, int is_signed) {
    uint32_t byte = (uint32_t)word >> (8 * i) & 255;
    return is_signed ? (int8_t)byte : (int32_t)byte;
}

/* Lane 4 g + t has of a: rows g and g + 8, bytes 4 t.. of each half of the channels; of b: column g, the same
 * bytes; of c: rows g and g + 8, columns 2 t and 2 t + 1 (PTX manual, mma.m16n8k16 and m16n8k32 of bytes). */
static int32_t element(const matrix *warp, int row, int column, int right_signed) {
    int32_t sum = 0;
    for (int k = 0; k < warp->depth; k++) {
        int half = k / 16, t = k % 16 / 4, i = k % 4;
        int32_t a = byte_of(warp[row % 8 * 4 + t].a[half * 2 + row / 8], i, 1);
        int32_t b = byte_of(warp[column * 4 + t].b[half], i, right_signed);
        sum = (int32_t)((uint32_t)sum + (uint32_t)(a * b));
    }
    return sum;
}

static int multiply_warp(matrix *warp) {
    static int32_t sums[WARP][4];
    for (int lane = 0; lane < WARP; lane++) {
        if (warp[lane].depth != warp->depth || warp[lane].right_signed != warp->right_signed) return LAUNCH_FAILED;
        for (int i = 0; i < 4; i++)
            sums[lane][i] = element(warp, lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2, warp->right_signed);
    }
    for (int lane = 0; lane < WARP; lane++)
        for (int i = 0; i < 4; i++) warp[lane].c[i] = (int32_t)((uint32_t)warp[lane].c[i] + (uint32_t)sums[lane][i]);
    return OK;
}

/* `registers` are those of a, of b, and of c. */
static void mma(int32_t depth, int32_t right_signed, const int32_t *registers, int32_t *result) {
    int32_t halves = depth / 16;
    matrix *own = &handed[thread_at];
    if (!in_fibers) abort();
    own->depth = depth, own->right_signed = right_signed;
    memcpy(own->a, registers, sizeof(int32_t) * 2 * (size_t)halves);
    memcpy(own->b, registers + 2 * halves, sizeof(int32_t) * (size_t)halves);
    memcpy(own->c, registers + 3 * halves, sizeof own->c);
    fibers[thread_at].state = AT_MATRIX;
    swapcontext(&fibers[thread_at].context, &scheduler);
    memcpy(result, own->c, sizeof own->c);
}

API void simt_mma_k16_u(const int32_t *registers, int32_t *result) { mma(16, 0, registers, result); }
API void simt_mma_k16_s(const int32_t *registers, int32_t *result) { mma(16, 1, registers, result); }
API void simt_mma_k32_u(const int32_t *registers, int32_t *result) { mma(32, 0, registers, result); }
API void simt_mma_k32_s(const int32_t *registers, int32_t *result) { mma(32, 1, registers, result); }

/* Warps whose lanes all wait go on. */
static int release_warps(void) {
    for (unsigned first = 0; first < threads; first += WARP) {
        unsigned waiting = 0;
        for (unsigned i = first; i < first + WARP && i < threads; i++) waiting += fibers[i].state == AT_MATRIX;
        if (waiting < WARP) continue;
        int result = multiply_warp(&handed[first]);
        if (result) return result;
        for (unsigned i = first; i < first + WARP; i++) fibers[i].state = READY;
    }
    return OK;
}

static void order_of(unsigned *order) {
    for (unsigned i = 0; i < threads; i++) order[i] = config.order == 1 ? threads - 1 - i : i;
    if (config.order < 2) return;
    static uint32_t seed;
    seed = seed * 2654435761u + (uint32_t)config.order;
    for (unsigned i = threads - 1; i > 0; i--) {
        seed = seed * 1664525u + 1013904223u;
        unsigned j = (seed >> 8) % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static void resume(unsigned index) {
    fiber *f = &fibers[index];
    thread_at = index;
    if (f->state == NOT_BEGUN) {
        if (!f->stack) f->stack = malloc(STACK);
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack;
        f->context.uc_stack.ss_size = STACK;
        f->context.uc_link = &scheduler;
        makecontext(&f->context, fiber_main, 0);
    }
    swapcontext(&scheduler, &f->context);
}

static unsigned count_of(int state) {
    unsigned found = 0;
    for (unsigned i = 0; i < threads; i++) found += fibers[i].state == state;
    return found;
}

/* Every fiber runs to the same barrier; one that ends while others wait is what a GPU would hang or err on, and
 * so is a warp of which some lanes wait for others. */
static int run_fibers(void) {
    static unsigned order[MOST_THREADS];
    for (unsigned i = 0; i < threads; i++) fibers[i].state = NOT_BEGUN;
    for (;;) {
        order_of(order);
        for (unsigned i = 0; i < threads; i++)
            if (fibers[order[i]].state == NOT_BEGUN || fibers[order[i]].state == READY) resume(order[i]);
        if (count_of(DONE) == threads) return OK;
        int result = release_warps();
        if (result) return result;
        if (count_of(AT_BARRIER) == threads)
            for (unsigned i = 0; i < threads; i++) fibers[i].state = READY;
        if (!count_of(READY)) return LAUNCH_FAILED;
    }
}

static int run_block(void) {
    if (running->collective) {
        in_fibers = 1;
        int result = run_fibers();
        in_fibers = 0;
        return result;
    }
    for (unsigned i = 0; i < threads; i++) {
        thread_at = config.order == 1 ? threads - 1 - i : i;
        running->run(given);
    }
    return OK;
}

/* The driver. ----------------------------------------------------------------------------------------- */

typedef struct module_ {
    char *ptx;
} module_;

static int current_depth, retained;
static int contexts[64];
static int tag = 7;

API int cuInit(unsigned flags) { MAY_FAIL(); (void)flags; return config.devices ? OK : NO_DEVICE; }
API int cuDriverGetVersion(int *version) { *version = config.driver; return OK; }
API int cuGetErrorName(int error, const char **name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_OTHER";
    return OK;
}
API int cuDeviceGetCount(int *count) { MAY_FAIL(); *count = config.devices; return OK; }
API int cuDeviceGet(int *device, int index) { MAY_FAIL(); *device = index; return OK; }
API int cuDeviceGetName(char *name, int length, int device) { (void)device; snprintf(name, (size_t)length, "an emulator"); return OK; }
API int cuDeviceGetAttribute(int *value, int attribute, int device) {
    MAY_FAIL();
    (void)device;
    *value = attribute == 75 ? config.capability / 10 : config.capability % 10;
    return OK;
}
API int cuDevicePrimaryCtxRetain(void **context, int device) {
    MAY_FAIL();
    (void)device;
    live.contexts++, retained++;
    *context = &tag;
    return OK;
}
API int cuDevicePrimaryCtxRelease(int device) { (void)device; live.contexts--, retained--; return OK; }
API int cuCtxGetCurrent(void **context) { MAY_FAIL(); *context = current_depth ? &tag : NULL; return OK; }
API int cuCtxGetDevice(int *device) { *device = 0; return OK; }
API int cuCtxPushCurrent_v2(void *context) { MAY_FAIL(); (void)context; contexts[current_depth++] = 1; live.pushed++; return OK; }
API int cuCtxPopCurrent_v2(void **context) {
    if (!current_depth) return INVALID;
    current_depth--, live.pushed--;
    *context = &tag;
    return OK;
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
    int status = accepts(image);
    if (status) return status;
    module_ *module = malloc(sizeof *module);
    module->ptx = strdup(image);
    *result = module;
    live.modules++;
    return OK;
}
API int cuModuleUnload(void *module) { free(((module_ *)module)->ptx); free(module); live.modules--; return OK; }

API int cuModuleGetFunction(void **function, void *module, const char *name) {
    MAY_FAIL();
    char entry_text[256];
    snprintf(entry_text, sizeof entry_text, ".entry %s(", name);
    if (!strstr(((module_ *)module)->ptx, entry_text)) return NOT_FOUND;
    for (int i = 0; i < kernel_count; i++)
        if (strcmp(kernels[i].name, name) == 0) {
            *function = &kernels[i];
            return OK;
        }
    return NOT_FOUND;
}

/* Memory is filled with a pattern, and stands between guards that are looked at when it is freed. */
API int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) {
    MAY_FAIL();
    if (!bytes) return INVALID;
    if (live.bytes + bytes > config.memory) return OUT_OF_MEMORY;
    unsigned char *block = aligned_alloc(256, (256 + bytes + GUARD + 255) / 256 * 256);
    if (!block) return OUT_OF_MEMORY;
    memset(block, 0xA5, (256 + bytes + GUARD + 255) / 256 * 256);
    memcpy(block, &bytes, sizeof bytes);
    *pointer = (uintptr_t)(block + 256);
    live.allocations++, live.bytes += bytes;
    return OK;
}
API int cuMemFree_v2(uint64_t pointer) {
    unsigned char *block = (unsigned char *)(uintptr_t)pointer - 256;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    for (int i = 0; i < GUARD; i++)
        if (block[256 + bytes + (size_t)i] != 0xA5) {
            fprintf(stderr, "a kernel wrote behind the GPU's memory\n");
            abort();
        }
    live.allocations--, live.bytes -= bytes;
    free(block);
    return OK;
}
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    MAY_FAIL();
    (void)stream;
    if (!current_depth) return INVALID;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return OK;
}
API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    MAY_FAIL();
    (void)stream;
    if (!current_depth) return INVALID;
    memcpy(to, (void *)(uintptr_t)from, bytes);
    return OK;
}
API int cuStreamCreate(void **stream, unsigned flags) { MAY_FAIL(); (void)flags; *stream = malloc(1); live.streams++; return OK; }
API int cuStreamDestroy_v2(void *stream) { free(stream); live.streams--; return OK; }
API int cuStreamSynchronize(void *stream) { MAY_FAIL(); (void)stream; return OK; }
API int cuEventCreate(void **event, unsigned flags) { MAY_FAIL(); (void)flags; *event = calloc(1, sizeof(int64_t)); live.events++; return OK; }
API int cuEventDestroy_v2(void *event) { free(event); live.events--; return OK; }
API int cuEventRecord(void *event, void *stream) { MAY_FAIL(); (void)stream; *(int64_t *)event = live.launches + 1; return OK; }
/* A launch takes a millisecond. */
API int cuEventElapsedTime(float *ms, void *begin, void *end) {
    if (!*(int64_t *)begin || !*(int64_t *)end) return INVALID;
    *ms = (float)(*(int64_t *)end - *(int64_t *)begin);
    return OK;
}

static int launch(const kernel *called, unsigned grid, unsigned block, void **parameters) {
    running = called, given = parameters, threads = block, blocks = grid;
    for (block_at = 0; block_at < blocks; block_at++) {
        int result = run_block();
        if (result) return result;
    }
    return OK;
}

/* A kernel by name, apart from any model. */
API int simt_launch(const char *name, unsigned grid, unsigned block, void **parameters) {
    for (int i = 0; i < kernel_count; i++)
        if (strcmp(kernels[i].name, name) == 0) return launch(&kernels[i], grid, block, parameters);
    return NOT_FOUND;
}

API int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                       void *stream, void **parameters, void **extra) {
    MAY_FAIL();
    (void)stream, (void)shared;
    if (extra || !current_depth || !gx || gy != 1 || gz != 1 || !bx || by != 1 || bz != 1 || bx > MOST_THREADS) return INVALID;
    live.launches++;
    return launch(function, gx, bx, parameters);
}
