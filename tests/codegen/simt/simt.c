/* Threads of a GPU for tests: kernels that run on this machine.
 *
 * Kernels are the LLVM IR that becomes PTX, compiled for the host. They ask for their indices by `simt_read_*`, and a
 * barrier switches fibers: every thread of a block has one, and blocks run one after another. Kernels without
 * barriers run as loops. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "simt.h"

enum { STACK = 256 << 10, MOST_THREADS = 1024, MOST_KERNELS = 4096 };

static kernel kernels[MOST_KERNELS];
static int kernel_count;

kernel *find_kernel(const char *name) {
    for (int i = 0; i < kernel_count; i++)
        if (strcmp(kernels[i].name, name) == 0) return &kernels[i];
    return NULL;
}

API void simt_kernel(const char *name, entry run, int collective, int pointers) {
    kernel *known = find_kernel(name);
    if (known) {
        known->run = run;
        return;
    }
    if (kernel_count == MOST_KERNELS || pointers > MOST_POINTERS) abort();
    kernels[kernel_count++] = (kernel){strdup(name), run, collective, pointers};
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

static int64_t products; /* words of four bytes that were multiplied */

API int64_t simt_products(void) { return products; }

static int32_t dot(uint32_t a, uint32_t b, int32_t sum, int left_signed, int right_signed) {
    products++;
    for (int i = 0; i < 4; i++, a >>= 8, b >>= 8) {
        int32_t x = left_signed ? (int8_t)(a & 255) : (int32_t)(a & 255);
        int32_t y = right_signed ? (int8_t)(b & 255) : (int32_t)(b & 255);
        sum = (int32_t)((uint32_t)sum + (uint32_t)(x * y));
    }
    return sum;
}

API int32_t simt_idp4a_u_s(int32_t a, int32_t b, int32_t c) { return dot((uint32_t)a, (uint32_t)b, c, 0, 1); }
API int32_t simt_idp4a_s_s(int32_t a, int32_t b, int32_t c) { return dot((uint32_t)a, (uint32_t)b, c, 1, 1); }

/* Loads from memory, of kernels that are compiled to tell of them. ------------------------------------ */

typedef struct access {
    int64_t at;
    int32_t site, block, thread, bytes;
} access;

static access *accesses;
static int64_t access_count, access_room;

API void simt_load(int32_t site, void *at, int32_t bytes) {
    if (access_count == access_room) {
        access_room = access_room ? 2 * access_room : 1 << 12;
        accesses = realloc(accesses, (size_t)access_room * sizeof *accesses);
        if (!accesses) abort();
    }
    accesses[access_count++] = (access){(int64_t)(intptr_t)at, site, (int32_t)block_at, (int32_t)thread_at, bytes};
}

/* Those since it was last asked, in the order in which each thread made them. */
API int64_t simt_accesses(access **found) {
    int64_t count = access_count;
    *found = accesses;
    access_count = 0;
    return count;
}

static void fiber_main(void) {
    running->run(given);
    fibers[thread_at].state = DONE;
}

/* Copies that arrive as late as they may: when a thread waits for their group. ------------------------ */

enum { MOST_COPIES = 256 };

typedef struct copies {
    struct { void *to; const void *from; int group; } waiting[MOST_COPIES];
    int count, groups; /* groups that are ended */
} copies;

static copies begun[MOST_THREADS];

API void simt_cp_async_cg_shared_global_16(void *to, const void *from) {
    copies *own = &begun[thread_at];
    if (own->count == MOST_COPIES || (uintptr_t)to % 16 || (uintptr_t)from % 16) abort();
    own->waiting[own->count].to = to;
    own->waiting[own->count].from = from;
    own->waiting[own->count++].group = own->groups;
}

API void simt_cp_async_commit_group(void) { begun[thread_at].groups++; }

API void simt_cp_async_wait_group(int32_t most) {
    copies *own = &begun[thread_at];
    int left = 0;
    for (int i = 0; i < own->count; i++) {
        if (own->waiting[i].group < own->groups - most) memcpy(own->waiting[i].to, own->waiting[i].from, 16);
        else own->waiting[left++] = own->waiting[i];
    }
    own->count = left;
}

/* Matrix instructions: a warp's lanes hand in their registers, and go on when all have. ---------------- */

typedef struct matrix {
    int32_t depth, right_signed; /* channels; the left operand is signed */
    int32_t wide;                /* by wmma: 16 rows and columns, or, TALL, 32 and 8 */
    int32_t a[4], b[2], c[8];
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

/* Where wmma has what is nobody's business: here lane l has half of row (or column) l / 2, eight numbers.
 * Where it is tall, row l whole, of the right operand a word of column l / 4, and all sums of row l. */
enum { SQUARE = 1, TALL };

static int32_t tall_element(const matrix *warp, int row, int column) {
    int32_t sum = 0;
    for (int k = 0; k < 16; k++) {
        int32_t a = byte_of(warp[row].a[k / 4], k % 4, 1), b = byte_of(warp[column * 4 + k / 4].b[0], k % 4, 1);
        sum = (int32_t)((uint32_t)sum + (uint32_t)(a * b));
    }
    return sum;
}

static int32_t wide_element(const matrix *warp, int row, int column) {
    int32_t sum = 0;
    for (int k = 0; k < 16; k++) {
        int32_t a = byte_of(warp[row * 2 + k / 8].a[k % 8 / 4], k % 4, 1);
        int32_t b = byte_of(warp[column * 2 + k / 8].b[k % 8 / 4], k % 4, 1);
        sum = (int32_t)((uint32_t)sum + (uint32_t)(a * b));
    }
    return sum;
}

static int multiply_wide(matrix *warp) {
    for (int lane = 0; lane < WARP; lane++) {
        if (warp[lane].wide != warp->wide) return LAUNCH_FAILED;
        for (int i = 0; i < 8; i++) {
            uint32_t sum = (uint32_t)(warp->wide == TALL ? tall_element(warp, lane, i)
                                                         : wide_element(warp, lane / 2, lane % 2 * 8 + i));
            warp[lane].c[i] = (int32_t)((uint32_t)warp[lane].c[i] + sum);
        }
    }
    products += 16 * 16 * 16 / 4;
    return OK;
}

static int multiply_warp(matrix *warp) {
    static int32_t sums[WARP][4];
    if (warp->wide) return multiply_wide(warp);
    for (int lane = 0; lane < WARP; lane++) {
        if (warp[lane].depth != warp->depth || warp[lane].right_signed != warp->right_signed ||
            warp[lane].wide)
            return LAUNCH_FAILED;
        for (int i = 0; i < 4; i++)
            sums[lane][i] = element(warp, lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2, warp->right_signed);
    }
    products += 16 * 8 * warp->depth / 4;
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
    memcpy(own->c, registers + 3 * halves, 4 * sizeof *own->c);
    own->wide = 0;
    fibers[thread_at].state = AT_MATRIX;
    swapcontext(&fibers[thread_at].context, &scheduler);
    memcpy(result, own->c, 4 * sizeof *own->c);
}

static void wmma_load(const unsigned char *from, int32_t *result) { memcpy(result, from + thread_at % WARP * 8, 8); }

API void simt_wmma_a(void *from, const int32_t *registers, int32_t *result) {
    (void)registers;
    wmma_load(from, result);
}

API void simt_wmma_b(void *from, const int32_t *registers, int32_t *result) {
    (void)registers;
    wmma_load(from, result);
}

static void wmma_multiply(int32_t shape, const int32_t *registers, int32_t left, int32_t right, int32_t *result) {
    matrix *own = &handed[thread_at];
    if (!in_fibers) abort();
    own->wide = shape;
    memcpy(own->a, registers, 4 * (size_t)left), memcpy(own->b, registers + left, 4 * (size_t)right);
    memcpy(own->c, registers + left + right, sizeof own->c);
    fibers[thread_at].state = AT_MATRIX;
    swapcontext(&fibers[thread_at].context, &scheduler);
    memcpy(result, own->c, sizeof own->c);
}

API void simt_wmma_mma(void *nowhere, const int32_t *registers, int32_t *result) {
    (void)nowhere;
    wmma_multiply(SQUARE, registers, 2, 2, result);
}

API void simt_wmma_tall_mma(void *nowhere, const int32_t *registers, int32_t *result) {
    (void)nowhere;
    wmma_multiply(TALL, registers, 4, 1, result);
}

API void simt_wmma_tall_a(void *from, const int32_t *registers, int32_t *result) {
    (void)registers;
    memcpy(result, (unsigned char *)from + thread_at % WARP * 16, 16);
}

API void simt_wmma_tall_b(void *from, const int32_t *registers, int32_t *result) {
    (void)registers;
    memcpy(result, (unsigned char *)from + thread_at % WARP * 4, 4);
}

API void simt_wmma_tall_d(void *to, const int32_t *registers, int32_t *result) {
    (void)result;
    for (unsigned i = 0; i < 8; i++) ((int32_t *)to)[i * WARP + thread_at % WARP] = registers[i];
}

/* Column by column. */
API void simt_wmma_d(void *to, const int32_t *registers, int32_t *result) {
    unsigned lane = thread_at % WARP;
    (void)result;
    for (unsigned i = 0; i < 8; i++) ((int32_t *)to)[(lane % 2 * 8 + i) * 16 + lane / 2] = registers[i];
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
    for (unsigned i = 0; i < threads; i++) fibers[i].state = NOT_BEGUN, begun[i].count = begun[i].groups = 0;
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

int run_kernel(const kernel *called, unsigned grid, unsigned block, void **parameters) {
    if (block > MOST_THREADS) return INVALID;
    running = called, given = parameters, threads = block, blocks = grid;
    for (block_at = 0; block_at < blocks; block_at++) {
        int result = run_block();
        if (result) return result;
    }
    return OK;
}

/* A kernel by name, apart from any model. */
API int simt_launch(const char *name, unsigned grid, unsigned block, void **parameters) {
    const kernel *known = find_kernel(name);
    return known ? run_kernel(known, grid, block, parameters) : NOT_FOUND;
}
